package call

import (
	"time"

	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
)

// A hedge is a second attempt while the first has no answer yet: whichever
// answers first is the call's. The order is
//
//	Pick  HedgeAfter  Hedge  (HedgeWon | Failover | HedgeFailed | Unhedge)
//
// and it is made for requests that may be made twice and are at hand as a
// whole. The first attempt stays the one that Done, Cancel and Endpoint are
// about, until HedgeWon or Failover.

// HedgeAfter says how long after the first attempt a hedge is due, and how late
// it may be where nobody comes by that could look; 0: there is none. It is asked
// once, right after the first Pick, of calls that may be hedged.
func (c *Call) HedgeAfter(now int64) (after, late time.Duration) {
	r := c.Route
	if r.hedge == nil || c.attempts != 1 || c.earlier > 1 || c.view.set.Len() < 2 {
		return 0, 0
	}
	c.measured, c.hedgeable = true, true
	d := r.hedge.Delay()
	switch {
	case r.Hedge.Delay > 0:
		return r.Hedge.Delay, HedgeTick
	case d == 0:
		return 0, 0 // nothing is known yet
	case time.Duration(d) < leastHedge:
		return leastHedge, HedgeRest
	}
	return time.Duration(d), HedgeTick
}

// leastHedge is the least delay of a hedge that no policy has named: a service
// whose calls nearly all take less gains nothing from a second one that comes
// earlier, and looking for it would cost as much as the calls.
const leastHedge = 5 * time.Millisecond

// Hedges that are due are looked for by whoever comes next, and by a timer of
// which each look wakes a thread, which costs as much as a call.
const (
	// HedgeTick is the least time between two looks of the timer.
	HedgeTick = 20 * time.Millisecond
	// HedgeRest is that where it rarely finds anything: many calls come, or nearly
	// all are over before a hedge is due.
	HedgeRest = 100 * time.Millisecond
)

// A HedgePace is how fast calls come that may be hedged.
type HedgePace struct{ last, gap int64 }

// Came adds a call and returns how late its hedge may be, if late by itself.
func (p *HedgePace) Came(now int64, late time.Duration) time.Duration {
	gap := int64(HedgeRest)
	if p.last == 0 {
		p.gap = gap
	} else {
		p.gap += (min(now-p.last, gap) - p.gap) / 8
	}
	p.last = now
	if p.gap < int64(HedgeTick)/10 {
		return HedgeRest
	}
	return late
}

// censored is how often an attempt that was given up for its hedge is taken to
// have lasted what it was waited for. Where latencies have a long tail, what has
// lasted so long is expected to last as long again; and as long once more,
// because of latencies that are seen whole the peaks count, which here are cut off.
const censored = 3

// Hedge starts the hedge, if the budget pays for it and there is another
// endpoint: nil if not.
func (c *Call) Hedge(now int64) *endpoint.Endpoint {
	if !c.picked || !c.waiting || c.hedged || c.attempts >= maxAttempts {
		return nil
	}
	if !c.Route.hedge.Allow(c.view.budget) {
		c.log.note(noteHedgeBudget)
		return nil
	}
	first := c.attempt
	context := c.Context
	ep := c.pick(now, first.ep)
	if ep == nil {
		return nil
	}
	c.hedged = true
	c.attempt, c.beside, c.Context = first, c.attempt, context
	c.log.hedged(c.beside.nth)
	c.Route.Service.Hedged()
	return ep
}

// HedgeContext is what the hedge's request says in traceparent.
func (c *Call) HedgeContext() tracing.SpanContext {
	if c.beside.context.Valid() {
		return c.beside.context
	}
	return c.Context
}

// Hedging reports whether a hedge is under way.
func (c *Call) Hedging() bool { return c.beside.picked }

// HedgeWon says that the hedge's answer came first: it is the attempt now, and
// the other one is given up.
func (c *Call) HedgeWon(now int64) {
	// What was waited for would have taken longer than it was waited for, by how
	// much nobody knows. Were it taken for no more, an endpoint ten times as slow
	// as the others would look twice as slow: no slower than one of them with a
	// call in flight.
	c.ep.Load.Observe(now, censored*time.Duration(now-c.began), false)
	c.measure(now, now-c.began)
	c.Cancel(now)
	c.attempt, c.beside = c.beside, attempt{}
	if c.attempt.context.Valid() {
		c.Context = c.attempt.context
	}
	c.Route.Service.HedgeWon()
}

// Failover follows the failure of the attempt while its hedge is under way,
// which takes its place.
func (c *Call) Failover(now int64, errType stats.ErrorType) {
	c.Done(now, 0, errType, now-c.began)
	c.attempt, c.beside = c.beside, attempt{}
	if c.attempt.context.Valid() {
		c.Context = c.attempt.context
	}
}

// HedgeFailed ends the hedge with an error: nobody else is told.
func (c *Call) HedgeFailed(now int64, errType stats.ErrorType) {
	c.aside(func() { c.Done(now, 0, errType, now-c.began) })
}

// HedgeAnswered ends the hedge with an answer that is not to be the call's, a
// failure, while the first attempt may have a better one. read, which may be
// nil, looks at it: what it tells the call (TakeLoad, Shed, Turned) is taken as
// said of the hedge's endpoint.
func (c *Call) HedgeAnswered(now int64, status int, read func()) {
	turns := c.turns
	c.aside(func() {
		if read != nil {
			read()
		}
		c.Done(now, status, stats.ErrNone, now-c.began)
	})
	c.turns = turns
}

// Unhedge gives the hedge up, without a verdict: the first attempt has
// answered, or the call is over.
func (c *Call) Unhedge(now int64) {
	if c.beside.picked {
		c.aside(func() { c.Cancel(now) })
	}
}

// aside does something to the hedge.
func (c *Call) aside(do func()) {
	context := c.Context
	c.attempt, c.beside = c.beside, c.attempt
	do()
	c.attempt, c.beside = c.beside, attempt{}
	c.Context = context
}

// measure tells the live quantile, once, what the first attempt took.
func (c *Call) measure(now, latency int64) {
	if c.measured && c.nth == 0 {
		c.measured = false
		c.Route.hedge.Done(now, latency)
	}
}

// extra are the attempts that were no retries.
func (c *Call) extra() int {
	if c.hedged {
		return 1
	}
	return 0
}
