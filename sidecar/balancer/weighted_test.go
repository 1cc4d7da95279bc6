package balancer

import (
	"math"
	"testing"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

func sharesAt(p Picker, now time.Duration, n int) map[string]float64 {
	share := map[string]float64{}
	for range n {
		e, _ := p.Pick(Info{Now: int64(now)})
		share[e.ID] += 1 / float64(n)
	}
	return share
}

func wantShares(t *testing.T, what string, got map[string]float64, want ...float64) {
	t.Helper()
	for i, w := range want {
		if g := got[string(rune('0'+i))]; math.Abs(g-w) > 0.01 {
			t.Errorf("%s: %d has %.3f of the calls, want %.3f", what, i, g, w)
		}
	}
}

func TestStaticWeights(t *testing.T) {
	for _, policy := range []string{"random", "round_robin", "weighted_round_robin"} {
		set := cluster(4, breaker.Config{}, func(i int, e *resource.Endpoint) { e.Weight = uint32(1 + i) })
		wantShares(t, policy, sharesAt(picker(t, policy, set), 0, 100_000), 0.1, 0.2, 0.3, 0.4)
	}
}

// Weights are calls a second ÷ utilisation, from when reports have come for
// the blackout until they have ceased for the expiration (gRFC A58).
func TestReportedWeights(t *testing.T) {
	set := cluster(3, breaker.Config{}, nil)
	cfg := Config{Balancing: resource.DefaultBalancing()}
	p := picker(t, "weighted_round_robin", set, cfg)
	e := set.Endpoints()
	report := func(at time.Duration) {
		e[0].Reported.Set(int64(at), endpoint.LoadReport{CPU: 0.5, RPS: 100})
		e[1].Reported.Set(int64(at), endpoint.LoadReport{CPU: 0.9, Application: 0.25, RPS: 100})
	}
	report(time.Second)
	wantShares(t, "blackout", sharesAt(p, 2*time.Second, 30_000), 1./3, 1./3, 1./3)
	report(11 * time.Second)
	// 200, 400, and the third has their mean.
	wantShares(t, "reported", sharesAt(p, 12*time.Second, 90_000), 2./9, 4./9, 3./9)
	e[1].Reported.Set(int64(13*time.Second), endpoint.LoadReport{CPU: 0.25, RPS: 100, EPS: 75})
	// An error counts as utilisation: 100 ÷ (0.25 + 0.75).
	wantShares(t, "errors", sharesAt(p, 14*time.Second, 90_000), 200./450, 100./450, 150./450)
	wantShares(t, "expired", sharesAt(p, 200*time.Second, 30_000), 1./3, 1./3, 1./3)
	report(201 * time.Second)
	wantShares(t, "blackout again", sharesAt(p, 203*time.Second, 30_000), 1./3, 1./3, 1./3)
}

// The weight of an instance grows with its own age, whatever else comes and
// goes, and whatever the policy.
func TestSlowStart(t *testing.T) {
	cfg := Config{Balancing: resource.DefaultBalancing(), Now: int64(time.Hour), Time: time.Unix(10_000, 0)}
	cfg.SlowStart.Window = 100 * time.Second
	for _, policy := range []string{"least_request", "peak_ewma", "random", "round_robin", "weighted_round_robin"} {
		for n := 4; n < 7; n++ {
			set := cluster(n, breaker.Config{}, func(i int, e *resource.Endpoint) {
				if e.Started = 1_000_000; i == 0 {
					e.Started = 1000 * (10_000 - 20)
				}
			})
			p := picker(t, policy, set, cfg)
			for after, factor := range map[time.Duration]float64{0: 0.2, 30 * time.Second: 0.5, 80 * time.Second: 1} {
				if n > 4 && after == 0 {
					continue
				}
				share := sharesAt(p, time.Hour+after, 40_000)["0"]
				// Two choices of few make it a little less.
				if want := factor / (factor + float64(n-1)); share < want*0.65 || share > want*1.25 {
					t.Errorf("%s of %d, %v old: %.4f of the calls, want %.4f", policy, n, 20*time.Second+after, share, want)
				}
			}
		}
	}
}

// Instances that started together are equals: round robin is as exact as ever.
func TestAllYoungAreEquals(t *testing.T) {
	cfg := Config{Balancing: resource.DefaultBalancing(), Time: time.Unix(1000, 0)}
	cfg.SlowStart.Window = 10 * time.Second
	set := cluster(4, breaker.Config{}, func(i int, e *resource.Endpoint) { e.Started = 999_500 + 10*int64(i) })
	p := picker(t, "round_robin", set, cfg)
	for id, share := range sharesAt(p, 0, 4000) {
		if share < 0.249 || share > 0.251 {
			t.Errorf("%s has %.4f of the calls", id, share)
		}
	}
}

func TestSlowStartCurve(t *testing.T) {
	for _, c := range []struct {
		aggression, least float64
		at                time.Duration
		want              float64
	}{
		{1, 0.1, 0, 0.1}, {1, 0.1, 5 * time.Second, 0.5}, {1, 0.1, 10 * time.Second, 1},
		{2, 0.1, 2500 * time.Millisecond, 0.5}, {0.5, 0.1, 5 * time.Second, 0.25}, {1, 0.3, time.Second, 0.3},
	} {
		s := slowStart{SlowStart: resource.SlowStart{Window: 10 * time.Second, Aggression: c.aggression, MinWeight: c.least}}
		if got := s.grown(0, int64(c.at)); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("aggression %v after %v: %v, want %v", c.aggression, c.at, got, c.want)
		}
	}
}

// A clock ahead of ours, or one that nobody has said, keeps no instance cold.
func TestStrangeStartTimes(t *testing.T) {
	cfg := Config{Balancing: resource.DefaultBalancing(), Now: 5, Time: time.Unix(1000, 0)}
	cfg.SlowStart.Window = 10 * time.Second
	for started, warm := range map[int64]int64{0: 0, 900e3: 0, 995e3: 5 - 5e9 + 10e9, 2000e3: 5 + 10e9} {
		e := cluster(1, breaker.Config{}, func(_ int, e *resource.Endpoint) { e.Started = started }).Endpoints()[0]
		if m := cfg.member(e); m.warm != warm {
			t.Errorf("started at %d: warm at %d, want %d", started, m.warm, warm)
		}
	}
}
