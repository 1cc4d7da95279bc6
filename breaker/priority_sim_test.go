package breaker

import (
	"testing"
	"time"
)

// Load of four priorities at three times the capacity: the highest does not
// notice, and what is shed is shed from below.
func TestPrioritiesAtThreefoldLoad(t *testing.T) {
	skipUnderRace(t)
	shares := [priorities]float64{0.4, 0.3, 0.2, 0.1} // from the lowest up
	t.Logf("%-11s %3s | %10s %14s %10s %13s | %8s", "service", "N", Sheddable, SheddablePlus, Critical, CriticalPlus, "goodput")
	for _, svc := range services {
		for _, workers := range []int{8, 32} {
			var offered, served [priorities]float64
			peak, all := float64(workers)/0.010, 0.0
			for seed := range uint64(3) {
				g := newGated(newSim(seed), workers, svc.draw, AdaptiveConfig{})
				load := 0.5
				g.from = int64(5 * time.Second) // from the first moment of the surge on
				for i, share := range shares {
					p := Sheddable + Priority(i)
					g.poisson(func() float64 { return share * load * peak }, func() { g.offer(p, nil) })
				}
				g.run(5 * time.Second)
				load = 3
				g.run(45 * time.Second)
				for i := range shares {
					offered[i] += float64(g.offered[i])
					served[i] += float64(g.good[i])
					all += float64(g.good[i])
				}
			}
			var rate [priorities]float64
			for i := range rate {
				rate[i] = served[i] / offered[i]
			}
			good := all / (3 * 40) / peak
			t.Logf("%-11s %3d | %10.5f %14.5f %10.5f %13.5f | %8.3f", svc.name, workers, rate[0], rate[1], rate[2], rate[3], good)
			bar := 0.999
			if svc.name == "bimodal" && workers == 8 {
				bar = 0.995 // all eight are at times busy with slow calls; no limit helps
			}
			if rate[3] < bar {
				t.Errorf("%s, N %d: %.5f of the critical-plus calls succeed", svc.name, workers, rate[3])
			}
			for i := 1; i < priorities; i++ {
				if rate[i] < rate[i-1]-0.01 {
					t.Errorf("%s, N %d: %v fares better than %v", svc.name, workers, Sheddable+Priority(i-1), Sheddable+Priority(i))
				}
			}
			if svc.name != "bimodal" && good < 0.93 {
				t.Errorf("%s, N %d: goodput %.3f of the peak", svc.name, workers, good)
			}
		}
	}
}

// When one priority alone is too much, the same callers are let in again and
// again, not a bit of each: a call of many parts then has all of them.
func TestCohortsAreStable(t *testing.T) {
	g := newGated(newSim(12), 16, services[1].draw, AdaptiveConfig{})
	g.poisson(func() float64 { return 2 * 1600 }, func() { g.offer(Critical, nil) })
	g.run(10 * time.Second)
	var least, most int = ranks, 0
	for i := range 100 {
		g.run(10*time.Second + time.Duration(i)*200*time.Millisecond)
		least, most = min(least, g.gate.cutoff.below), max(most, g.gate.cutoff.below)
	}
	if most-least > cohorts/3 {
		t.Errorf("the cutoff wanders from rank %d to %d", least, most)
	}
}
