package h1

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/xds/resource"
)

// hedged is a rig whose calls are hedged soon, with a budget that pays for all.
func hedged(t *testing.T, ratio float64, endpoints ...string) *rig {
	return newRig(t, options{ratio: ratio, cluster: func(c *resource.Cluster) {
		roundRobin(c)
		c.Breaker.Disabled = true
		c.Budget = resource.Budget{Ratio: 1, MinPerSecond: 100}
	}, route: func(r *resource.Route) {
		r.Timeout = 500 * time.Millisecond
		r.Hedge = resource.Hedge{Share: 1, Delay: 5 * time.Millisecond}
	}, target: func(r *rig, to *call.Route) {
		to.Init(nil, r.cluster.Now)
		to.Mesh = true
	}}, endpoints...)
}

// whoever is an endpoint that leaves the first request of all to which it is
// given unanswered, or to first, and answers the others.
func whoever(t *testing.T, n *atomic.Int64, first func(c *net.TCPConn, r *bufio.Reader)) string {
	return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			req, _, err := readRequest(r)
			if err != nil {
				return
			}
			if n.Add(1) == 1 {
				first(c, r)
				return
			}
			s := req.Header.Get("X-Envoy-Attempt-Count")
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(s), s)
		}
	})
}

func stuck(_ *net.TCPConn, r *bufio.Reader) { _, _ = io.Copy(io.Discard, r) }

func TestHedgeWins(t *testing.T) {
	for _, ratio := range []float64{0, 1} {
		var n atomic.Int64
		r := hedged(t, ratio, whoever(t, &n, stuck), whoever(t, &n, stuck))
		c := r.dial()
		for i := range 3 {
			c.send(get)
			if res, b := c.answer("GET"); res.StatusCode != 200 || i == 0 && b != "2" {
				t.Fatalf("%d %q", res.StatusCode, b)
			}
		}
		r.stop()
		if s := r.outcomes(); s["200"] != 3 {
			t.Errorf("%v", s)
		}
	}
}

// The first attempt answers while the hedge is out, which is given up.
func TestHedgeLoses(t *testing.T) {
	var n atomic.Int64
	second := make(chan struct{})
	slow := func(c *net.TCPConn, r *bufio.Reader) {
		<-second
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nfirst")
		_, _ = io.Copy(io.Discard, r)
	}
	backend := func() string {
		return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
			if _, _, err := readRequest(r); err != nil {
				return
			}
			if n.Add(1) == 1 {
				slow(c, r)
				return
			}
			close(second)
			_, _ = io.Copy(io.Discard, r)
		})
	}
	r := hedged(t, 0, backend(), backend())
	c := r.dial()
	c.send(get)
	if res, b := c.answer("GET"); res.StatusCode != 200 || b != "first" {
		t.Errorf("%d %q", res.StatusCode, b)
	}
}

// When one of the two fails, the other's answer is the call's.
func TestHedgeAndFailures(t *testing.T) {
	for name, tc := range map[string]struct {
		fails string // first or second
		how   string // what it answers; empty: nothing
	}{
		"first resets":  {"first", ""},
		"first 503":     {"first", "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"},
		"first garbage": {"first", "garbage\r\n\r\n"},
		"second resets": {"second", ""},
		"second 503":    {"second", "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"},
		"second shed":   {"second", "HTTP/1.1 503 No\r\nRetry-After: 1\r\nProxy-Status: meshd; error=x; details=\"shed: full\"\r\nContent-Length: 0\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			both, failed := make(chan struct{}), make(chan struct{})
			backend := func() string {
				return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
					if _, _, err := readRequest(r); err != nil {
						return
					}
					me := "first"
					if n.Add(1) == 2 {
						me = "second"
						close(both)
					}
					<-both
					if me == tc.fails {
						_, _ = io.WriteString(c, tc.how)
						close(failed)
						return
					}
					<-failed
					<-time.After(5 * time.Millisecond) // the failure is seen first, mostly
					_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
				})
			}
			r := hedged(t, 1, backend(), backend())
			c := r.dial()
			c.send(get)
			if res, b := c.answer("GET"); res.StatusCode != 200 || b != "ok" {
				t.Errorf("%d %q", res.StatusCode, b)
			}
			r.stop()
			if n.Load() != 2 || r.calls() != 1 {
				t.Errorf("%d requests, %d calls", n.Load(), r.calls())
			}
		})
	}
}

// The call's end, by its time or its client, ends both.
func TestHedgeIsDropped(t *testing.T) {
	for name, end := range map[string]func(c *client){
		"timeout": func(c *client) {
			if res, _ := c.answer("GET"); res.StatusCode != 504 {
				t.Errorf("%d", res.StatusCode)
			}
		},
		"client": func(c *client) { _ = c.SetLinger(0); _ = c.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			backend := func() string {
				return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
					if _, _, err := readRequest(r); err == nil {
						n.Add(1)
						_, _ = io.Copy(io.Discard, r)
					}
				})
			}
			r := hedged(t, 0, backend(), backend())
			c := r.dial()
			c.send(get)
			eventually(t, "the hedge is out", func() bool { return n.Load() == 2 })
			end(c)
			eventually(t, "nothing is in flight", func() bool {
				for _, ep := range r.cluster.Endpoints() {
					if ep.Load.InFlight() != 0 || PoolStats(ep).Open != 0 {
						return false
					}
				}
				return true
			})
		})
	}
}

// What may not be made twice is not.
func TestNotHedged(t *testing.T) {
	var n atomic.Int64
	slow := func() string {
		return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
			for {
				if _, _, err := readRequest(r); err != nil {
					return
				}
				n.Add(1)
				<-time.After(30 * time.Millisecond)
				_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
		})
	}
	r := hedged(t, 0, slow(), slow())
	c := r.dial()
	c.send("POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 1\r\n\r\nx")
	c.answer("POST")
	long := strings.Repeat("x", 100<<10)
	c.send(fmt.Sprintf("PUT / HTTP/1.1\r\nHost: checkout\r\nContent-Length: %d\r\n\r\n%s", len(long), long))
	c.answer("PUT")
	if n.Load() != 2 {
		t.Errorf("%d requests for two calls", n.Load())
	}
}

// Many calls at once, some slow and some broken, leave nothing behind.
func TestHedgesUnderLoad(t *testing.T) {
	var n atomic.Int64
	odd := func() string {
		return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
			for {
				if _, _, err := readRequest(r); err != nil {
					return
				}
				switch n.Add(1) % 13 {
				case 3, 7:
					<-time.After(8 * time.Millisecond)
				case 5:
					<-time.After(6 * time.Millisecond)
					return
				}
				if _, err := io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"); err != nil {
					return
				}
			}
		})
	}
	r := hedged(t, 0.1, odd(), odd(), odd())
	done := make(chan struct{})
	for range 8 {
		c := r.dial()
		go func() {
			defer func() { done <- struct{}{} }()
			for range 100 {
				c.send(get)
				if res, b := c.answer("GET"); res.StatusCode == 200 && b != "ok" {
					t.Errorf("%q", b)
				}
			}
		}()
	}
	for range 8 {
		<-done
	}
	r.stop()
	if r.calls() != 800 {
		t.Errorf("%d calls", r.calls())
	}
}
