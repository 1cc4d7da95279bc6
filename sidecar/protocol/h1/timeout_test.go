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

func stuckBackend(t testing.TB) string {
	return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
}

func TestRequestTimeout(t *testing.T) {
	for name, tc := range map[string]func(*resource.Route){
		"call":     func(r *resource.Route) { r.Timeout = 50 * time.Millisecond },
		"attempts": func(r *resource.Route) { r.AttemptTimeout = 10 * time.Millisecond },
		"last word": func(r *resource.Route) { // no time is left for the back-off
			r.Timeout, r.AttemptTimeout = 50*time.Millisecond, 20*time.Millisecond
			r.Retry.BackoffBase, r.Retry.BackoffMax = time.Hour, time.Hour
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options{route: tc, cluster: func(c *resource.Cluster) { c.Breaker.Disabled = true }}, stuckBackend(t))
			c := r.dial()
			for range 2 { // the client's connection survives
				c.send(get)
				res, b := c.answer("GET")
				if res.StatusCode != 504 || !strings.Contains(res.Header.Get("Proxy-Status"), "error=http_response_timeout") || res.Close {
					t.Fatalf("%d %v %q", res.StatusCode, res.Header, b)
				}
			}
			r.stop()
			if got := r.outcomes()["504 http_response_timeout"]; got != 2 {
				t.Errorf("%v", r.outcomes())
			}
		})
	}
}

// A time-out within an answer breaks it off.
func TestTimeoutWithinAnswer(t *testing.T) {
	addr := rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		_, _, _ = readRequest(r)
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\nsome")
		_, _ = io.Copy(io.Discard, r)
	})
	r := newRig(t, options{route: func(r *resource.Route) { r.Timeout = 50 * time.Millisecond }}, addr)
	c := r.dial()
	c.send(get)
	broken(t, c)
}

// broken asserts that a client which reads an answer sees that it was cut.
func broken(t *testing.T, c *client) {
	t.Helper()
	res, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return
	}
	if b, err := io.ReadAll(res.Body); err == nil {
		t.Errorf("a cut answer looks whole: %d %.50q", res.StatusCode, b)
	}
}

func TestStreamIdle(t *testing.T) {
	r := newRig(t, options{
		route:  func(r *resource.Route) { r.Timeout = 0 },
		config: func(c *Config) { c.StreamIdle = 50 * time.Millisecond },
	}, stuckBackend(t))
	c := r.dial()
	c.send(get)
	if res, b := c.answer("GET"); res.StatusCode != 504 {
		t.Errorf("%d %q", res.StatusCode, b)
	}
}

func TestHeadTimeout(t *testing.T) {
	r := newRig(t, options{config: func(c *Config) { c.HeadTimeout = 50 * time.Millisecond }}, nobody)
	c := r.dial()
	c.send("GET / HTTP/1.1\r\nHost: che")
	if res, b := c.answer("GET"); res.StatusCode != 408 || !res.Close {
		t.Errorf("%d %q", res.StatusCode, b)
	}
	c.ended()
}

func TestIdleTimeout(t *testing.T) {
	addr := says(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	r := newRig(t, options{config: func(c *Config) { c.IdleTimeout = peekAfter + 50*time.Millisecond }}, addr)
	fresh, used := r.dial(), r.dial()
	used.send(get)
	used.answer("GET")
	used.ended()
	fresh.ended()
}

// The endpoint's idle connections are closed by Sweep, and by their peer.
func TestSweep(t *testing.T) {
	closed := make(chan struct{})
	addr := rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		if _, _, err := readRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		_, _ = r.Peek(1)
		close(closed)
	})
	r := newRig(t, options{}, addr)
	c := r.dial()
	c.send(get)
	c.answer("GET")
	ep := r.cluster.Endpoints()[0]
	eventually(t, "the connection is idle", func() bool { return PoolStats(ep).Idle == 1 })
	r.srv.Sweep(ep, time.Hour)
	if PoolStats(ep).Idle != 1 {
		t.Fatal("swept too early")
	}
	r.srv.Sweep(ep, 0)
	<-closed
	if s := PoolStats(ep); s.Open != 0 || s.Idle != 0 {
		t.Errorf("%+v", s)
	}
}

// An endpoint that closes an idle connection is noticed without a call; at the
// next sweep, if its FIN came along with the answer.
func TestPeerClosesIdle(t *testing.T) {
	idle := make(chan struct{})
	addr := rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		if req, _, err := readRequest(r); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			if req.URL.Path == "/later" {
				<-idle
			}
		}
	})
	r := newRig(t, options{}, addr)
	ep := r.cluster.Endpoints()[0]
	c := r.dial()
	c.send("GET /later HTTP/1.1\r\nHost: checkout\r\n\r\n")
	c.answer("GET")
	eventually(t, "the connection is idle", func() bool { return PoolStats(ep).Idle == 1 })
	close(idle)
	eventually(t, "the connection is gone", func() bool { return PoolStats(ep).Open == 0 })
	c.send(get)
	c.answer("GET")
	eventually(t, "the connection is swept", func() bool {
		r.srv.Sweep(ep, time.Hour)
		return PoolStats(ep).Open == 0
	})
}
