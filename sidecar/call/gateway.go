package call

import (
	"sync/atomic"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/balancer"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/xds/resource"
)

// A Gateway stands before the application: it finds out how many calls that
// works on at once, has the others wait here, where one sees it, and sheds what
// would wait too long, the least important first (docs/design/006-overload.md).
type Gateway struct {
	now func() int64
	// door is nil where admission is disabled. Calls leave by the door through
	// which they came in, whatever the configuration is by then.
	door atomic.Pointer[door]
	cfg  resource.Admission // of door

	gauge  balancer.Gauge
	probed atomic.Int64 // when somebody last asked; 0: nobody does, and the gauge stands still
}

// probeLife is how long after a question the gauge goes on.
const probeLife = 30 * time.Second

// Load is what the application has to do, all callers together, and how long
// it takes for a further call: the answer to a balancer that asks (sidecar/load).
// The gauge is kept only while somebody asks.
func (g *Gateway) Load() (inflight int64, latency time.Duration) {
	now := g.now()
	g.probed.Store(now)
	inflight, latency = g.gauge.Read(now)
	if n, ok := g.InFlight(); ok {
		inflight = n // those that wait, and those from before the first question
	}
	return inflight, latency
}

// measured reports whether the gauge is kept.
func (g *Gateway) measured(now int64) bool {
	at := g.probed.Load()
	return at != 0 && now-at < int64(probeLife)
}

// A door is a Gateway under one configuration.
type door struct {
	limit *breaker.Adaptive
	gate  *breaker.Gate
	line  line
}

// NewGateway makes the Gateway of an application, with all defaults. now is
// the engine's clock.
func NewGateway(now func() int64) *Gateway {
	g := &Gateway{now: now}
	g.door.Store(newDoor(g.cfg, now))
	return g
}

func newDoor(cfg resource.Admission, now func() int64) *door {
	d := &door{limit: breaker.NewAdaptive(breaker.AdaptiveConfig{Min: cfg.Min, Max: cfg.Max})}
	d.gate = breaker.NewGate(d.limit, breaker.GateConfig{Queue: int(cfg.Queue), MaxWait: cfg.MaxWait})
	d.line = line{queue: d.gate, now: now, poll: 5 * time.Millisecond, unwanted: func(*Waiter) { resume(d.gate.Cancel(now())) }}
	return d
}

// Configure puts another configuration in force, for calls to come. Only one
// goroutine calls it.
func (g *Gateway) Configure(cfg resource.Admission) {
	if cfg == g.cfg {
		return
	}
	if g.cfg = cfg; cfg.Disabled {
		g.door.Store(nil)
		return
	}
	g.door.Store(newDoor(cfg, g.now))
}

// InFlight is what the application has and what waits for it; ok is false
// where admission is disabled, and nobody counts.
func (g *Gateway) InFlight() (n int64, ok bool) {
	d := g.door.Load()
	if d == nil {
		return 0, false
	}
	return d.limit.InFlight() + d.gate.Waiting(), true
}

// Stats reads the Gateway; it is not for the hot path. ok is as InFlight has it.
func (g *Gateway) Stats() (s breaker.GateStats, ok bool) {
	if d := g.door.Load(); d != nil {
		return d.gate.Stats(), true
	}
	return s, false
}

// knock asks for admission. A Waiter is made only where the call may have to wait.
func (c *Call) knock(now int64) Step {
	if c.Route.Gate == nil {
		return Go
	}
	g := c.Route.Gate.door.Load()
	if g == nil {
		return Go
	}
	c.door = g
	if g.gate.TryEnter() {
		c.enter(now)
		return Go
	}
	w := newWaiter(c.owner, c.priority, c.cohort(), c.until, now)
	if w.line = &g.line; c.owner == nil {
		return c.shed(now, w, breaker.ShedFull)
	}
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
	c.queued = max(now-c.Start, 0) // clocks of several goroutines may differ a little
	if g := c.Route.Gate; g.measured(now) {
		c.gauged, c.met = true, g.gauge.Begin()
	}
}

// shed refuses a call that the Gateway does not let in.
func (c *Call) shed(now int64, w *Waiter, v breaker.Verdict) Step {
	return c.refuse(Refusal{
		Err: stats.ErrShed, Detail: "shed: " + v.String(), RetryAfter: c.door.gate.RetryAfter(now, &w.Waiter),
	})
}

// leave ends the call's stay with the application, which took it latency to
// answer; answered is false where it did not.
func (c *Call) leave(now int64, answered bool) {
	if !c.inside {
		return
	}
	c.inside = false
	if c.gauged {
		c.gauged = false
		if answered {
			c.Route.Gate.gauge.End(c.met, time.Duration(now-c.entered), now)
		} else {
			c.Route.Gate.gauge.Cancel()
		}
	}
	if answered {
		resume(c.door.gate.Leave(now, max(now-c.entered, 1)))
	} else {
		resume(c.door.gate.Cancel(now))
	}
}

// Streaming says that the answer's head is there and not the rest: an upgraded
// connection, a stream, or more than the client takes at once. The call then
// counts no longer among those that the application works on: how long it goes
// on is the client's doing.
func (c *Call) Streaming(now int64) { c.leave(now, true) }

// cohort spreads calls of one priority over those shed first and last; the
// same at each tier.
func (c *Call) cohort() uint8 { return c.Context.TraceID[15] }
