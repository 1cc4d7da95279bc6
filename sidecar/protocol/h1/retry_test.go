package h1

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshd/meshd/xds/resource"
)

// nobody is an address that refuses connections.
const nobody = "127.0.0.1:1"

func roundRobin(c *resource.Cluster) { c.Balancer = "round_robin" }

// Whatever the method, a request that was not sent goes to another endpoint.
func TestConnectFailureGoesElsewhere(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s", r.Method, b)
	})
	r := newRig(t, options{cluster: roundRobin}, nobody, addr)
	c := r.dial()
	for range 4 {
		c.send("POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 5\r\n\r\nhello")
		if res, b := c.answer("POST"); res.StatusCode != 200 || b != "POST hello" {
			t.Fatalf("%d %q", res.StatusCode, b)
		}
		c.send(get)
		if res, b := c.answer("GET"); res.StatusCode != 200 || b != "GET " {
			t.Fatalf("%d %q", res.StatusCode, b)
		}
	}
	if n := r.snapshot().Retries["connect-failure"]; n == 0 {
		t.Error("no retry was counted")
	}
}

// flaky is an endpoint that fails its first n requests, over all connections,
// as fail does, then answers with the request's method and body.
func flaky(t testing.TB, n int64, fail func(c *net.TCPConn) (goOn bool)) (addr string, seen *atomic.Int64) {
	seen = new(atomic.Int64)
	return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			req, body, err := readRequest(r)
			if err != nil {
				return
			}
			if seen.Add(1) <= n {
				if !fail(c) {
					return
				}
				continue
			}
			s := req.Method + " " + body
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(s), s)
		}
	}), seen
}

func reset(c *net.TCPConn) bool { _ = c.SetLinger(0); return false }

func status(code int) func(*net.TCPConn) bool {
	return func(c *net.TCPConn) bool {
		_, err := fmt.Fprintf(c, "HTTP/1.1 %d Sorry\r\nContent-Length: 4\r\n\r\nsad\n", code)
		return err == nil
	}
}

func TestRetries(t *testing.T) {
	long := strings.Repeat("b", 50<<10)
	put := func(s string) string {
		return fmt.Sprintf("PUT / HTTP/1.1\r\nHost: checkout\r\nContent-Length: %d\r\n\r\n%s", len(s), s)
	}
	post := "POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 1\r\n\r\nx"
	chunkedPut := "PUT / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n"
	for _, tc := range []struct {
		name, request string
		n             int64
		fail          func(*net.TCPConn) bool
		status        int
		body          string
		seen          int64
	}{
		{"reset", get, 1, reset, 200, "GET ", 2},
		{"two resets", get, 2, reset, 200, "GET ", 3},
		{"three resets", get, 3, reset, 502, "", 3},
		{"503 then 200", get, 1, status(503), 200, "GET ", 2},
		{"502 then 200", get, 1, status(502), 200, "GET ", 2},
		{"504 then 200", get, 1, status(504), 200, "GET ", 2},
		{"503 for ever", get, 100, status(503), 503, "sad\n", 3},
		{"500 is an answer", get, 1, status(500), 500, "sad\n", 1},
		{"PUT is sent again", put("x"), 1, reset, 200, "PUT x", 2},
		{"PUT chunked", chunkedPut, 1, status(503), 200, "PUT x", 2},
		{"PUT that fits", put(long), 1, status(503), 200, "PUT " + long, 2},
		{"PUT that does not", put(long + long), 1, status(503), 503, "sad\n", 1},
		{"PUT that does not, reset", put(long + long), 1, reset, 502, "", 1},
		{"POST that was sent, reset", post, 1, reset, 502, "", 1},
		{"POST that was sent, 503", post, 1, status(503), 503, "sad\n", 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			addr, seen := flaky(t, tc.n, tc.fail)
			r := newRig(t, options{}, addr)
			c := r.dial()
			c.send(tc.request)
			res, body := c.answer("GET")
			if res.StatusCode != tc.status || tc.body != "" && body != tc.body {
				t.Errorf("%d %.80q, want %d", res.StatusCode, body, tc.status)
			}
			if tc.status == 502 && !strings.Contains(res.Header.Get("Proxy-Status"), "error=connection_terminated") {
				t.Errorf("Proxy-Status: %q", res.Header.Get("Proxy-Status"))
			}
			if n := seen.Load(); n != tc.seen {
				t.Errorf("the endpoint saw %d requests, want %d", n, tc.seen)
			}
			r.stop()
			if n := r.calls(); n != 1 {
				t.Errorf("%d calls recorded for one", n)
			}
		})
	}
}

// Retries that the policy does not name are not made.
func TestRetryPolicyIsObeyed(t *testing.T) {
	for name, change := range map[string]func(*resource.Route){
		"off":        func(r *resource.Route) { r.Retry.Attempts = 0 },
		"not on 503": func(r *resource.Route) { r.Retry.On &^= resource.Retry503 },
	} {
		t.Run(name, func(t *testing.T) {
			addr, seen := flaky(t, 1, status(503))
			c := newRig(t, options{route: change}, addr).dial()
			c.send(get)
			if res, _ := c.answer("GET"); res.StatusCode != 503 || seen.Load() != 1 {
				t.Errorf("%d after %d attempts", res.StatusCode, seen.Load())
			}
		})
	}
}

// A retry prefers an endpoint that the call has not been to.
func TestRetryPicksAnother(t *testing.T) {
	bad, _ := flaky(t, 1000, status(503))
	good, seen := flaky(t, 0, nil)
	r := newRig(t, options{cluster: func(c *resource.Cluster) {
		roundRobin(c)
		c.Breaker.Disabled = true
		c.Budget.Ratio = 1
	}}, bad, good)
	c := r.dial()
	for range 20 {
		c.send(get)
		if res, b := c.answer("GET"); res.StatusCode != 200 {
			t.Fatalf("%d %q", res.StatusCode, b)
		}
	}
	if seen.Load() != 20 {
		t.Errorf("the good one saw %d", seen.Load())
	}
}

// A server that closes its idle connections at once costs neither failures nor
// the budget: the call moves to a fresh connection.
func TestBrokenIdleConnection(t *testing.T) {
	// It answers one request a connection without saying so, and closes only
	// when the next request has come: the worst moment.
	var conns atomic.Int64
	addr := rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		conns.Add(1)
		if _, _, err := readRequest(r); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		_, _ = r.Peek(1)
	})
	r := newRig(t, options{cluster: func(c *resource.Cluster) { c.Budget = resource.Budget{} }}, addr)
	c := r.dial()
	for i := range 50 {
		c.send("PUT / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 3\r\n\r\nabc")
		if res, b := c.answer("PUT"); res.StatusCode != 200 || b != "ok" {
			t.Fatalf("call %d: %d %q", i, res.StatusCode, b)
		}
	}
	r.stop()
	s := r.snapshot()
	if s.IdleResets != 49 || len(s.Retries) != 0 || s.RetriesDenied != 0 || conns.Load() != 50 {
		t.Errorf("idle resets %d, retries %v, denied %d, connections %d", s.IdleResets, s.Retries, s.RetriesDenied, conns.Load())
	}
	if ep := r.cluster.Endpoints()[0]; ep.Failures.Load() != 0 || ep.Requests.Load() != 50 {
		t.Errorf("the endpoint counts %d failures in %d attempts", ep.Failures.Load(), ep.Requests.Load())
	}
}

// A spent budget passes the error on.
func TestBudgetSpent(t *testing.T) {
	addr, seen := flaky(t, 1000, status(503))
	r := newRig(t, options{cluster: func(c *resource.Cluster) {
		c.Breaker.Disabled = true
		c.Budget = resource.Budget{Ratio: 0, MinPerSecond: 0.3} // three in ten seconds
	}}, addr)
	c := r.dial()
	for range 10 {
		c.send(get)
		if res, b := c.answer("GET"); res.StatusCode != 503 || b != "sad\n" {
			t.Fatalf("%d %q", res.StatusCode, b)
		}
	}
	if n := seen.Load(); n != 13 {
		t.Errorf("%d attempts, want 10 and 3 retries", n)
	}
	if n := r.snapshot().RetriesDenied; n == 0 {
		t.Error("no denied retry counted")
	}
}

func TestAttemptTimeoutIsRetried(t *testing.T) {
	stuck := rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) })
	good := says(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	r := newRig(t, options{cluster: roundRobin, route: func(r *resource.Route) { r.AttemptTimeout = 30 * time.Millisecond }}, stuck, good)
	for range 4 {
		c := r.dial()
		c.send(get)
		if res, b := c.answer("GET"); res.StatusCode != 200 || b != "ok" {
			t.Fatalf("%d %q", res.StatusCode, b)
		}
	}
	if n := r.snapshot().Retries["timeout"]; n == 0 {
		t.Error("no retry for a timeout")
	}
}
