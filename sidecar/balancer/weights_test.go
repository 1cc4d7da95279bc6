package balancer

import (
	"math"
	"testing"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

// What Weights says is what idle endpoints get, whatever the policy and
// whatever keeps calls away.
func TestWeightsAreWhatIsPicked(t *testing.T) {
	const now = int64(20 * time.Second)
	with := func(edit func(*Config)) Config {
		c := Config{Balancing: resource.DefaultBalancing(), Now: now}
		c.PanicThreshold = 0
		if edit != nil {
			edit(&c)
		}
		return c
	}
	zoned := with(func(c *Config) { c.Zone.MinEndpoints, c.Client.Zone = 4, "a" })
	for _, tc := range []struct {
		name    string
		cfg     Config
		edit    func(i int, e *resource.Endpoint)
		prepare func([]*endpoint.Endpoint)
	}{
		{"equal", with(nil), nil, nil},
		{"weights", with(nil), func(i int, e *resource.Endpoint) { e.Weight = uint32(1 + i) }, nil},
		{"unfit", with(nil), nil, func(all []*endpoint.Endpoint) { all[0].Eject(math.MaxInt64 / 4); trip(all[1]) }},
		{"slow start", with(func(c *Config) {
			c.SlowStart, c.Time = resource.SlowStart{Window: 40 * time.Second, Aggression: 1, MinWeight: 0.1}, time.Unix(1000, 0)
		}), func(i int, e *resource.Endpoint) {
			if i == 2 {
				e.Started = time.Unix(1000-10, 0).UnixMilli()
			}
		}, nil},
		{"priorities", with(nil), func(i int, e *resource.Endpoint) { e.Priority = uint32(i % 2) },
			func(all []*endpoint.Endpoint) { all[0].Eject(math.MaxInt64 / 4); all[2].Eject(math.MaxInt64 / 4) }},
		{"zones", zoned, func(i int, e *resource.Endpoint) { e.Zone = string(rune('a' + min(i, 2))) }, nil},
		{"empty zone", zoned, func(i int, e *resource.Endpoint) { e.Zone = string(rune('a' + i/3)) },
			func(all []*endpoint.Endpoint) {
				for _, e := range all[:3] {
					e.Eject(math.MaxInt64 / 4)
				}
			}},
		{"panic", with(func(c *Config) { c.PanicThreshold = 0.5 }), nil, func(all []*endpoint.Endpoint) {
			for _, e := range all[:4] {
				e.Eject(math.MaxInt64 / 4)
			}
		}},
		{"unhealthy", with(nil), func(i int, e *resource.Endpoint) { e.Health = resource.Unhealthy }, nil},
		{"nobody", with(nil), nil, func(all []*endpoint.Endpoint) {
			for _, e := range all {
				trip(e)
			}
		}},
		{"dear", with(nil), nil, func(all []*endpoint.Endpoint) {
			for i, e := range all {
				for range 20 {
					e.Load.Start(now)
					e.Load.Answered(now)
					e.Load.Done(now, time.Duration(4+i)*time.Millisecond, false)
				}
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			each(t, func(t *testing.T, policy string) {
				set := cluster(6, breaker.Config{ConsecutiveFailures: 1, OpenFor: time.Hour}, tc.edit)
				if tc.prepare != nil {
					tc.prepare(set.Endpoints())
				}
				p := picker(t, policy, set, tc.cfg)
				const picks = 60000
				got := map[*endpoint.State]float64{}
				for range picks {
					if e, _ := p.Pick(Info{Now: now}); e != nil {
						got[e.State] += 1. / picks
					}
				}
				// A ring of six has uneven arcs, and of slow start a hash knows nothing.
				bound := 0.02
				if policy == "ring_hash" {
					bound = 0.05
				}
				want, sum := p.Weights(now), 0.0
				for _, e := range set.Endpoints() {
					sum += want[e.State]
					if math.Abs(got[e.State]-want[e.State]) > bound {
						t.Errorf("endpoint %s has %.3f of the calls, its weight is %.3f", e.ID, got[e.State], want[e.State])
					}
				}
				if tc.name != "nobody" && math.Abs(sum-1) > 1e-9 || tc.name == "nobody" && len(want) > 0 {
					t.Errorf("all together: %v of %d", sum, len(want))
				}
			})
		})
	}
}

// Calls in flight are of the moment, and no part of a weight; latency is.
func TestWeightsForgetWhatIsInFlight(t *testing.T) {
	set := cluster(3, breaker.Config{}, nil)
	all := set.Endpoints()
	for i, e := range all {
		e.Load.Start(0)
		e.Load.Answered(0)
		e.Load.Done(0, time.Duration(10+20*(i/2))*time.Millisecond, false)
	}
	p := picker(t, "peak_ewma", set)
	idle := p.Weights(0)
	if a, c := idle[all[0].State], idle[all[2].State]; a < 8*c || c == 0 {
		t.Errorf("three times as slow: %v beside %v", c, a)
	}
	all[0].Load.Start(0)
	if busy := p.Weights(0); math.Abs(busy[all[0].State]-idle[all[0].State]) > 1e-9 {
		t.Errorf("with a call in flight %v, before %v", busy[all[0].State], idle[all[0].State])
	}
}

// BenchmarkWeights is what a look costs.
func BenchmarkWeights(b *testing.B) {
	for _, policy := range policies {
		for n, name := range map[int]string{10: "/10", 1000: "/1000"} {
			b.Run(policy+name, func(b *testing.B) {
				p := picker(b, policy, loaded(n))
				for b.Loop() {
					p.Weights(0)
				}
			})
		}
	}
}
