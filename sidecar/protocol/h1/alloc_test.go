package h1

import (
	"bytes"
	"net"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"

	"github.com/meshd/meshd/internal/testkit/race"
	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/xds/resource"
)

// echo is an endpoint and a client that allocate nothing themselves: both know
// how each other's messages end.
type echo struct {
	c       net.Conn
	request []byte
	answer  []byte // storage
	end     []byte // of an answer
}

func newEcho(t testing.TB, o options) *echo {
	const head = "PUT /a/path?query HTTP/1.1\r\nHost: checkout:8080\r\nUser-Agent: bench\r\nAccept: */*\r\nContent-Length: 100\r\n\r\n"
	e := &echo{request: append([]byte(head), bytes.Repeat([]byte("b"), 100)...)}
	answer := append([]byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100\r\n\r\n"), bytes.Repeat([]byte("a"), 100)...)
	e.answer, e.end = make([]byte, 4096), answer[len(answer)-100:]
	var addrs []string
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		wg.Go(func() { e.serve(l, &wg, len(head), answer) })
		t.Cleanup(func() { _ = l.Close(); wg.Wait() })
		addrs = append(addrs, l.Addr().String())
	}
	r := newRig(t, o, addrs...)
	e.c = r.dial()
	for range 200 {
		e.call(t)
	}
	return e
}

// serve answers every request of a listener's connections.
func (e *echo) serve(l net.Listener, wg *sync.WaitGroup, head int, answer []byte) {
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
				for !bytes.HasSuffix(buf[:n], e.request[head:]) {
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
}

func (e *echo) call(t testing.TB) {
	if _, err := e.c.Write(e.request); err != nil {
		t.Fatal(err)
	}
	for n := 0; !bytes.HasSuffix(e.answer[:n], e.end); {
		k, err := e.c.Read(e.answer[n:])
		if n += k; err != nil {
			t.Fatal(err)
		}
	}
}

// A proxied request costs two allocations at most, all parts of the relay
// included: tracing, balancing, breaker, budget and statistics.
func TestAllocations(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector's allocations would be counted")
	}
	for name, o := range ways {
		t.Run(name, func(t *testing.T) { allocations(t, newEcho(t, o)) })
	}
}

// ways are what a relay is by default on either side of a call, and on its way
// out of the mesh.
var ways = map[string]options{
	"plain": {},
	"outbound": {target: func(r *rig, to *call.Route) {
		to.Mesh = true
		to.Hedge.Share = 0.02
		to.Init(nil, r.cluster.Now)
	}},
	"inbound": server(options{}, resource.Admission{}),
}

func allocations(t *testing.T, e *echo) {
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
	for name, o := range ways {
		b.Run(name, func(b *testing.B) {
			e := newEcho(b, o)
			b.ReportAllocs()
			for b.Loop() {
				e.call(b)
			}
		})
	}
}
