package breaker

import (
	"flag"
	"math/rand/v2"
	"testing"
	"time"
)

var further = flag.Int("further", 0, "seeds that TestFurtherSeeds tries")

// The constants were chosen with the seeds of the other tests in sight. This
// one is for judging them: seeds that played no part, as many as asked for.
//
//	go test -v -run FurtherSeeds ./breaker -further 20
func TestFurtherSeeds(t *testing.T) {
	if *further == 0 {
		t.Skip("only with -further")
	}
	t.Logf("%-11s %3s | goodput at 2x: least, median; fixed N: least, median | p99 x at 2x: median, most | critical-plus at 3x: all, worst seed; fixed N: all, worst seed", "service", "N")
	for _, svc := range services {
		for _, workers := range []int{4, 8, 16, 32, 64} {
			unloaded := unloadedP99(svc.draw)
			fixed := AdaptiveConfig{Min: uint32(workers), Max: uint32(workers)}
			var good, goodFixed, p99, top, topFixed []float64
			for i := range *further {
				seed := uint64(5000 + i)
				a := overload(seed, workers, svc.draw, 2, AdaptiveConfig{}, 10*time.Second, 30*time.Second)
				f := overload(seed, workers, svc.draw, 2, fixed, 10*time.Second, 30*time.Second)
				peak := float64(workers) / 0.010
				good, goodFixed = append(good, a.goodput(20)/peak), append(goodFixed, f.goodput(20)/peak)
				p99 = append(p99, quantile(a.took, 0.99)/unloaded)
				rate, _ := threefold(seed, 1, workers, svc.draw, AdaptiveConfig{})
				rateFixed, _ := threefold(seed, 1, workers, svc.draw, fixed)
				top, topFixed = append(top, rate[3]), append(topFixed, rateFixed[3])
			}
			t.Logf("%-11s %3d | %.3f %.3f; %.3f %.3f | %.2f %.2f | %.4f %.4f; %.4f %.4f", svc.name, workers,
				quantile(good, 0), quantile(good, 0.5), quantile(goodFixed, 0), quantile(goodFixed, 0.5),
				quantile(p99, 0.5), quantile(p99, 1), mean(top), quantile(top, 0), mean(topFixed), quantile(topFixed, 0))
		}
	}
	var worst, late [3]int
	for i := range uint64(100 * *further) {
		tr := drawTrigger(50000 + i)
		_, back := outage(50000+i, tr, true, 30)
		worst[tr.kind] = max(worst[tr.kind], back)
		if back == 0 || back > 10 {
			late[tr.kind]++
		}
	}
	for k, name := range triggerKinds {
		t.Logf("%d triggers, %-5s: back after at most %d s; %d later than 10 s or not within 30", 100**further, name, worst[k], late[k])
	}
}

func mean(v []float64) (m float64) {
	for _, x := range v {
		m += x / float64(len(v))
	}
	return m
}

// unloadedP99 is that of the service time, in seconds.
func unloadedP99(draw func(*rand.Rand) float64) float64 {
	v := make([]float64, 100000)
	rng := rand.New(rand.NewPCG(1, 5))
	for i := range v {
		v[i] = draw(rng)
	}
	return quantile(v, 0.99)
}
