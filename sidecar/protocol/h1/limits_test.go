package h1

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/xds/resource"
)

// Many calls over two connections all succeed, in turn.
func TestMaxConnections(t *testing.T) {
	var now, most atomic.Int64
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		_, _ = io.WriteString(w, "ok")
	})
	r := newRig(t, options{cluster: func(c *resource.Cluster) { c.Limits.Connections = 2 }}, addr)
	var wg sync.WaitGroup
	for i := range 30 {
		c := r.dial()
		wg.Go(func() {
			for j := range 20 {
				method := []string{"GET", "POST"}[(i+j)%2]
				_, _ = fmt.Fprintf(c, "%s / HTTP/1.1\r\nHost: checkout\r\n\r\n", method)
				res, err := http.ReadResponse(c.r, nil)
				if err != nil {
					t.Errorf("%v", err)
					return
				}
				if b, _ := io.ReadAll(res.Body); res.StatusCode != 200 || string(b) != "ok" {
					t.Errorf("%d %q", res.StatusCode, b)
				}
			}
		})
	}
	wg.Wait()
	if most.Load() > 2 {
		t.Errorf("%d calls at once over 2 connections", most.Load())
	}
	if s := PoolStats(r.cluster.Endpoints()[0]); s.Open > 2 || s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
}

// One connection, one place in the queue: the third call is refused, at once;
// a waiter that gives up leaves its place to another.
func TestPendingLimit(t *testing.T) {
	reached, free := make(chan struct{}, 10), make(chan struct{})
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		reached <- struct{}{}
		<-free
		_, _ = io.WriteString(w, r.URL.Path)
	})
	r := newRig(t, options{cluster: func(c *resource.Cluster) { c.Limits.Connections, c.Limits.Pending = 1, 1 }}, addr)
	ep := r.cluster.Endpoints()[0]
	request := func(path string) *client {
		c := r.dial()
		c.send("GET " + path + " HTTP/1.1\r\nHost: checkout\r\n\r\n")
		return c
	}
	first := request("/1")
	<-reached
	gone := request("/gone")
	eventually(t, "one waits", func() bool { return PoolStats(ep).Waiting == 1 })
	third := request("/3")
	res, b := third.answer("GET")
	if res.StatusCode != 503 || !strings.Contains(res.Header.Get("Proxy-Status"), "error=connection_limit_reached") {
		t.Errorf("%d %v %q", res.StatusCode, res.Header, b)
	}
	_ = gone.SetLinger(0)
	_ = gone.Close()
	eventually(t, "the waiter left", func() bool { return PoolStats(ep).Waiting == 0 })
	fourth := request("/4")
	eventually(t, "another waits", func() bool { return PoolStats(ep).Waiting == 1 })
	close(free)
	for c, want := range map[*client]string{first: "/1", fourth: "/4"} {
		if res, b := c.answer("GET"); res.StatusCode != 200 || b != want {
			t.Errorf("%d %q, want %q", res.StatusCode, b, want)
		}
	}
}

func TestRequestLimit(t *testing.T) {
	reached, free := make(chan struct{}, 10), make(chan struct{})
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		reached <- struct{}{}
		<-free
	})
	r := newRig(t, options{cluster: func(c *resource.Cluster) { c.Limits.Requests = 1 }}, addr)
	first, second := r.dial(), r.dial()
	first.send(get)
	<-reached
	for range 2 {
		second.send(get)
		res, b := second.answer("GET")
		if res.StatusCode != 503 || !strings.Contains(res.Header.Get("Proxy-Status"), "error=connection_limit_reached") {
			t.Errorf("%d %v %q", res.StatusCode, res.Header, b)
		}
	}
	close(free)
	if res, _ := first.answer("GET"); res.StatusCode != 200 {
		t.Errorf("%d", res.StatusCode)
	}
	eventually(t, "its place is free", func() bool { active, _ := r.cluster.InUse(); return active == 0 })
	second.send(get)
	if res, _ := second.answer("GET"); res.StatusCode != 200 {
		t.Errorf("%d", res.StatusCode)
	}
}

// An endpoint leaves its cluster while calls wait for its only connection:
// they are still served.
func TestEndpointLeavesWhileCallsWait(t *testing.T) {
	reached, free := make(chan struct{}, 10), make(chan struct{})
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		reached <- struct{}{}
		<-free
	})
	other := says(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	r := newRig(t, options{cluster: func(c *resource.Cluster) { c.Limits.Connections = 1 }}, addr)
	left := r.cluster.Endpoints()[0]
	first, second := r.dial(), r.dial()
	first.send(get)
	<-reached
	second.send(get)
	eventually(t, "one waits", func() bool { return PoolStats(left).Waiting == 1 })
	r.setEndpoints(nil, other)
	close(free)
	for _, c := range []*client{first, second} {
		if res, b := c.answer("GET"); res.StatusCode != 200 {
			t.Errorf("%d %q", res.StatusCode, b)
		}
	}
	eventually(t, "its connections are closed", func() bool { return PoolStats(left).Open == 0 })
	if left.Load.InFlight() != 0 {
		t.Errorf("%d in flight", left.Load.InFlight())
	}
}

// The breaker opens after consecutive failures: no more connections are made.
// After a while it lets trials through and closes again.
func TestBreaker(t *testing.T) {
	var failing atomic.Bool
	failing.Store(true)
	var seen atomic.Int64
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		seen.Add(1)
		if failing.Load() {
			w.WriteHeader(500)
		}
	})
	r := newRig(t, options{cluster: func(c *resource.Cluster) {
		c.Breaker = resource.Breaker{ConsecutiveFailures: 3, Window: time.Minute, OpenFor: 500 * time.Millisecond, HalfOpenRequests: 1}
	}}, addr)
	ep := r.cluster.Endpoints()[0]
	c := r.dial()
	call := func() int {
		c.send(get)
		res, b := c.answer("GET")
		if res.StatusCode == 503 && !strings.Contains(res.Header.Get("Proxy-Status"), "error=destination_unavailable") {
			t.Errorf("%v %q", res.Header, b)
		}
		return res.StatusCode
	}
	for i := range 3 {
		if got := call(); got != 500 {
			t.Fatalf("call %d: %d", i, got)
		}
	}
	eventually(t, "the breaker is open", func() bool { return ep.Breaker.State() == breaker.Open })
	if got := call(); got != 503 || seen.Load() != 3 {
		t.Errorf("%d while open, the endpoint saw %d", got, seen.Load())
	}
	failing.Store(false)
	eventually(t, "a trial closes the breaker", func() bool { return call() == 200 })
	eventually(t, "the breaker is closed", func() bool { return ep.Breaker.State() == breaker.Closed })
	if seen.Load() != 4 {
		t.Errorf("the endpoint saw %d", seen.Load())
	}
}
