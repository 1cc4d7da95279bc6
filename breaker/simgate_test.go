package breaker

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// A gated is a server behind a Gate, and what became of its calls.
type gated struct {
	*server
	serve   func(done func()) // the server's call, or another's
	gate    *Gate
	from    int64 // what happens before does not count
	offered [priorities]int
	good    [priorities]int
	shed    [ShedDeadline + 1]int
	took    []float64 // of admitted calls, waiting included, in seconds
	armed   int64
}

func newGated(s *sim, workers int, draw func(*rand.Rand) float64, limit AdaptiveConfig) *gated {
	v := &server{sim: s, workers: workers, service: func() float64 { return draw(s.rng) }}
	return &gated{server: v, serve: v.call, gate: NewGate(NewAdaptive(limit), GateConfig{})}
}

type gatedCall struct {
	Waiter
	came int64
	done func(ok bool) // may be nil
}

// offer makes a call without a deadline.
func (g *gated) offer(p Priority, done func(bool)) { g.offerUntil(p, 0, done) }

func (g *gated) offerUntil(p Priority, deadline int64, done func(bool)) {
	c := &gatedCall{came: g.now, done: done}
	c.Deadline = deadline
	c.Priority, c.Cohort, c.Owner = p, uint8(g.rng.Uint32()), c
	if g.now >= g.from {
		g.offered[p.level()]++
	}
	v, others := g.gate.Enter(g.now, &c.Waiter)
	if v != Queued {
		g.decide(c, v)
	}
	g.decideAll(others)
	g.arm()
}

func (g *gated) decideAll(w *Waiter) {
	for w != nil {
		next := w.Next()
		g.decide(w.Owner.(*gatedCall), w.Verdict)
		w = next
	}
}

func (g *gated) decide(c *gatedCall, v Verdict) {
	if v.Shed() {
		if g.now >= g.from {
			g.shed[v]++
		}
		if c.done != nil {
			c.done(false)
		}
		return
	}
	admitted := g.now
	g.serve(func() {
		if admitted >= g.from {
			g.good[c.Priority.level()]++
			g.took = append(g.took, float64(g.now-c.came)/1e9)
		}
		if c.done != nil {
			c.done(true)
		}
		g.decideAll(g.gate.Leave(g.now, g.now-admitted))
	})
}

// arm keeps the Gate's one timer.
func (g *gated) arm() {
	if g.armed != 0 || g.gate.waiting.Load() == 0 {
		return
	}
	list, at := g.gate.Expire(g.now)
	g.decideAll(list)
	if at != 0 {
		g.armed = at
		g.after(max(at-g.now, 1), func() { g.armed = 0; g.arm() })
	}
}

func (g *gated) goodput(seconds float64) float64 {
	n := 0
	for _, k := range g.good {
		n += k
	}
	return float64(n) / seconds
}

func (g *gated) sheds() string {
	s := ""
	for v := ShedPriority; v <= ShedDeadline; v++ {
		if g.shed[v] > 0 {
			s += fmt.Sprintf(" %s %d", v, g.shed[v])
		}
	}
	return s
}

// overload offers load times the capacity from the start, and looks from warm
// to end.
func overload(seed uint64, workers int, draw func(*rand.Rand) float64, load float64, limit AdaptiveConfig, warm, end time.Duration) *gated {
	g := newGated(newSim(seed), workers, draw, limit)
	g.from = int64(warm)
	rate := load * float64(workers) / 0.010
	g.poisson(func() float64 { return rate }, func() { g.offer(Critical, nil) })
	g.run(end)
	return g
}
