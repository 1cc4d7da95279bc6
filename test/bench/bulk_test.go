package main

import (
	"encoding/binary"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// serveTCP has serve answer every connection.
func serveTCP(t *testing.T, serve func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				serve(c.(*net.TCPConn))
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		wg.Wait()
	})
	return l.Addr().String()
}

func TestBulk(t *testing.T) {
	file, err := patternFile()
	if err != nil {
		t.Fatal(err)
	}
	addr := serveTCP(t, func(c *net.TCPConn) { sendBulk(c, file) })
	r, err := load{Protocol: protoTCP, Addr: addr, Connections: 4, Duration: 100 * time.Millisecond}.run()
	if err != nil || r.OK != 4 || r.Failed != 0 || r.Bytes < 10<<20 || r.Seconds < 0.1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// send writes the pattern, n bytes of it, then what end makes of the number.
func send(c *net.TCPConn, n int, end func(b []byte, n uint64) []byte) {
	io.ReadFull(c, make([]byte, 1))
	var b []byte
	for pattern := thePattern(); len(b) < n; {
		b = append(b, pattern[:min(n-len(b), len(pattern))]...)
	}
	c.Write(end(b, uint64(n)))
}

func TestBulkFails(t *testing.T) {
	drain := func(c *net.TCPConn) { io.Copy(io.Discard, c) }
	good := binary.BigEndian.AppendUint64
	for name, tc := range map[string]struct {
		serve func(*net.TCPConn)
		lasts time.Duration // 0: the client closes its side after the first bytes
		cause string
	}{
		"closed early": {func(c *net.TCPConn) { send(c, 1<<20, good) }, time.Second, "closed by the proxy"},
		"no bytes":     {func(c *net.TCPConn) { drain(c) }, time.Second, "i/o timeout"},
		"reset":        {func(c *net.TCPConn) { send(c, 1<<20, good); c.SetLinger(0) }, time.Second, "connection reset by peer"},
		"wrong number": {func(c *net.TCPConn) {
			send(c, 5<<20, func(b []byte, n uint64) []byte { return good(b, n+1) })
			drain(c)
		}, 0, "5242880 bytes received, 5242881 sent"},
		"no number": {func(c *net.TCPConn) { send(c, 3, func(b []byte, _ uint64) []byte { return b }); drain(c) }, 0, "ends after 3 bytes"},
		"one lost": {func(c *net.TCPConn) {
			send(c, 1<<20, func(b []byte, n uint64) []byte { return good(b[1:], n) })
			drain(c)
		}, 0, "other bytes than were sent"},
		"one exchanged": {func(c *net.TCPConn) {
			send(c, 1<<10, func(b []byte, n uint64) []byte { b[77]++; return good(b, n) })
			drain(c)
		}, 0, "other bytes than were sent"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stall := 5 * time.Second
			if name == "no bytes" {
				stall = 100 * time.Millisecond
			}
			r, err := load{Protocol: protoTCP, Addr: serveTCP(t, tc.serve), Connections: 1, Duration: tc.lasts, Stall: stall}.run()
			if err != nil || r.OK != 0 || r.Failed != 1 {
				t.Fatalf("%+v, %v", r, err)
			}
			for cause := range r.Causes {
				if !strings.Contains(cause, tc.cause) {
					t.Errorf("%s, want %s", cause, tc.cause)
				}
			}
		})
	}
}
