package call

import (
	"testing"
	"time"

	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/xds/resource"
)

// hedging is a call whose hedge is under way.
func hedging(t *testing.T) (*fixture, *Call) {
	t.Helper()
	f := setUp(t, policy, 0, "10.0.0.1:80", "10.0.0.2:80")
	f.route.Hedge = resource.Hedge{Share: 1, Delay: time.Millisecond}
	f.route.Init(nil, f.cluster.Now)
	c := f.begin(t)
	first := c.Pick(2)
	if d, late := c.HedgeAfter(2); d != time.Millisecond || late != HedgeTick {
		t.Fatal(d, late)
	}
	if ep := c.Hedge(3); ep == nil || ep == first || c.Endpoint() != first || !c.Hedging() {
		t.Fatal(ep, c.Endpoint())
	}
	return f, c
}

// A hedge that fails leaves the first attempt as it was, and what that took is
// measured from when it began.
func TestHedgeThatFails(t *testing.T) {
	for name, fail := range map[string]func(c *Call){
		"error":   func(c *Call) { c.HedgeFailed(5, stats.ErrConnectionTerminated) },
		"answer":  func(c *Call) { c.HedgeAnswered(5, 503, nil) },
		"shed":    func(c *Call) { c.HedgeAnswered(5, 503, c.Turned) },
		"dropped": func(c *Call) { c.Unhedge(5) },
	} {
		t.Run(name, func(t *testing.T) {
			f, c := hedging(t)
			first := c.Endpoint()
			fail(c)
			if c.Hedging() || c.Endpoint() != first || !c.measured || c.turns != 0 {
				t.Errorf("hedging %v, at %v, measured %v, turned %d", c.Hedging(), c.Endpoint(), c.measured, c.turns)
			}
			var failures int64
			for _, ep := range f.cluster.Endpoints() {
				failures += int64(ep.Failures.Load())
			}
			if want := map[string]int64{"error": 1, "answer": 1}[name]; failures != want {
				t.Errorf("%d failures counted, want %d", failures, want)
			}
			c.Done(9, 200, stats.ErrNone, 7)
			c.End(9, 200, stats.ErrNone)
			f.rest(t, 1)
		})
	}
}

// An endpoint whose answer was not waited for is priced as slower than it was
// waited for, and does not fail.
func TestHedgeThatWins(t *testing.T) {
	f, c := hedging(t)
	first := c.Endpoint()
	const now = 2 + int64(30*time.Millisecond)
	c.HedgeWon(now)
	if got, least := first.Load.Latency(), 60*time.Millisecond; got < least {
		t.Errorf("the first endpoint's price is that of %v, want %v and more", got, least)
	}
	if first.Failures.Load() != 0 || c.Endpoint() == first || c.Hedging() {
		t.Errorf("%d failures, at %v, hedging %v", first.Failures.Load(), c.Endpoint(), c.Hedging())
	}
	c.Done(now, 200, stats.ErrNone, 5)
	c.End(now, 200, stats.ErrNone)
	f.rest(t, 1)
}

// A call that was turned away twice is not tried a third time.
func TestTurnedTwice(t *testing.T) {
	f := setUp(t, policy, 0, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
	c := f.begin(t)
	for i, again := range []bool{true, false} {
		c.Pick(2)
		c.Turned()
		c.Turned() // said twice, counted once
		if _, ok := c.Retry(3, stats.Retry503, true); ok != again {
			t.Errorf("attempt %d: again %v", i, ok)
		}
		c.Done(3, 503, stats.ErrNone, 1)
	}
	c.End(4, 503, stats.ErrNone)
	f.rest(t, 1)
}

// Before the first attempt is picked, what it will tell is known.
func TestTellBeforePick(t *testing.T) {
	f := setUp(t, policy, 0, "10.0.0.1:80", "10.0.0.2:80")
	c := &Call{}
	if step := c.Begin(f.tracer, f.route, &Said{Attempt: 2, Timeout: time.Second}, nil, 1); step != Go {
		t.Fatal(step)
	}
	before := c.Tell(1)
	c.Pick(1)
	if after := c.Tell(1); before != after || after.Attempt != 2 || after.Timeout != 1000 {
		t.Errorf("%+v, then %+v", before, after)
	}
	c.Cancel(2)
	c.End(2, 499, stats.ErrClientClosed)
}

// The timer of hedges looks less often where many calls come, and as soon as
// before once they do not.
func TestHedgePace(t *testing.T) {
	var p HedgePace
	now := int64(1)
	come := func(gap time.Duration) (late time.Duration) {
		for range 40 {
			now += int64(gap)
			late = p.Came(now, HedgeTick)
		}
		return late
	}
	if late := p.Came(now, HedgeTick); late != HedgeTick {
		t.Error("first call:", late)
	}
	for _, c := range []struct{ gap, late time.Duration }{
		{10 * time.Millisecond, HedgeTick}, {time.Millisecond, HedgeRest}, {time.Minute, HedgeTick}, {time.Microsecond, HedgeRest},
	} {
		if late := come(c.gap); late != c.late {
			t.Errorf("a call each %v: %v late, want %v", c.gap, late, c.late)
		}
	}
}
