package h2

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/meshd/meshd/xds/resource"
)

// hedging is a policy under which every call that may be is hedged soon.
func hedging() options {
	o := retrying(0)
	o.route.Hedge = resource.Hedge{Share: 1, Delay: 5 * time.Millisecond}
	o.cluster.Budget = resource.Budget{Ratio: 1, MinPerSecond: 100}
	o.cluster.Breaker.Disabled = true
	return o
}

func (r *rig) hedges(mesh bool) {
	r.change(func() {
		r.route.Mesh = mesh
		r.route.Init(nil, r.cluster.Now)
	})
}

// pair is two endpoints of which whoever gets the first whole request but
// those for /warm does first with it, and the other second.
func pair(t *testing.T, settings []uint32, first, second func(p *wire, e event, size int)) []string {
	var tries atomic.Int32
	one := func() string {
		size, warm := map[*wire]map[uint32]int{}, map[uint32]bool{}
		var mu sync.Mutex
		return scripted(t, settings, func(p *wire, e event) {
			mu.Lock()
			if size[p] == nil {
				size[p] = map[uint32]int{}
			}
			size[p][e.id] += len(e.data)
			n := size[p][e.id]
			if e.typ == http2.FrameHeaders {
				warm[e.id] = e.field(":path") == "/warm"
			}
			is := warm[e.id]
			mu.Unlock()
			switch {
			case !e.end:
			case is:
				p.headers(e.id, true, ":status", "200")
			case tries.Add(1) == 1:
				first(p, e, n)
			default:
				second(p, e, n)
			}
		})
	}
	return []string{one(), one()}
}

// warm makes sure that there is a connection to both of two endpoints.
func (p *wire) warm() {
	for id := uint32(1); id < 5; id += 2 {
		p.request(id, true, "GET", "/warm")
		p.whole(id)
	}
}

func silent(*wire, event, int) {}

// A hedge is made out of what was kept, however little the endpoint takes at a
// time. It is not, where the first attempt still sends when it is due.
func TestHedgeWithinWindows(t *testing.T) {
	o := hedging()
	o.route.Hedge.Delay = 200 * time.Millisecond
	r := newRig(t, o, pair(t, []uint32{settingWindow, 1000}, silent, func(p *wire, e event, size int) {
		p.headers(e.id, true, ":status", "200", "x-size", fmt.Sprint(size))
	})...)
	r.hedges(false)
	p := r.wire()
	p.warm()
	p.request(5, false, "PUT", "/")
	p.data(5, strings.Repeat("x", 5000), true)
	if h, _, _ := p.whole(5); h.status() != "200" || h.field("x-size") != "5000" {
		t.Error(h)
	}
	r.want(counts{"200": 3}, counts{}, 0)
}

// A gRPC call whose policy names a delay is hedged; its trailers count.
func TestHedgeOfRPC(t *testing.T) {
	served := func(p *wire, e event, _ int) {
		p.rpcHead(e.id)
		p.data(e.id, message("good"), false)
		p.headers(e.id, true, "grpc-status", "0")
	}
	for name, second := range map[string]func(*wire, event, int){
		"wins":  served,
		"fails": func(p *wire, e event, _ int) { p.trailersOnly(e.id, "14") },
	} {
		t.Run(name, func(t *testing.T) {
			out := make(chan struct{})
			first := silent
			if name == "fails" {
				first = func(p *wire, e event, size int) {
					go func() {
						<-out
						served(p, e, size)
					}()
				}
			}
			r := newRig(t, hedging(), pair(t, nil, first, func(p *wire, e event, size int) {
				second(p, e, size)
				close(out)
			})...)
			r.hedges(false)
			p := r.wire()
			p.warm()
			p.rpc(5, false)
			p.data(5, message("question"), true)
			if _, body, trailers := p.whole(5); body != message("good") || trailers.field("grpc-status") != "0" {
				t.Errorf("%q %v", body, trailers)
			}
			r.want(counts{"200": 2, "200 OK": 1}, counts{}, 0)
		})
	}
}

// A hedge's request tells that it is the second, in a span of its own.
func TestHedgeTells(t *testing.T) {
	heads := make(chan event, 2)
	var n atomic.Int32
	one := func() string {
		return failing(t, func(p *wire, e event) {
			if e.field(":path") != "/warm" {
				heads <- e
				if n.Add(1) == 1 {
					return
				}
			}
			p.headers(e.id, true, ":status", "200")
		})
	}
	o := hedging()
	o.trace, o.route.TraceRatio = 1, 1
	r := newRig(t, o, one(), one())
	r.hedges(true)
	p := r.wire()
	p.warm()
	p.request(5, true, "GET", "/")
	p.whole(5)
	r.settled()
	first, second := <-heads, <-heads
	a, b := first.field("traceparent"), second.field("traceparent")
	if len(a) != 55 || len(b) != 55 || a[:35] != b[:35] || a == b {
		t.Errorf("%q and %q", a, b)
	}
	if got := first.field("x-envoy-attempt-count") + "," + second.field("x-envoy-attempt-count"); got != ",2" {
		t.Errorf("attempts %q", got)
	}
}

// Whoever goes away while both are out, nothing is left.
func TestHedgeAndLosses(t *testing.T) {
	for name, c := range map[string]struct {
		first, second func(p *wire, e event, size int)
		client        func(p *wire)
		outcomes      counts
	}{
		"client resets":      {silent, silent, func(p *wire) { p.reset(5, codeCancel) }, counts{"200": 2, "499 client_closed": 1}},
		"client leaves":      {silent, silent, func(p *wire) { _ = p.c.Close() }, counts{"200": 2, "499 client_closed": 1}},
		"hedge's connection": {nil, func(p *wire, _ event, _ int) { _ = p.c.Close() }, nil, counts{"200": 3}},
		"hedge is refused":   {nil, func(p *wire, e event, _ int) { p.reset(e.id, codeRefused) }, nil, counts{"200": 3}},
		"hedge, GOAWAY":      {nil, func(p *wire, e event, _ int) { p.goAway(e.id-1, codeNone) }, nil, counts{"200": 3}},
		"hedge, no answer":   {nil, func(p *wire, e event, _ int) { p.headers(e.id, true, "no", "status") }, nil, counts{"200": 3}},
	} {
		t.Run(name, func(t *testing.T) {
			both, lost := make(chan struct{}), make(chan struct{})
			first := c.first
			if first == nil {
				first = func(p *wire, e event, _ int) {
					go func() {
						<-lost
						p.headers(e.id, true, ":status", "200")
					}()
				}
			}
			r := newRig(t, hedging(), pair(t, nil, first, func(p *wire, e event, size int) {
				c.second(p, e, size)
				close(both)
			})...)
			r.hedges(false)
			p := r.wire()
			p.warm()
			p.request(5, true, "GET", "/")
			<-both
			if c.client != nil {
				c.client(p)
			} else {
				eventually(t, "the hedge is gone", func() bool {
					n := int64(0)
					for _, ep := range r.cluster.Endpoints() {
						n += int64(ep.Load.InFlight())
					}
					return n == 1
				})
				close(lost)
				if h, _, _ := p.whole(5); h.status() != "200" {
					t.Error(h)
				}
			}
			r.want(c.outcomes, counts{}, 0)
		})
	}
}

// Endpoints that speak HTTP/1.1 get hedges, too, and so do the calls of clients
// that do.
func TestHedgeTranslates(t *testing.T) {
	var tries atomic.Int32
	h := func(w http.ResponseWriter, req *http.Request) {
		b, _ := io.ReadAll(req.Body)
		if req.URL.Path != "/warm" && tries.Add(1)%2 == 1 {
			<-req.Context().Done()
			return
		}
		_, _ = w.Write(b)
	}
	server1 := func() string {
		s := httptest.NewServer(http.HandlerFunc(h))
		t.Cleanup(s.Close)
		return s.Listener.Addr().String()
	}
	for name, c := range map[string]struct {
		protocol resource.Protocol
		backend  func() string
		front    bool
	}{
		"to HTTP/1.1":   {resource.ProtocolHTTP1, server1, false},
		"from HTTP/1.1": {resource.ProtocolHTTP2, func() string { return backend(t, h) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			tries.Store(0)
			o := hedging()
			o.cluster.Protocol = c.protocol
			r := newRig(t, o, c.backend(), c.backend())
			r.hedges(false)
			client := r.client()
			if c.front {
				client = client1(t, r.front1())
			}
			do := func(method, path, body string) {
				t.Helper()
				req, _ := http.NewRequest(method, "http://test"+path, strings.NewReader(body))
				res, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				defer res.Body.Close()
				if b, err := io.ReadAll(res.Body); err != nil || string(b) != body || res.StatusCode != 200 {
					t.Errorf("%d %q %v", res.StatusCode, b, err)
				}
			}
			do("GET", "/warm", "")
			do("GET", "/warm", "")
			do("PUT", "/", "content")
			r.want(counts{"200": 3}, counts{}, 0)
			if n := tries.Load(); n != 2 {
				t.Errorf("%d attempts", n)
			}
		})
	}
}
