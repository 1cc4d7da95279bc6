package call

import (
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/xds/resource"
)

// A Gateway stands before the application: it finds out how many calls that
// works on at once, has the others wait here, where one sees it, and sheds what
// would wait too long, the least important first (docs/design/006-overload.md).
type Gateway struct {
	limit *breaker.Adaptive
	gate  *breaker.Gate
	line  line
	now   func() int64
}

// NewGateway makes the Gateway of an application. now is the engine's clock.
func NewGateway(cfg resource.Admission, now func() int64) *Gateway {
	g := &Gateway{now: now}
	g.limit = breaker.NewAdaptive(breaker.AdaptiveConfig{Min: cfg.Min, Max: cfg.Max})
	g.gate = breaker.NewGate(g.limit, breaker.GateConfig{Queue: int(cfg.Queue), MaxWait: cfg.MaxWait})
	g.line = line{queue: g.gate, now: now, poll: 5 * time.Millisecond, unwanted: func(*Waiter) { resume(g.gate.Cancel(now())) }}
	return g
}

// InFlight is what the application has and what waits for it.
func (g *Gateway) InFlight() int64 { return g.limit.InFlight() + g.gate.Waiting() }

// Stats reads the Gateway; it is not for the hot path.
func (g *Gateway) Stats() breaker.GateStats { return g.gate.Stats() }

// knock asks for admission. A Waiter is made only where the call may have to wait.
func (c *Call) knock(now int64) Step {
	g := c.Route.Gate
	if g == nil {
		return Go
	}
	if g.gate.TryEnter() {
		c.enter(now)
		return Go
	}
	w := newWaiter(c.owner, c.priority, c.cohort(), c.until, now)
	w.line = &g.line
	v, list := g.gate.Enter(now, &w.Waiter)
	resume(list)
	switch v {
	case breaker.Admitted:
		c.enter(now)
		return Go
	case breaker.Queued:
		c.wait = w
		g.line.queued()
		return Wait
	}
	return c.shed(now, w, v)
}

// enter is due when the Gateway has let the call in.
func (c *Call) enter(now int64) {
	c.entered, c.inside = now, true
	c.queued = now - c.Start
}

// shed refuses a call that the Gateway does not let in.
func (c *Call) shed(now int64, w *Waiter, v breaker.Verdict) Step {
	return c.refuse(Refusal{
		Err: stats.ErrShed, Detail: "shed: " + v.String(), RetryAfter: c.Route.Gate.gate.RetryAfter(now, &w.Waiter),
	})
}

// leave ends the call's stay with the application, which took it latency to
// answer; answered is false where it did not.
func (c *Call) leave(now int64, answered bool) {
	if !c.inside {
		return
	}
	c.inside = false
	g := c.Route.Gate
	if answered {
		resume(g.gate.Leave(now, max(now-c.entered, 1)))
	} else {
		resume(g.gate.Cancel(now))
	}
}

// Streaming says that the answer's head is there and that nobody knows how long
// the rest will be: an upgraded connection, a stream. The call then counts no
// longer among those that the application works on.
func (c *Call) Streaming(now int64) { c.leave(now, true) }

// cohort spreads calls of one priority over those shed first and last; the
// same at each tier.
func (c *Call) cohort() uint8 { return c.Context.TraceID[15] }
