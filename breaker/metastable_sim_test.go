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

// outage runs ten workers of 50 ms through a trigger. It returns the share of
// calls that succeed in the trigger, and how many seconds after its end service
// is back: 98 % of the calls of two seconds succeed. 0 is not within look.
// A server without a Gate works off a queue without bound, whoever still waits.
func outage(seed uint64, tr trigger, protected bool, look int) (during float64, back int) {
	const workers, mean, warm = 10, 0.050, 3
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
	last := int(tr.last / time.Second)
	seconds := warm + last + look
	calls, good := make([]float64, seconds+1), make([]float64, seconds+1)
	rate := tr.load * workers / mean
	s.poisson(func() float64 { return rate }, func() {
		at := s.now / int64(time.Second)
		calls[at]++
		c.call(0, 0, func(o outcome) {
			if o.ok {
				good[at]++
			}
		})
	})
	s.run(warm * time.Second)
	switch tr.kind {
	case 0:
		g.pause(tr.last)
	case 1:
		g.speed = 1 / tr.factor
	case 2:
		rate *= tr.factor
	}
	s.run(time.Duration(warm+last) * time.Second)
	if tr.kind == 2 {
		rate /= tr.factor
	}
	g.speed = 1
	s.run(time.Duration(seconds)*time.Second + time.Second - 1) // and answers to the last ones
	var n, ok float64
	for i := warm; i < warm+last; i++ {
		n, ok = n+calls[i], ok+good[i]
	}
	for i := warm + last + 1; i < seconds; i++ {
		if good[i-1]+good[i] >= 0.98*(calls[i-1]+calls[i]) {
			return ok / n, i + 1 - warm - last
		}
	}
	return ok / n, 0
}

// Retries without a budget and queues without a bound keep a service down after
// what brought it down is over. With budget and Gate it is back within ten
// seconds, for each of a thousand seeds; so that this means something, with
// both off it is not within thirty.
func TestMetastability(t *testing.T) {
	skipUnderRace(t)
	t.Parallel()
	const seeds, without = 1000, 30
	type result struct {
		during float64
		back   int
	}
	results := make([]result, seeds)
	var group sync.WaitGroup
	for worker := range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for i := worker; i < seeds; i += runtime.GOMAXPROCS(0) {
				seed := uint64(i)
				results[i].during, results[i].back = outage(seed, drawTrigger(seed), true, 10)
			}
		})
	}
	group.Wait()
	var n, sum, worst [3]int
	var during [3]float64
	for i, r := range results {
		tr := drawTrigger(uint64(i))
		k := tr.kind
		n[k]++
		during[k] += r.during
		sum[k] += r.back
		worst[k] = max(worst[k], r.back)
		if r.back == 0 {
			t.Errorf("seed %d (%+v): not back after 10 s", i, tr)
		}
	}
	t.Logf("%-12s %-8s %5s | %15s | %s", "protections", "trigger", "seeds", "success in it", "back after it: mean, worst")
	for k, name := range triggerKinds {
		t.Logf("%-12s %-8s %5d | %15.3f | %.1f s, %d s", "on", name, n[k], during[k]/float64(n[k]), float64(sum[k])/float64(n[k]), worst[k])
	}
	n, during = [3]int{}, [3]float64{}
	for i := range uint64(without) {
		tr := drawTrigger(i)
		d, back := outage(i, tr, false, 30)
		n[tr.kind]++
		during[tr.kind] += d
		if back != 0 {
			t.Errorf("seed %d (%+v): without protection it is back after %d s: the test proves nothing", i, tr, back)
		}
	}
	for k, name := range triggerKinds {
		t.Logf("%-12s %-8s %5d | %15.3f | not within 30 s", "off", name, n[k], during[k]/float64(n[k]))
	}
}

// An outage of the last of three tiers: how much load reaches it.
func TestThreeTierOutage(t *testing.T) {
	skipUnderRace(t)
	t.Parallel()
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
