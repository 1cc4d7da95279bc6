package h1

import (
	"bufio"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/meshd/meshd/xds/resource"
)

// upgrader answers 101 and then echoes, after a greeting in the same packet.
func upgrader(t testing.TB) string {
	return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		req, _, err := readRequest(r)
		if err != nil || req.Header.Get("Upgrade") != "echo" {
			_, _ = io.WriteString(c, "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\n\r\n")
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\nSec-X: y\r\n\r\nhello ")
		_, _ = io.Copy(c, r)
		_ = c.CloseWrite()
	})
}

func (c *client) expect(s string) {
	c.t.Helper()
	b := make([]byte, len(s))
	if _, err := io.ReadFull(c.r, b); err != nil || string(b) != s {
		c.t.Fatalf("got %q, %v; want %q", b, err, s)
	}
}

func TestUpgrade(t *testing.T) {
	r := newRig(t, options{ratio: 1}, upgrader(t))
	const head = "GET /chat HTTP/1.1\r\nHost: checkout\r\nConnection: keep-alive, Upgrade\r\nUpgrade: echo\r\n\r\n"
	for name, early := range map[string]string{"in turn": "", "with the head": "early "} {
		t.Run(name, func(t *testing.T) {
			c := r.dial()
			c.send(head + early)
			c.expect("HTTP/1.1 101 Switching Protocols\r\nSec-X: y\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello " + early)
			for range 3 {
				c.send("GET / HTTP/1.1\r\n\r\n") // not HTTP any more
				c.expect("GET / HTTP/1.1\r\n\r\n")
			}
			big := strings.Repeat("x", 1<<20)
			go func() { _, _ = io.WriteString(c.TCPConn, big); _ = c.CloseWrite() }()
			c.expect(big)
			c.ended()
		})
	}
	// Refused, the connection stays one of HTTP.
	c := r.dial()
	for range 2 {
		c.send("GET / HTTP/1.1\r\nHost: checkout\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n")
		if res, _ := c.answer("GET"); res.StatusCode != 426 {
			t.Errorf("%d", res.StatusCode)
		}
	}
	eventually(t, "tunnels are over", func() bool { return r.route.Service.Active.Value() == 0 })
	r.stop()
	if got := r.outcomes(); got["101"] != 2 || got["426"] != 2 {
		t.Errorf("%v", got)
	}
}

// The endpoint's end of the tunnel ends it, and the server's end both.
func TestTunnelEnds(t *testing.T) {
	addr := upgrader(t)
	r := newRig(t, options{route: func(r *resource.Route) { r.Timeout = 0 }}, addr)
	c := r.dial()
	c.send("GET / HTTP/1.1\r\nHost: checkout\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	c.expect("HTTP/1.1 101 Switching Protocols\r\nSec-X: y\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello ")
	c.send("x")
	c.expect("x")
	eventually(t, "the tunnel's connection is counted once", func() bool { return r.stats.Upstream.Value() == 1 })
	r.stop() // waits for every goroutine
	_, _ = io.Copy(io.Discard, c.r)
}

func TestConnect(t *testing.T) {
	addr := rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		_, _ = io.WriteString(c, "greeting ")
		_, _ = io.Copy(c, r)
		_ = c.CloseWrite()
	})
	r := newRig(t, options{}, addr)
	for name, early := range map[string]string{"in turn": "", "with the head": "early"} {
		t.Run(name, func(t *testing.T) {
			c := r.dial()
			c.send("CONNECT checkout:8080 HTTP/1.1\r\nHost: checkout:8080\r\n\r\n" + early)
			c.expect("HTTP/1.1 200 OK\r\n\r\n")
			c.expect("greeting " + early)
			c.send("\x16\x03\x01")
			c.expect("\x16\x03\x01")
			_ = c.CloseWrite()
			c.ended()
		})
	}
	r.stop()
	if got := r.outcomes(); got["200"] != 2 {
		t.Errorf("%v", got)
	}
}

func TestConnectRefused(t *testing.T) {
	r := newRig(t, options{}, nobody)
	c := r.dial()
	c.send("CONNECT checkout:8080 HTTP/1.1\r\nHost: checkout:8080\r\n\r\n")
	if res, b := c.answer("GET"); res.StatusCode != 503 {
		t.Errorf("%d %q", res.StatusCode, b)
	}
	c = r.dial()
	c.send("CONNECT elsewhere:80 HTTP/1.1\r\nHost: elsewhere:80\r\n\r\n")
	if res, b := c.answer("GET"); res.StatusCode != 403 {
		t.Errorf("%d %q", res.StatusCode, b)
	}
}
