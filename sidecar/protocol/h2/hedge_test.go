package h2

import (
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/meshd/meshd/xds/resource"
)

// A call whose answer is late is made a second time elsewhere, and the first
// answer that is none of failure counts.
func TestHedges(t *testing.T) {
	silent := func(*wire, event) {}
	good := func(p *wire, e event) {
		p.headers(e.id, false, ":status", "200")
		p.data(e.id, "good", true)
	}
	bad := func(p *wire, e event) { p.headers(e.id, true, ":status", "503") }
	reset := func(p *wire, e event) { p.reset(e.id, codeInternal) }
	later := func(f func(*wire, event)) func(*wire, event) {
		return func(p *wire, e event) {
			<-time.NewTimer(60 * time.Millisecond).C // as long as the work takes
			f(p, e)
		}
	}
	for name, c := range map[string]struct {
		first, second func(p *wire, e event)
		timeout       time.Duration
		status        string
		attempts      int32
		cancelled     int32
	}{
		"hedge wins":          {silent, good, 0, "200", 2, 1},
		"first wins":          {later(good), silent, 0, "200", 2, 1},
		"hedge fails":         {later(good), bad, 0, "200", 2, 0},
		"hedge is reset":      {later(good), reset, 0, "200", 2, 0},
		"first fails":         {later(bad), later(good), 0, "200", 2, 0},
		"first is reset":      {later(reset), later(good), 0, "200", 2, 0},
		"neither answers":     {silent, silent, 80 * time.Millisecond, "504", 2, 2},
		"first is in no time": {good, silent, 0, "200", 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var tries, cancelled atomic.Int32
			backend := func() string {
				return scripted(t, nil, func(p *wire, e event) {
					switch {
					case e.typ == http2.FrameRSTStream:
						cancelled.Add(1)
					case e.typ == http2.FrameHeaders && e.field(":path") == "/warm":
						p.headers(e.id, true, ":status", "200")
					case e.typ == http2.FrameData && e.end:
						if tries.Add(1) == 1 {
							c.first(p, e)
						} else {
							c.second(p, e)
						}
					}
				})
			}
			o := retrying(0)
			o.route.Timeout = c.timeout
			o.route.Hedge = resource.Hedge{Share: 1, Delay: 20 * time.Millisecond}
			o.cluster.Budget = resource.Budget{Ratio: 1, MinPerSecond: 100}
			r := newRig(t, o, backend(), backend())
			r.change(func() { r.route.Init(nil, r.cluster.Now) })
			p := r.wire()
			for id := uint32(1); id < 5; id += 2 { // now there are connections
				p.request(id, true, "GET", "/warm")
				p.whole(id)
			}
			p.request(5, false, "PUT", "/")
			p.data(5, "content", true)
			h, body, _ := p.whole(5)
			if h.status() != c.status || c.status == "200" && body != "good" {
				t.Errorf("%v %q", h, body)
			}
			r.settled()
			if got := tries.Load(); got != c.attempts {
				t.Errorf("%d attempts, not %d", got, c.attempts)
			}
			eventually(t, "who lost is told", func() bool { return cancelled.Load() == c.cancelled })
		})
	}
}

// Requests that may not be made twice are not hedged.
func TestNoHedges(t *testing.T) {
	o := retrying(0)
	o.route.Hedge = resource.Hedge{Share: 1, Delay: time.Millisecond}
	o.route.Timeout = 30 * time.Millisecond
	o.cluster.Budget = resource.Budget{Ratio: 1, MinPerSecond: 100}
	silent := scripted(t, nil, func(*wire, event) {})
	r := newRig(t, o, silent, answering(t, "a"))
	r.change(func() { r.route.Init(nil, r.cluster.Now) })
	p := r.wire()
	for id := uint32(1); id < 9; id += 2 {
		p.request(id, true, "POST", "/")
		p.whole(id)
	}
	r.settled()
	r.attempts(2, 2, 2, 0)
}
