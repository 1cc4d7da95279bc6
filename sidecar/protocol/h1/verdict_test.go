package h1

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/meshd/meshd/xds/resource"
)

// When the only endpoint's breaker opens on the last retry, the answer still
// says what went wrong, not that nobody was left to try.
func TestLastErrorSurvivesTheBreaker(t *testing.T) {
	r := newRig(t, options{cluster: func(c *resource.Cluster) { c.Breaker.ConsecutiveFailures = 2 }}, "127.0.0.1:1")
	c := r.dial()
	c.send("GET / HTTP/1.1\r\nHost: checkout\r\n\r\n")
	res, _ := c.answer("GET")
	if s := res.Header.Get("Proxy-Status"); !strings.Contains(s, "error=connection_refused") {
		t.Errorf("the call that opens the breaker: %q", s)
	}
	c.send("GET / HTTP/1.1\r\nHost: checkout\r\n\r\n")
	res, _ = c.answer("GET")
	if s := res.Header.Get("Proxy-Status"); !strings.Contains(s, "error=destination_unavailable") {
		t.Errorf("the call after it: %q", s)
	}
}

// An answer that is complete stays so when the rest of its request never comes
// and the call's time is over.
func TestEarlyAnswerOutlivesTheTimeout(t *testing.T) {
	addr := rawBackend(t, func(c *net.TCPConn, in *bufio.Reader) {
		if _, err := http.ReadRequest(in); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")
			_, _ = io.Copy(io.Discard, in)
		}
	})
	r := newRig(t, options{route: func(rt *resource.Route) { rt.Timeout = 100 * time.Millisecond }}, addr)
	c := r.dial()
	c.send("POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 10\r\n\r\nhalf")
	if res, b := c.answer("POST"); res.StatusCode != 200 || b != "early" {
		t.Fatalf("%d %q", res.StatusCode, b)
	}
	if rest, err := io.ReadAll(c.r); err != nil || len(rest) > 0 {
		t.Errorf("after it: %q %v, want an orderly end", rest, err)
	}
}
