package balancer

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

// At light load nearly every pair is idle, and what an estimate says of two
// equal servers is chance. Neither is starved of a minute's calls, nor of ten
// seconds'.
func TestLightLoadIsShared(t *testing.T) {
	for _, n := range []int{2, 3, 5} {
		for _, each := range []float64{1, 5, 20} {
			s, p, set := simulate(t, "peak_ewma", n)
			least, most := 1.0, 0.0
			for range 30 {
				for _, share := range s.run(p, set, each*float64(n), time.Duration(50/each*float64(time.Second)), func(int) behaviour { return fast }) {
					least, most = min(least, share*float64(n)), max(most, share*float64(n))
				}
			}
			t.Logf("%d servers, %v calls a second each: of every %d calls, %.2f to %.2f times a fair share", n, each, 50*n, least, most)
			if least < 0.4 || most > 1.75 {
				t.Errorf("%d servers, %v calls a second each: %.2f to %.2f times a fair share", n, each, least, most)
			}
		}
	}
}

// stuck answers nothing between two moments; callers give up after a second.
func stuck(from, to time.Duration, else_ behaviour) behaviour {
	return func(rng *rand.Rand, now int64) (time.Duration, bool) {
		if now >= int64(from) && now < int64(to) {
			return time.Second, true
		}
		return else_(rng, now)
	}
}

// One of 11 servers hangs for 30 s of 60: its first calls get old and raise
// its price, long before the first of them times out.
func TestStuckServer(t *testing.T) {
	s, p, set := simulate(t, "peak_ewma", 11)
	share := s.run(p, set, 1000, 60*time.Second, one(4, stuck(10*time.Second, 40*time.Second, fast), fast))
	t.Logf("%.0f of 60,000 calls failed", 60_000*s.failed)
	if s.failed > 0.0003 {
		t.Errorf("%.5f of the calls were lost to it", s.failed)
	}
	if share[4] < 0.03 {
		t.Errorf("it did not come back: %.3f of the calls", share[4])
	}
}

// One of ten servers is ten times as slow: p99 stays near that of the other
// nine alone.
func TestSlowServerLeavesTheTail(t *testing.T) {
	for _, rate := range []float64{200, 1000, 4000} {
		s, p, set := simulate(t, "peak_ewma", 9)
		s.run(p, set, rate, 20*time.Second, func(int) behaviour { return fast })
		alone := s.p99
		s, p, set = simulate(t, "peak_ewma", 10)
		share := s.run(p, set, rate, 20*time.Second, one(3, exponential(50*time.Millisecond, 0), fast))
		t.Logf("%v calls a second: p99 %v, of nine alone %v; the slow one has %.4f of the calls", rate, s.p99, alone, share[3])
		if float64(s.p99) > 1.3*float64(alone) {
			t.Errorf("%v calls a second: p99 %v, of nine alone %v", rate, s.p99, alone)
		}
	}
}

// So it is while all servers are young, or all but the one that is stuck:
// slow start does not keep calls from going where they are answered.
func TestStuckServerAmongTheYoung(t *testing.T) {
	for name, started := range map[string]func(i int) int64{
		"all young": func(int) int64 { return 9_999_000 },
		"all young but the stuck one": func(i int) int64 {
			if i == 1 {
				return 1
			}
			return 9_999_000
		},
	} {
		s, _, set := simulate(t, "peak_ewma", 3)
		old := set
		set, _ = (*endpoint.Set)(nil).Update(assignment(3, func(i int, e *resource.Endpoint) { e.Started = started(i) }),
			func(r resource.Endpoint) *endpoint.Endpoint {
				return endpoint.New(r, old.ByAddress(r.Addr).Breaker, nil)
			})
		cfg := Config{Balancing: resource.DefaultBalancing(), Time: time.Unix(10_000, 0)}
		cfg.SlowStart.Window = 10 * time.Second
		p := picker(t, "peak_ewma", set, cfg)
		s.run(p, set, 300, time.Second, func(int) behaviour { return fast })
		s.run(p, set, 300, 3*time.Second, one(1, stuck(0, time.Hour, fast), fast))
		t.Logf("%s: %d calls to it", name, s.count[1])
		if s.count[1] > 20 {
			t.Errorf("%s: %d of 900 calls to it", name, s.count[1])
		}
	}
}

// Calls that wait raise the price at once, calls that are answered do not,
// however long they last.
func TestWaitingCallsRepel(t *testing.T) {
	set := cluster(2, breaker.Config{Disabled: true}, nil)
	p := picker(t, "peak_ewma", set)
	a, b := set.Endpoints()[0], set.Endpoints()[1]
	for _, e := range set.Endpoints() {
		e.Load.Start(0)
		e.Load.Answered(0)
		e.Load.Done(0, 5*time.Millisecond, false)
		e.Load.Start(0)
	}
	b.Load.Answered(0)
	at := int64(100 * time.Millisecond)
	toA := 0
	for range 1000 {
		if e, _ := p.Pick(Info{Now: at}); e == a {
			toA++
		}
	}
	if toA > 20 {
		t.Errorf("%d of 1000 calls to the endpoint that does not answer", toA)
	}
}

func TestSheddingRepels(t *testing.T) {
	set := cluster(2, breaker.Config{Disabled: true}, nil)
	p := picker(t, "peak_ewma", set)
	a := set.Endpoints()[0]
	for _, e := range set.Endpoints() {
		e.Load.Start(0)
		e.Load.Answered(0)
		e.Load.Done(0, 5*time.Millisecond, false)
	}
	a.Load.Shed(0, 3*time.Second)
	count := func(at time.Duration) (toA int) {
		for range 1000 {
			if e, _ := p.Pick(Info{Now: int64(at)}); e == a {
				toA++
			}
		}
		return toA
	}
	if n := count(2 * time.Second); n > 5 {
		t.Errorf("%d of 1000 calls while it asks to be left alone", n)
	}
	if n := count(3 * time.Second); n < 400 {
		t.Errorf("%d of 1000 calls after that", n)
	}
}

// A server that fails fast gets less than a hundredth of the calls after the
// first second.
func TestFastFailuresAttractNothing(t *testing.T) {
	for _, rate := range []float64{200, 2000} {
		s, p, set := simulate(t, "peak_ewma", 10)
		bad := one(3, exponential(5*time.Millisecond, 1), fast)
		s.run(p, set, rate, time.Second, bad)
		share := s.run(p, set, rate, 20*time.Second, bad)
		t.Logf("%v calls a second: %.4f", rate, share[3])
		if share[3] > 0.01 {
			t.Errorf("%v/s: %.4f of the calls", rate, share[3])
		}
	}
}

// A server that joins takes its calls over little by little, though it is
// cheaper than those that have work.
func TestSlowStartOfTheIdle(t *testing.T) {
	const n, rate = 10, 600
	part := 0.0
	const seeds = 20
	for seed := range uint64(seeds) {
		s := &simulation{rng: rand.New(rand.NewPCG(seed, 3))}
		begin := int64(30 * time.Second)
		s.now = begin
		ten := exponential(10*time.Millisecond, 0)
		set := cluster(n, breaker.Config{Disabled: true}, nil)
		s.run(picker(t, "peak_ewma", set), set, rate, 5*time.Second, func(int) behaviour { return ten })
		joined := time.Unix(10_000, 0).Add(time.Duration(s.now))
		set, _ = set.Update(assignment(n+1, func(i int, e *resource.Endpoint) {
			if i == n {
				e.Started = joined.UnixMilli()
			}
		}), func(r resource.Endpoint) *endpoint.Endpoint {
			return endpoint.New(r, breaker.New("", breaker.Config{Disabled: true}, nil), nil)
		})
		cfg := Config{Balancing: resource.DefaultBalancing(), Time: joined, Now: s.now}
		cfg.SlowStart.Window = 10 * time.Second
		share := s.run(picker(t, "peak_ewma", set, cfg), set, rate, 2*time.Second, func(int) behaviour { return ten })
		part += share[n] * (n + 1) / seeds
	}
	t.Logf("%.2f of its part in its first two seconds", part)
	if part > 0.6 || part == 0 {
		t.Errorf("%.2f of its part in its first two seconds", part)
	}
}
