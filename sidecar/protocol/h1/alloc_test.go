package h1

import (
	"bytes"
	"io"
	"net"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
)

// echo is an endpoint and a client that allocate nothing themselves: both know
// how long each other's messages are.
type echo struct {
	c       net.Conn
	request []byte
	answer  []byte
}

func newEcho(t testing.TB) *echo {
	const head = "POST /a/path?query HTTP/1.1\r\nHost: checkout:8080\r\nUser-Agent: bench\r\nAccept: */*\r\nContent-Length: 100\r\n\r\n"
	e := &echo{request: append([]byte(head), bytes.Repeat([]byte("b"), 100)...)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answer := append([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n"), bytes.Repeat([]byte("a"), 100)...)
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				buf := make([]byte, 4096)
				for {
					n, err := c.Read(buf)
					if err != nil {
						return
					}
					for !bytes.HasSuffix(buf[:n], e.request[len(head):]) {
						k, err := c.Read(buf[n:])
						if n += k; err != nil {
							return
						}
					}
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	r := newRig(t, options{}, l.Addr().String())
	e.c = r.dial()
	e.answer = make([]byte, len(answer))
	for range 200 {
		e.call(t)
	}
	return e
}

func (e *echo) call(t testing.TB) {
	if _, err := e.c.Write(e.request); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(e.c, e.answer); err != nil {
		t.Fatal(err)
	}
}

// A proxied request costs two allocations at most, all parts of the relay
// included: tracing, balancing, breaker, budget and statistics.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector's allocations would be counted")
	}
	e := newEcho(t)
	defer debug.SetGCPercent(debug.SetGCPercent(-1)) // the pools of buffers stay
	const calls = 10000
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range calls {
		e.call(t)
	}
	runtime.ReadMemStats(&after)
	if per := float64(after.Mallocs-before.Mallocs) / calls; per > 2 {
		t.Errorf("%.2f allocations a request", per)
	} else {
		t.Logf("%.3f allocations a request", per)
	}
}

func BenchmarkRelay(b *testing.B) {
	e := newEcho(b)
	b.ReportAllocs()
	for b.Loop() {
		e.call(b)
	}
}
