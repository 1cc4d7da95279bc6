package breaker

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Goodput and latency behind the Gate with the limit that finds itself, beside
// a fixed one of as many as the server works on, over servers and loads. The
// bar: at twice the capacity 95 % of the peak, and admitted calls at the 99th
// percentile, waiting included, take at most twice what they take without load.
// A server of four, or calls of two very different kinds, cannot be filled by
// any limit that keeps latency low; there the fixed limit is the bar.
func TestOverload(t *testing.T) {
	skipUnderRace(t)
	t.Parallel()
	const warm, end, window = 10 * time.Second, 30 * time.Second, 20
	t.Logf("%-11s %3s %5s | %8s %6s %6s | %8s %6s |", "service", "N", "load", "goodput", "p99 x", "limit", "fixed:", "p99 x")
	for _, svc := range services {
		for _, workers := range []int{4, 16, 64} {
			unloaded := unloadedP99(svc.draw)
			peak := float64(workers) / 0.010
			for _, load := range []float64{0.5, 1, 2, 3} {
				a := overload(7, workers, svc.draw, load, AdaptiveConfig{}, warm, end)
				f := overload(7, workers, svc.draw, load, AdaptiveConfig{Min: uint32(workers), Max: uint32(workers)}, warm, end)
				ga, gf := a.goodput(window)/peak, f.goodput(window)/peak
				pa, pf := quantile(a.took, 0.99)/unloaded, quantile(f.took, 0.99)/unloaded
				t.Logf("%-11s %3d %5.1f | %8.3f %6.2f %6d | %8.3f %6.2f |%s", svc.name, workers, load, ga, pa,
					a.gate.limit.Limit(), gf, pf, a.sheds())
				if load < 2 {
					continue
				}
				bar, slow := 0.95, 2.0
				if workers == 4 || svc.name == "bimodal" {
					bar, slow = 0.8*gf, 2.5
				}
				if ga < bar || load == 2 && pa > slow {
					t.Errorf("%s, N %d, load %v: goodput %.3f of the peak, p99 %.2f times", svc.name, workers, load, ga, pa)
				}
			}
		}
	}
}

// An application that does not queue but works on all calls at once, on four
// cores that they share: latency then grows in proportion, and nobody waits
// for a worker. It begins in overload, without ever having seen anything else.
func TestOverloadOfSharedCores(t *testing.T) {
	const cores, warm, end = 4, 30 * time.Second, 60 * time.Second
	for _, svc := range services {
		g := newGated(newSim(8), cores, svc.draw, AdaptiveConfig{})
		p := &sharedCores{sim: g.sim, cores: cores, service: g.service}
		g.serve, g.from = p.call, int64(warm)
		g.poisson(func() float64 { return 2 * cores / 0.010 }, func() { g.offer(Critical, nil) })
		g.run(end)
		good, mean := g.goodput(30)/(cores/0.010), 0.0
		for _, took := range g.took {
			mean += took / float64(len(g.took))
		}
		t.Logf("%-11s goodput %.3f, mean latency %.1f ms of 10, limit %d", svc.name, good, mean*1e3, g.gate.limit.Limit())
		if good < 0.93 || mean > 0.025 {
			t.Errorf("%s: goodput %.3f of the peak, mean latency %.1f ms, limit %d", svc.name, good, mean*1e3, g.gate.limit.Limit())
		}
	}
}

// A baseline that is a long average takes an overload that lasts for what is
// normal, and the limit follows.
func TestBaselineDoesNotDrift(t *testing.T) {
	skipUnderRace(t)
	t.Parallel()
	g := overload(3, 16, services[1].draw, 2, AdaptiveConfig{}, 9*time.Minute, 10*time.Minute)
	if l, b := g.gate.limit.Limit(), g.gate.limit.Baseline(); l < 10 || l > 40 || b < 8e6 || b > 14e6 {
		t.Errorf("after ten minutes: limit %d, baseline %v", l, time.Duration(b))
	}
	if good := g.goodput(60) / 1600; good < 0.95 {
		t.Errorf("in the last minute goodput is %.3f of the peak", good)
	}
}

// A limit that is far too high hides the latency without waiting; probes find it.
func TestLimitComesDown(t *testing.T) {
	for _, svc := range services {
		g := overload(3, 16, svc.draw, 2, AdaptiveConfig{Initial: 2000}, 0, 30*time.Second)
		if l := g.gate.limit.law.limit; l > 64 {
			t.Errorf("%s: limit %.0f after 30 s, of 2000 for 16 workers", svc.name, l)
		}
	}
}

func TestLowLoadChangesNothing(t *testing.T) {
	s := newSim(4)
	g := newGated(s, 16, services[2].draw, AdaptiveConfig{})
	g.poisson(func() float64 { return 2 }, func() { g.offer(Critical, nil) })
	g.run(10 * time.Minute)
	if l := g.gate.limit.law.limit; l != 100 {
		t.Errorf("limit %v at two calls a second, of 100", l)
	}
	if b := g.gate.limit.Baseline(); b < 7e6 || b > 13e6 {
		t.Errorf("baseline %v of 10 ms", time.Duration(b))
	}
}

// A limit that nobody fills says nothing; it is not to be high when it is
// needed.
func TestUnusedLimitDoesNotGrow(t *testing.T) {
	g := newGated(newSim(4), 1000, services[1].draw, AdaptiveConfig{Initial: 100})
	g.poisson(func() float64 { return 3000 }, func() { g.offer(Critical, nil) }) // 30 at once
	g.run(time.Minute)
	if l := g.gate.limit.law.limit; l > 125 {
		t.Errorf("limit %.0f, of 100, for 30 calls at once", l)
	}
}

func TestGrowsFromIdle(t *testing.T) {
	g := newGated(newSim(4), 512, services[1].draw, AdaptiveConfig{})
	rate := 0.0
	g.poisson(func() float64 { return rate }, func() { g.offer(Critical, nil) })
	g.run(time.Minute)
	if l := g.gate.limit.law.limit; l != cold {
		t.Errorf("limit %v while nothing is known, of %d", l, cold)
	}
	rate = 46000 // 90 % of the capacity, 460 at once
	g.run(65 * time.Second)
	g.from = g.now
	g.run(70 * time.Second)
	if good := g.goodput(5); good < 0.99*rate {
		t.Errorf("five seconds after waking %.0f of %.0f calls are served (limit %d)", good, rate, g.gate.limit.Limit())
	}
}

func TestFloorAndCeiling(t *testing.T) {
	g := overload(5, 64, services[0].draw, 2, AdaptiveConfig{Max: 30}, 10*time.Second, 20*time.Second)
	if l := g.gate.limit.law.limit; l != 30 {
		t.Errorf("limit %v, ceiling 30, 64 workers", l)
	}
	g = overload(5, 2, services[0].draw, 2, AdaptiveConfig{Min: 10}, 10*time.Second, 20*time.Second)
	if l := g.gate.limit.Limit(); l != 10 {
		t.Errorf("limit %v, floor 10, 2 workers", l)
	}
}

// An application that stops for two seconds and goes on.
func TestRecoversAfterStall(t *testing.T) {
	for _, svc := range services {
		g := newGated(newSim(6), 32, svc.draw, AdaptiveConfig{})
		g.poisson(func() float64 { return 2400 }, func() { g.offer(Critical, nil) })
		g.run(20 * time.Second)
		g.pause(2 * time.Second)
		g.run(23500 * time.Millisecond)
		g.from = g.now
		g.run(33500 * time.Millisecond)
		if good := g.goodput(10); good < 0.97*2400 {
			t.Errorf("%s: 1.5 s after the stall, %.0f of 2400 calls/s are served, limit %d", svc.name, good, g.gate.limit.Limit())
		}
	}
}

// What the application waits for became slower; it is not busier. Latency is
// up, and the limit has to go up with it.
func TestSlowerIsNotBusier(t *testing.T) {
	g := newGated(newSim(6), 10000, services[1].draw, AdaptiveConfig{})
	g.poisson(func() float64 { return 4000 }, func() { g.offer(Critical, nil) }) // 40 at once
	g.run(20 * time.Second)
	g.speed = 0.1 // 400 at once
	g.run(30 * time.Second)
	g.from = g.now
	g.run(40 * time.Second)
	if good := g.goodput(10); good < 0.97*4000 {
		t.Errorf("ten seconds later %.0f of 4000 calls/s are served (limit %d, baseline %v)", good, g.gate.limit.Limit(), time.Duration(g.gate.limit.Baseline()))
	}
}

// The number of workers changes under twofold load.
func TestFollowsCapacity(t *testing.T) {
	for _, workers := range []int{8, 64} {
		g := newGated(newSim(6), 24, services[2].draw, AdaptiveConfig{})
		g.poisson(func() float64 { return 2 * float64(g.workers) * 100 }, func() { g.offer(Critical, nil) })
		g.run(20 * time.Second)
		g.workers = workers
		g.run(30 * time.Second)
		g.from = g.now
		g.run(50 * time.Second)
		if good, peak := g.goodput(20), float64(workers)*100; good < 0.93*peak {
			t.Errorf("24 to %d workers: goodput %.0f of %.0f (limit %d)", workers, good, peak, g.gate.limit.Limit())
		}
	}
}

// A probe during which calls stop ending, or become streams, does not leave the
// limit halved.
func TestProbeIsAbandoned(t *testing.T) {
	for name, poke := range map[string]func(*Adaptive, int64){
		"by a later end": func(a *Adaptive, now int64) { a.Acquire(); a.Release(now, 20*ms) },
		"by the Gate":    func(a *Adaptive, now int64) { a.look(now) },
	} {
		a := NewAdaptive(AdaptiveConfig{Initial: 10})
		now := int64(1)
		latency := 10 * ms
		for i := 0; a.law.probing != measuring; i++ {
			if i > 1e5 {
				t.Fatal("no probe")
			}
			now += ms
			if now > int64(time.Second) {
				latency = 30 * ms
			}
			for a.Acquire() {
			}
			a.Release(now, latency)
		}
		probed, limit := a.Limit(), int64(a.law.limit)
		for a.InFlight() > 0 {
			a.Cancel()
		}
		poke(a, now+int64(10*time.Second))
		if a.Limit() != limit || probed >= limit {
			t.Errorf("%s: limit %d in the probe, %d after it, %d before", name, probed, a.Limit(), limit)
		}
	}
}

func TestAdaptiveContended(t *testing.T) {
	a := NewAdaptive(AdaptiveConfig{Initial: 4, Max: 6})
	var clock, running atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 20000 {
				if !a.Acquire() {
					continue
				}
				if n := running.Add(1); n > 6 {
					t.Errorf("%d at once, at most 6", n)
				}
				running.Add(-1)
				if now := clock.Add(100_000); now%3 == 0 {
					a.Cancel()
				} else {
					a.Release(now, 1e6+now%1e6)
				}
			}
		})
	}
	group.Wait()
	if l := a.Limit(); a.InFlight() != 0 || l < 1 || l > 6 || a.Baseline() < 1e6 {
		t.Errorf("in flight %d, limit %d, baseline %d", a.InFlight(), l, a.Baseline())
	}
}
