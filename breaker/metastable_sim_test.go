package breaker

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"
)

// A trigger, drawn from a seed: for some seconds the server stops, is slow, or
// gets several times the load.
type trigger struct {
	load   float64 // of the capacity, before and after
	last   time.Duration
	kind   int
	factor float64
}

var triggerKinds = []string{"stop", "slow", "surge"}

func drawTrigger(seed uint64) trigger {
	rng := rand.New(rand.NewPCG(seed, 77))
	return trigger{
		load:   0.6 + 0.2*rng.Float64(),
		last:   time.Duration(3+rng.IntN(4)) * time.Second,
		kind:   rng.IntN(3),
		factor: 4 + 2*rng.Float64(),
	}
}

// outage runs ten workers of 50 ms through a trigger, and returns the share of
// calls that succeed before it, in it, and in three seconds that begin wait
// after it. A server without a Gate works off a queue without bound, whoever
// still waits.
func outage(seed uint64, tr trigger, protected bool, wait time.Duration) (before, during, after float64) {
	const workers, mean = 10, 0.050
	s := newSim(seed)
	draw := func(r *rand.Rand) float64 { return mean * r.ExpFloat64() }
	g := newGated(s, workers, draw, AdaptiveConfig{})
	c := &caller{sim: s, attempts: 4, timeout: int64(time.Second)}
	if protected {
		c.attempts, c.travels = 3, true
		c.budget = NewBudget(0.2, 3, func() int64 { return s.now })
		c.send = func(deadline int64, _ int, done func(outcome)) {
			g.offerUntil(Critical, deadline, func(ok bool) { done(outcome{ok: ok}) })
		}
	} else {
		c.send = func(_ int64, _ int, done func(outcome)) {
			g.call(func() { done(outcome{ok: true}) })
		}
	}
	var phase int
	var calls, good [4]float64
	rate := tr.load * workers / mean
	s.poisson(func() float64 { return rate }, func() {
		p := phase
		calls[p]++
		c.call(0, 0, func(o outcome) {
			if o.ok {
				good[p]++
			}
		})
	})
	at := 3 * time.Second
	s.run(at)
	phase = 1
	switch tr.kind {
	case 0:
		g.pause(tr.last)
	case 1:
		g.speed = 1 / tr.factor
	case 2:
		rate *= tr.factor
	}
	at += tr.last
	s.run(at)
	if tr.kind == 2 {
		rate /= tr.factor
	}
	g.speed, phase = 1, 2
	at += wait
	s.run(at)
	phase = 3
	at += 3 * time.Second
	s.run(at)
	phase = 0
	s.run(at + time.Second) // answers to the last ones
	return good[0] / calls[0], good[1] / calls[1], good[3] / calls[3]
}

// Retries without a budget and queues without a bound keep a service down after
// what brought it down is over. With budget and Gate it is back within ten
// seconds, for each of a thousand seeds; so that this means something, with
// both off it is not.
func TestMetastability(t *testing.T) {
	const seeds = 1000
	type result struct{ during, after float64 }
	results := make([]result, seeds)
	var group sync.WaitGroup
	for worker := range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for i := worker; i < seeds; i += runtime.GOMAXPROCS(0) {
				_, d, a := outage(uint64(i), drawTrigger(uint64(i)), true, 7*time.Second)
				results[i] = result{d, a}
			}
		})
	}
	group.Wait()
	var n, failed [3]int
	worst := [3]float64{1, 1, 1}
	var during [3]float64
	for i, r := range results {
		k := drawTrigger(uint64(i)).kind
		n[k]++
		during[k] += r.during
		worst[k] = min(worst[k], r.after)
		if r.after < 0.98 {
			failed[k]++
			t.Errorf("seed %d (%+v): 7 to 10 s after the trigger %.3f of the calls succeed", i, drawTrigger(uint64(i)), r.after)
		}
	}
	t.Logf("%-6s %-14s %5s | %9s | %s", "", "trigger", "seeds", "during it", "7-10 s after it, worst seed")
	for k, name := range triggerKinds {
		t.Logf("%-6s %-14s %5d | %9.3f | %.3f", "on", name, n[k], during[k]/float64(n[k]), worst[k])
	}
	best := [3]float64{}
	n, during = [3]int{}, [3]float64{}
	for i := range uint64(30) {
		tr := drawTrigger(i)
		_, d, after := outage(i, tr, false, 30*time.Second)
		n[tr.kind]++
		during[tr.kind] += d
		best[tr.kind] = max(best[tr.kind], after)
		if after > 0.5 {
			t.Errorf("seed %d (%+v): without protection it came back by itself (%.3f): the test proves nothing", i, tr, after)
		}
	}
	for k, name := range triggerKinds {
		t.Logf("%-6s %-14s %5d | %9.3f | %.3f (30 to 33 s after, best seed)", "off", name, n[k], during[k]/float64(n[k]), best[k])
	}
}

// An outage of the last of three tiers: how much load reaches it.
func TestThreeTierOutage(t *testing.T) {
	load := func(budget, travels bool) float64 {
		s := newSim(31)
		last, down := 0, false
		third := func(_ int64, _ int, done func(outcome)) {
			if s.now > int64(10*time.Second) {
				last++
			}
			s.after(5*ms, func() { done(outcome{ok: !down}) })
		}
		tier := func(send func(int64, int, func(outcome))) *caller {
			c := &caller{sim: s, attempts: 3, timeout: int64(time.Second), travels: travels, send: send}
			if budget {
				c.budget = NewBudget(0.2, 3, func() int64 { return s.now })
			}
			return c
		}
		second := tier(third)
		first := tier(second.call)
		front := tier(first.call)
		front.attempts = 3
		offered := 0
		s.poisson(func() float64 { return 300 }, func() {
			if s.now > int64(10*time.Second) {
				offered++
			}
			front.call(0, 0, func(outcome) {})
		})
		s.run(10 * time.Second)
		down = true
		s.run(70 * time.Second)
		return float64(last) / float64(offered)
	}
	t.Logf("load at the last tier in 60 s of its total outage, of what is offered:")
	nothing, budgets, both := load(false, false), load(true, false), load(true, true)
	t.Logf("three attempts at each tier %.2f; with budgets %.2f; with budgets, attempts and deadlines that travel %.2f", nothing, budgets, both)
	if nothing < 20 {
		t.Errorf("load %.2f without protection: the test proves nothing", nothing)
	}
	if both > 1.1 {
		t.Errorf("load %.2f times what is offered", both)
	}
}
