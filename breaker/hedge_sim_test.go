package breaker

import (
	"testing"
	"time"
)

// One call in a hundred takes a hundred times as long: hedging cuts the
// 99.9th percentile at least tenfold, for at most 2 % more calls.
func TestHedge(t *testing.T) {
	p999 := map[bool]float64{}
	for _, hedged := range []bool{false, true} {
		s := newSim(21)
		clock := func() int64 { return s.now }
		budget := NewBudget(0.2, 3, clock)
		h := NewHedge(HedgeShare, clock)
		calls, extra := 0, 0
		var took []float64
		draw := func() int64 {
			d := 0.008 + s.rng.ExpFloat64()*0.002
			if s.rng.IntN(100) == 0 {
				d = 1
			}
			return int64(d * 1e9)
		}
		s.poisson(func() float64 { return 500 }, func() {
			calls++
			budget.Deposit()
			began, over := s.now, false
			answer := func() {
				if over {
					return
				}
				over = true
				h.Done(s.now, s.now-began)
				if began > int64(5*time.Second) {
					took = append(took, float64(s.now-began)/1e9)
				}
			}
			h.Credit(s.now)
			delay := h.Delay()
			s.after(draw(), answer)
			if !hedged || delay == 0 {
				return
			}
			s.after(delay, func() {
				if !over && h.Allow(budget) {
					extra++
					s.after(draw(), answer)
				}
			})
		})
		s.run(2 * time.Minute)
		p999[hedged] = quantile(took, 0.999)
		share := float64(extra) / float64(calls)
		t.Logf("hedged %-5v: p50 %.1f ms, p99 %.1f ms, p99.9 %.1f ms, %.2f %% more calls",
			hedged, quantile(took, 0.5)*1e3, quantile(took, 0.99)*1e3, quantile(took, 0.999)*1e3, 100*share)
		if share > 0.02 {
			t.Errorf("%.2f %% more calls", 100*share)
		}
	}
	if p999[false] < 10*p999[true] {
		t.Errorf("p99.9 %.1f ms became %.1f ms", p999[false]*1e3, p999[true]*1e3)
	}
}

// When everything becomes slow there is nothing to gain, and the share holds.
func TestHedgeWhenAllIsSlow(t *testing.T) {
	now := int64(1)
	clock := func() int64 { return now }
	budget := NewBudget(0.2, 3, clock)
	h := NewHedge(HedgeShare, clock)
	hedges := 0
	for i := range 20000 {
		now += 2 * ms
		latency := 10 * ms
		if i > 10000 {
			latency = 500 * ms
		}
		budget.Deposit()
		h.Credit(now)
		if d := h.Delay(); d != 0 && d < latency && h.Allow(budget) {
			hedges++
		}
		h.Done(now, latency)
	}
	if hedges > 400 {
		t.Errorf("%d hedges of 20000 calls", hedges)
	}
}

func TestRetryAfter(t *testing.T) {
	g := fixedGate(1, GateConfig{})
	second := int64(time.Second)
	for _, c := range []struct {
		lasted      int64
		least, most time.Duration
	}{
		{0, time.Second, 2 * time.Second},
		{10 * second, 5 * time.Second, 10 * time.Second},
		{3600 * second, 15 * time.Second, 30 * time.Second},
	} {
		now := 10000 * second
		g.since.Store(now - c.lasted)
		first, last := g.RetryAfter(now, &Waiter{Cohort: 0}), g.RetryAfter(now, &Waiter{Cohort: 255})
		if first != c.least || last < c.most*98/100 || last > c.most {
			t.Errorf("after %d s: from %v to %v", c.lasted/second, first, last)
		}
	}
	if n := RetryAfterSeconds(1200 * time.Millisecond); n != 2 {
		t.Errorf("1.2 s is %d s", n)
	}
}
