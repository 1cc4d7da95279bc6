package h2

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/meshd/meshd/xds/resource"
)

// retrying is a policy under which everything is tried again.
func retrying(attempts int) options {
	return options{
		route: resource.Route{Retry: resource.Retry{Attempts: attempts, BackoffBase: time.Millisecond, BackoffMax: 2 * time.Millisecond,
			BufferBytes: 64 << 10, On: 1<<15 - 1}},
		cluster: resource.Cluster{Budget: resource.Budget{Ratio: 0.2, MinPerSecond: 10}},
	}
}

type counts = map[string]uint64

// answering is an endpoint that answers every whole request with its name and
// how much content came.
func answering(t testing.TB, name string) string {
	got := map[*wire]map[uint32]int{} // of the rig's one connection at a time
	var mu atomic.Int32
	return scripted(t, nil, func(p *wire, e event) {
		for !mu.CompareAndSwap(0, 1) {
		}
		defer mu.Store(0)
		if got[p] == nil {
			got[p] = map[uint32]int{}
		}
		got[p][e.id] += len(e.data)
		if e.end {
			p.headers(e.id, false, ":status", "200", "x-bytes", strings.Repeat("i", got[p][e.id]%100))
			p.data(e.id, name, true)
		}
	})
}

// failing is an endpoint that does f with each request, of which last is the
// last frame.
func failing(t testing.TB, f func(p *wire, e event)) string {
	return scripted(t, nil, func(p *wire, e event) {
		if e.end && (e.typ == http2.FrameHeaders || e.typ == http2.FrameData) {
			f(p, e)
		}
	})
}

func TestRetries(t *testing.T) {
	reset := func(c code) func(*wire, event) { return func(p *wire, e event) { p.reset(e.id, c) } }
	leave := func(p *wire, e event) { p.goAway(e.id-1, codeNone) }
	status := func(s string) func(*wire, event) { return func(p *wire, e event) { p.answer(e.id, s, "no") } }
	closing := func(p *wire, e event) { _ = p.c.CloseWrite() }
	cut := func(p *wire, e event) {
		p.headers(e.id, false, ":status", "200")
		_ = p.c.CloseWrite()
	}
	for name, c := range map[string]struct {
		method, body string
		fail         func(*wire, event) // nil: nobody listens
		attempts     int
		status       string // RST_STREAM: the client's stream is reset
		outcome      string
		retries      counts
		moves        uint64
		failures     uint64
	}{
		"connect":               {method: "GET", attempts: 1, status: "200", outcome: "200", retries: counts{"connect-failure": 1}, failures: 1},
		"connect, POST":         {method: "POST", body: "b", attempts: 1, status: "200", outcome: "200", retries: counts{"connect-failure": 1}, failures: 1},
		"connect, no retries":   {method: "GET", status: "503", outcome: "503 connection_refused", failures: 1},
		"reset":                 {method: "GET", fail: reset(codeInternal), attempts: 1, status: "200", outcome: "200", retries: counts{"reset": 1}, failures: 1},
		"reset, PUT":            {method: "PUT", body: "b", fail: reset(codeInternal), attempts: 1, status: "200", outcome: "200", retries: counts{"reset": 1}, failures: 1},
		"reset, POST":           {method: "POST", body: "b", fail: reset(codeInternal), attempts: 1, status: "502", outcome: "502 connection_terminated", failures: 1},
		"refused":               {method: "GET", fail: reset(codeRefused), attempts: 1, status: "200", outcome: "200", retries: counts{"refused-stream": 1}, moves: 1},
		"refused, POST":         {method: "POST", fail: reset(codeRefused), attempts: 1, status: "200", outcome: "200", retries: counts{"refused-stream": 1}, moves: 1},
		"refused, POST content": {method: "POST", body: "b", fail: reset(codeRefused), attempts: 1, status: "200", outcome: "200", retries: counts{"refused-stream": 1}, moves: 1},
		"refused, no retries":   {method: "POST", fail: reset(codeRefused), status: "502", outcome: "502 connection_terminated", moves: 1},
		"left":                  {method: "POST", fail: leave, attempts: 1, status: "200", outcome: "200", retries: counts{"refused-stream": 1}, moves: 1},
		"lost":                  {method: "GET", fail: closing, attempts: 1, status: "200", outcome: "200", retries: counts{"reset": 1}, failures: 1},
		"lost, POST":            {method: "POST", body: "b", fail: closing, attempts: 1, status: "502", outcome: "502 connection_terminated", failures: 1},
		"lost in the answer":    {method: "GET", fail: cut, attempts: 1, status: "RST_STREAM", outcome: "200 http_response_incomplete", failures: 1},
		"503":                   {method: "GET", fail: status("503"), attempts: 1, status: "200", outcome: "200", retries: counts{"503": 1}, failures: 1},
		"503, POST":             {method: "POST", fail: status("503"), attempts: 1, status: "503", outcome: "503", failures: 1},
		"503, no retries":       {method: "GET", fail: status("503"), status: "503", outcome: "503", failures: 1},
		"500":                   {method: "GET", fail: status("500"), attempts: 1, status: "500", outcome: "500", failures: 1},
	} {
		t.Run(name, func(t *testing.T) {
			bad := closedPort(t)
			if c.fail != nil {
				bad = failing(t, c.fail)
			}
			r := newRig(t, retrying(c.attempts), bad, answering(t, "good"))
			p := r.wire()
			// Round robin starts somewhere: until the bad one is asked first.
			for id := uint32(1); ; id += 2 {
				first := r.cluster.Endpoints()[0].Requests.Load()
				p.request(id, c.body == "", c.method, "/")
				if c.body != "" {
					p.data(id, c.body, true)
				}
				e := p.next()
				got := e.status()
				for !e.end && e.typ != http2.FrameRSTStream {
					e = p.next()
				}
				if e.typ == http2.FrameRSTStream {
					got = "RST_STREAM"
				}
				r.settled()
				if r.cluster.Endpoints()[0].Requests.Load() == first {
					continue
				}
				if got != c.status {
					t.Errorf("answered %s, not %s", got, c.status)
				}
				n := uint64(id / 2) // calls that the good one got first
				outcomes := counts{c.outcome: 1}
				if n > 0 {
					outcomes["200"] += n
				}
				r.want(outcomes, c.retries, c.moves)
				good := n
				if c.retries != nil {
					good++
				}
				r.attempts(1, c.failures, good, 0)
				return
			}
		})
	}
}

// A request's content is sent again as far as it was kept.
func TestReplay(t *testing.T) {
	for name, c := range map[string]struct {
		size   int
		status string
	}{"kept": {64 << 10, "200"}, "longer": {64<<10 + 1, "502"}} {
		t.Run(name, func(t *testing.T) {
			var tries atomic.Int32
			var got atomic.Pointer[strings.Builder]
			backend := func() string {
				var mine strings.Builder
				return scripted(t, nil, func(p *wire, e event) {
					mine.Write(e.data)
					if !e.end {
						return
					}
					if tries.Add(1) == 1 {
						p.reset(e.id, codeInternal)
						return
					}
					got.Store(&mine)
					p.answer(e.id, "200", "")
				})
			}
			r := newRig(t, retrying(1), backend(), backend())
			p := r.wire()
			content := strings.Repeat("0123456789abcdef", c.size/16) + strings.Repeat("x", c.size%16)
			p.request(1, false, "PUT", "/")
			go p.data(1, content, true)
			if h := p.next(); h.status() != c.status {
				t.Errorf("answered %v", h)
			}
			r.settled()
			if c.status == "200" {
				if b := got.Load(); b == nil || b.String() != content {
					t.Error("the second endpoint got something else")
				}
			} else if n := tries.Load(); n != 1 {
				t.Errorf("%d attempts", n)
			}
		})
	}
}

// What a client sends after its request's head while the first attempt failed
// goes to the second.
func TestReplayGoesOn(t *testing.T) {
	var tries atomic.Int32
	failed := make(chan struct{})
	fail := sync.OnceFunc(func() { close(failed) })
	backend := func() string {
		var got string
		mine := int32(0)
		return scripted(t, nil, func(p *wire, e event) {
			if mine == 0 && e.typ == http2.FrameHeaders {
				mine = tries.Add(1)
			}
			got += string(e.data)
			switch {
			case mine == 1 && e.typ == http2.FrameData:
				p.reset(e.id, codeInternal)
				fail()
			case e.end:
				p.headers(e.id, true, ":status", "200", "x-got", got+e.field("x-sum"))
			}
		})
	}
	r := newRig(t, retrying(1), backend(), backend())
	p := r.wire()
	p.request(1, false, "PUT", "/")
	p.data(1, "first,", false)
	<-failed
	p.data(1, "second", false)
	p.headers(1, true, "x-sum", "7")
	if h, _, _ := p.whole(1); h.status() != "200" || h.field("x-got") != "first,second7" {
		t.Error(h)
	}
	r.want(counts{"200": 1}, counts{"reset": 1}, 0)
}

// Trailers are part of what is sent again.
func TestReplayOfTrailers(t *testing.T) {
	var tries atomic.Int32
	backend := func() string {
		return failing(t, func(p *wire, e event) {
			if tries.Add(1) == 1 {
				p.reset(e.id, codeInternal)
				return
			}
			p.headers(e.id, true, ":status", "200", "x-trailer", e.field("x-sum"))
		})
	}
	r := newRig(t, retrying(1), backend(), backend())
	p := r.wire()
	p.request(1, false, "PUT", "/")
	p.data(1, "content", false)
	p.headers(1, true, "x-sum", "7")
	if h, _, _ := p.whole(1); h.status() != "200" || h.field("x-trailer") != "7" {
		t.Errorf("%v", h)
	}
}

func TestAttemptsExhausted(t *testing.T) {
	bad := func() string { return failing(t, func(p *wire, e event) { p.answer(e.id, "503", "") }) }
	r := newRig(t, retrying(2), bad(), bad(), bad(), bad())
	p := r.wire()
	p.get(1, "/")
	if h, _, _ := p.whole(1); h.status() != "503" {
		t.Error(h)
	}
	r.want(counts{"503": 1}, counts{"503": 2}, 0)
	if n := r.snapshot().RetriesDenied; n != 0 {
		t.Errorf("%d retries denied", n)
	}
}

func TestEndpointsExhausted(t *testing.T) {
	r := newRig(t, retrying(5), closedPort(t), closedPort(t))
	p := r.wire()
	p.get(1, "/")
	if h, _, _ := p.whole(1); h.status() != "503" || !strings.Contains(h.field("proxy-status"), "connection_refused") {
		t.Error(h)
	}
	// The last one that is left is asked again and again.
	r.want(counts{"503 connection_refused": 1}, counts{"connect-failure": 5}, 0)
}

func TestBudgetExhausted(t *testing.T) {
	o := retrying(1)
	o.cluster.Budget = resource.Budget{MinPerSecond: 0.2} // two in ten seconds
	bad := func() string { return failing(t, func(p *wire, e event) { p.answer(e.id, "503", "") }) }
	r := newRig(t, o, bad(), bad())
	p := r.wire()
	for i := range uint32(5) {
		p.get(2*i+1, "/")
		if h, _, _ := p.whole(2*i + 1); h.status() != "503" {
			t.Error(h)
		}
	}
	r.want(counts{"503": 5}, counts{"503": 2}, 0)
	if n := r.snapshot().RetriesDenied; n != 3 {
		t.Errorf("%d retries denied, not 3", n)
	}
}

// An attempt that takes too long is given up for another.
func TestAttemptTimeout(t *testing.T) {
	o := retrying(1)
	o.route.AttemptTimeout = 50 * time.Millisecond
	var resets atomic.Int32
	silent := scripted(t, nil, func(p *wire, e event) {
		if e.typ == http2.FrameRSTStream && e.code == http2.ErrCodeCancel {
			resets.Add(1)
		}
	})
	r := newRig(t, o, silent, answering(t, "good"))
	p := r.wire()
	for i := range uint32(2) {
		p.get(2*i+1, "/")
		if h, _, _ := p.whole(2*i + 1); h.status() != "200" {
			t.Error(h)
		}
	}
	r.settled()
	n := r.snapshot().Retries["timeout"]
	r.want(counts{"200": 2}, counts{"timeout": n}, 0)
	if n == 0 {
		t.Error("no attempt timed out")
	}
	eventually(t, "the endpoint is told", func() bool { return uint64(resets.Load()) == n })
}
