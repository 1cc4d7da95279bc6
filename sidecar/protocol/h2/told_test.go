package h2

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/protocol/grpc"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/xds/resource"
)

const shedStatus = `meshd; error=connection_limit_reached; details="shed: wait"`

// change changes the route, before there are calls.
func (r *rig) change(f func()) {
	r.srv.mu.Lock()
	defer r.srv.mu.Unlock()
	f()
}

// What a request says travels on within the mesh, anew for each attempt.
func TestRequestsTell(t *testing.T) {
	for name, c := range map[string]struct {
		mesh, server bool
		rpc          bool
		timeout      time.Duration
		sends        []string
		attempt      string
		expected     string
		told         bool
		priority     string
	}{
		"nothing":               {mesh: true},
		"priority":              {mesh: true, sends: []string{"meshd-priority", "sheddable"}, priority: "sheddable"},
		"route's timeout":       {mesh: true, timeout: 15 * time.Second, expected: "15000"},
		"a further attempt":     {mesh: true, sends: []string{"x-envoy-attempt-count", "3"}, attempt: "3"},
		"no number":             {mesh: true, sends: []string{"x-envoy-attempt-count", "three"}},
		"gRFC A6":               {mesh: true, rpc: true, sends: []string{"grpc-previous-rpc-attempts", "1"}, attempt: "2"},
		"gRPC says it once":     {mesh: true, rpc: true, sends: []string{"grpc-timeout", "5S", "x-envoy-expected-rq-timeout-ms", "7000"}, told: true},
		"gRPC without deadline": {mesh: true, rpc: true, timeout: time.Second},
		"out of the mesh": {sends: []string{"x-envoy-attempt-count", "3", "x-envoy-expected-rq-timeout-ms", "7000"},
			attempt: "3", expected: "7000"},
		"inbound": {mesh: true, server: true, sends: []string{"x-envoy-attempt-count", "3", "x-envoy-expected-rq-timeout-ms", "7000"},
			attempt: "3", expected: "7000"},
	} {
		t.Run(name, func(t *testing.T) {
			heads := make(chan event, 1)
			r := newRig(t, options{server: c.server, route: resource.Route{Timeout: c.timeout}}, failing(t, func(p *wire, e event) {
				heads <- e
				p.trailersOnly(e.id, "0")
			}))
			r.change(func() { r.route.Mesh = c.mesh })
			p := r.wire()
			p.request(1, true, "GET", "/") // now there is a connection
			p.whole(1)
			<-heads
			if c.rpc {
				p.rpc(3, true, c.sends...)
			} else {
				p.request(3, true, "GET", "/", c.sends...)
			}
			p.whole(3)
			e := <-heads
			if got := e.field("x-envoy-attempt-count"); got != c.attempt {
				t.Errorf("attempt %q, not %q", got, c.attempt)
			}
			if got := e.field("x-envoy-expected-rq-timeout-ms"); got != c.expected {
				t.Errorf("timeout %q, not %q", got, c.expected)
			}
			if got := e.field("grpc-timeout"); (got != "") != c.told {
				t.Errorf("grpc-timeout %q", got)
			}
			if got := e.field("meshd-priority"); got != c.priority {
				t.Errorf("priority %q, not %q", got, c.priority)
			}
			r.settled()
		})
	}
}

// A deadline that the caller told ends the wait for an answer.
func TestToldDeadline(t *testing.T) {
	r := newRig(t, options{server: true}, scripted(t, nil, func(*wire, event) {}))
	p := r.wire()
	p.request(1, true, "GET", "/", "x-envoy-expected-rq-timeout-ms", "40")
	if h, _, _ := p.whole(1); h.status() != "504" {
		t.Error(h)
	}
	p.rpc(3, true, "grpc-timeout", "0n")
	if h, _, _ := p.whole(3); h.field("grpc-status") != "4" {
		t.Error(h)
	}
	r.settled()
	r.attempts(1, 1)
}

// What another sidecar has shed costs the endpoint nothing and is tried again
// once, whatever the method; and not at all if its sender says so.
func TestShedAnswers(t *testing.T) {
	for name, c := range map[string]struct {
		answer   func(p *wire, id uint32)
		rpc      bool
		attempts uint64
	}{
		"http": {func(p *wire, id uint32) {
			p.headers(id, true, ":status", "503", "proxy-status", shedStatus, "retry-after", "1")
		}, false, 2},
		"grpc": {func(p *wire, id uint32) {
			p.trailersOnly(id, "14", "proxy-status", shedStatus, pushbackField, "1000")
		}, true, 2},
		"grpc, not again": {func(p *wire, id uint32) {
			p.trailersOnly(id, "14", "proxy-status", shedStatus, pushbackField, "-1")
		}, true, 1},
		"tried again below": {func(p *wire, id uint32) {
			p.headers(id, true, ":status", "503", "proxy-status", shedStatus, "x-envoy-attempt-count", "2")
		}, false, 1},
	} {
		t.Run(name, func(t *testing.T) {
			full := func() string { return failing(t, func(p *wire, e event) { c.answer(p, e.id) }) }
			r := newRig(t, retrying(3), full(), full(), full())
			p := r.wire()
			if c.rpc {
				p.rpc(1, true)
			} else {
				p.request(1, true, "POST", "/")
			}
			p.whole(1)
			r.settled()
			var tries, failures uint64
			for _, ep := range r.cluster.Endpoints() {
				tries, failures = tries+ep.Requests.Load(), failures+ep.Failures.Load()
			}
			if tries != c.attempts || failures != 0 {
				t.Errorf("%d attempts and %d failures, not %d and 0", tries, failures, c.attempts)
			}
		})
	}
}

// The application's answers say its load, unless it does so itself; and what a
// sidecar says is for sidecars.
func TestLoadIsSaid(t *testing.T) {
	for name, c := range map[string]struct {
		server    bool
		app, want string
	}{
		"ours":          {true, "", "TEXT named_metrics.meshd_inflight=1,named_metrics.meshd_queue_ms=0"},
		"application's": {true, "TEXT cpu_utilization=0.5", "TEXT cpu_utilization=0.5"},
		"handed on":     {false, "TEXT cpu_utilization=0.5", "TEXT cpu_utilization=0.5"},
		"not handed on": {false, "TEXT named_metrics.meshd_inflight=7,named_metrics.meshd_queue_ms=1", ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options{server: c.server}, failing(t, func(p *wire, e event) {
				more := []string{"x-last", "1"}
				if c.app != "" {
					more = append([]string{grpc.LoadField, c.app}, more...)
				}
				p.trailersOnly(e.id, "0", more...)
			}))
			if c.server {
				r.change(func() { r.route.Gate = call.NewGateway(r.cluster.Now) })
			}
			p := r.wire()
			p.rpc(1, true)
			h, _, _ := p.whole(1)
			if got := h.field(grpc.LoadField); got != c.want || h.field("x-last") != "1" {
				t.Errorf("%q, not %q: %v", got, c.want, h)
			}
			r.want(counts{"200 OK": 1}, nil, 0)
		})
	}
}

// A stream is no longer among what the application works on.
func TestStreamsLeaveTheGate(t *testing.T) {
	for name, length := range map[string]string{"stream": "", "more than is there": "2"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options{server: true}, failing(t, func(p *wire, e event) {
				if length != "" {
					p.headers(e.id, false, ":status", "200", "content-length", length)
				} else {
					p.headers(e.id, false, ":status", "200")
				}
			}))
			r.change(func() { r.route.Gate = call.NewGateway(r.cluster.Now) })
			p := r.wire()
			p.request(1, true, "GET", "/")
			p.next()
			eventually(t, "it is counted so", func() bool { n, _ := r.route.Gate.InFlight(); return n == 0 })
			p.reset(1, codeCancel)
			r.settled()
		})
	}
}

// Refusals name the status that the client gets.
func TestRefusals(t *testing.T) {
	for name, c := range map[string]struct {
		route  resource.Route
		rpc    bool
		status string // of HTTP, or grpc-status
	}{
		"fault, grpc code":             {resource.Route{Fault: resource.Fault{AbortShare: 1, Abort: stats.GRPC(7)}}, true, "7"},
		"fault, grpc code, over HTTP":  {resource.Route{Fault: resource.Fault{AbortShare: 1, Abort: stats.GRPC(7)}}, false, "403"},
		"fault, HTTP status":           {resource.Route{Fault: resource.Fault{AbortShare: 1, Abort: 418}}, false, "418"},
		"fault, HTTP status, for gRPC": {resource.Route{Fault: resource.Fault{AbortShare: 1, Abort: 503}}, true, "14"},
		"delay": {resource.Route{Fault: resource.Fault{DelayShare: 1, Delay: 20 * time.Millisecond, AbortShare: 1, Abort: 503}},
			false, "503"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options{route: c.route}, closedPort(t))
			p := r.wire()
			var h event
			if c.rpc {
				p.rpc(1, true)
				h, _, _ = p.whole(1)
				if got := h.field("grpc-status"); got != c.status {
					t.Errorf("grpc-status %q, not %q", got, c.status)
				}
			} else {
				p.request(1, true, "GET", "/")
				if h, _, _ = p.whole(1); h.status() != c.status {
					t.Errorf("status %q, not %q", h.status(), c.status)
				}
			}
			if !strings.Contains(h.field("proxy-status"), "fault injected") {
				t.Error(h)
			}
			r.settled()
			r.attempts(0, 0)
		})
	}
}

// A call that is limited is told when to come again; in gRPC, too.
func TestRateLimited(t *testing.T) {
	r := newRig(t, options{}, answering(t, "a"))
	r.change(func() { r.route.Bucket = breaker.NewBucket(0.01, 1) })
	p := r.wire()
	p.request(1, true, "GET", "/")
	p.whole(1)
	p.request(3, true, "GET", "/")
	if h, _, _ := p.whole(3); h.status() != "429" || h.field("retry-after") == "" {
		t.Error(h)
	}
	p.rpc(5, true)
	if h, _, _ := p.whole(5); h.field("grpc-status") != "14" || h.field("retry-after") == "" || h.field(pushbackField) == "" {
		t.Error(h)
	}
	r.settled()
}

// A call that waits ends with its client, or at its deadline.
func TestWaitingCalls(t *testing.T) {
	wait := resource.Cluster{Hold: resource.Hold{Calls: 10, Wait: 10 * time.Second}}
	for name, end := range map[string]struct {
		do   func(r *rig, p *wire)
		want string
	}{
		"reset":           {func(_ *rig, p *wire) { p.reset(1, codeCancel) }, "499 client_closed"},
		"connection lost": {func(_ *rig, p *wire) { _ = p.c.Close() }, "499 client_closed"},
		"deadline": {func(_ *rig, p *wire) {
			if h, _, _ := p.whole(1); h.status() != "504" {
				p.t.Error(h)
			}
		}, "504 http_response_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			o := options{cluster: wait}
			o.route.AttemptTimeout = time.Millisecond // of no attempt
			if name == "deadline" {
				o.route.Timeout = 50 * time.Millisecond
			}
			r := newRig(t, o)
			p := r.wire()
			p.request(1, false, "PUT", "/")
			p.data(1, strings.Repeat("x", 1000), false)
			eventually(t, "it waits", func() bool { return r.cluster.Held().Waiting == 1 })
			end.do(r, p)
			r.want(counts{end.want: 1}, nil, 0)
			eventually(t, "nobody waits", func() bool { return r.cluster.Held().Waiting == 0 })
		})
	}
}

// A whole request is copied, once.
func TestMirrors(t *testing.T) {
	o := retrying(1)
	o.route.Mirrors = []resource.Mirror{{Cluster: "copies", Share: 1}}
	r := newRig(t, o, answering(t, "a"))
	copies := make(chan call.Mirrored, 10)
	r.change(func() {
		r.route.MirrorClusters = []*call.Cluster{r.cluster}
		r.route.Mirror = func(m call.Mirrored) { copies <- m }
	})
	p := r.wire()
	p.request(1, false, http.MethodPut, "/a?b=c", "x-field", "value")
	p.data(1, "con", false)
	p.data(1, "tent", true)
	p.whole(1)
	p.request(3, true, http.MethodGet, "/d")
	p.whole(3)
	r.settled()
	if len(copies) != 2 {
		t.Fatalf("%d copies", len(copies))
	}
	m := <-copies
	if m.Method != "PUT" || m.Target != "/a?b=c" || string(m.Body) != "content" {
		t.Errorf("%+v", m)
	}
	found := false
	for _, f := range m.Header {
		found = found || f == call.MirroredField{Name: "x-field", Value: "value"}
	}
	if !found {
		t.Error(m.Header)
	}
	if m = <-copies; m.Target != "/d" || len(m.Body) > 0 {
		t.Errorf("%+v", m)
	}
}

// A session's cookie is on the answer, and keeps the next call where it was.
func TestSessionCookie(t *testing.T) {
	var n atomic.Int32
	o := options{route: resource.Route{Hash: []resource.HashPolicy{{Cookie: "at", Generate: true, CookieTTL: time.Hour}}}}
	o.cluster.Balancer = "ring_hash"
	r := newRig(t, o, failing(t, func(p *wire, e event) {
		n.Add(1)
		p.headers(e.id, true, ":status", "200")
	}))
	p := r.wire()
	p.request(1, true, "GET", "/")
	h, _, _ := p.whole(1)
	cookie, _, _ := strings.Cut(h.field("set-cookie"), ";")
	if !strings.HasPrefix(cookie, "at=") {
		t.Fatal(h)
	}
	p.request(3, true, "GET", "/", "cookie", cookie)
	if h, _, _ = p.whole(3); h.field("set-cookie") != "" {
		t.Error(h)
	}
	r.settled()
}
