package balancer

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

var hashed = []string{"maglev", "ring_hash"}

// owners says which endpoint each of n keys goes to.
func owners(p Picker, n int) []string {
	rng := rand.New(rand.NewPCG(1, 1))
	ids := make([]string, n)
	for i := range ids {
		e, _ := p.Pick(Info{Hash: rng.Uint64(), Hashed: true})
		ids[i] = e.ID
	}
	return ids
}

// When 10 endpoints become 11, the newcomer takes its share of the keys and no
// others change hands, but for a few of maglev's.
func TestKeysThatMove(t *testing.T) {
	others := map[string]float64{"ring_hash": 0, "maglev": 0.02}
	for _, policy := range hashed {
		for _, n := range []int{10, 100} {
			const keys = 20000
			before := owners(picker(t, policy, cluster(n, breaker.Config{}, nil)), keys)
			after := owners(picker(t, policy, cluster(n+1, breaker.Config{}, nil)), keys)
			newcomer, moved, stray := fmt.Sprint(n), 0, 0
			for i := range before {
				switch {
				case after[i] == newcomer:
					moved++
				case after[i] != before[i]:
					moved++
					stray++
				}
			}
			t.Logf("%s, %d to %d endpoints: %.4f of the keys move, 1/%d is %.4f; %.4f between others",
				policy, n, n+1, float64(moved)/keys, n+1, 1/float64(n+1), float64(stray)/keys)
			if share := float64(moved) / keys; share > 1/float64(n+1)+0.02 {
				t.Errorf("%s: %.4f of the keys moved", policy, share)
			}
			if share := float64(stray) / keys; share > others[policy] {
				t.Errorf("%s: %.4f of the keys moved between endpoints that were there before", policy, share)
			}
		}
	}
}

// A name keeps its keys at whatever address, and the order of the assignment
// does not matter.
func TestKeysFollowTheInstance(t *testing.T) {
	for _, policy := range hashed {
		a := owners(picker(t, policy, cluster(10, breaker.Config{}, nil)), 1000)
		b := owners(picker(t, policy, cluster(10, breaker.Config{}, func(i int, e *resource.Endpoint) { e.ID = fmt.Sprint(9 - i) })), 1000)
		differ := 0
		for i := range a {
			if a[i] != b[i] {
				differ++
			}
		}
		// Maglev fills its table in turns: who comes first matters a little.
		if differ > 0 && policy == "ring_hash" || differ > 200 {
			t.Errorf("%s: %d of 1000 keys moved", policy, differ)
		}
	}
}

func TestHashHonoursWeights(t *testing.T) {
	most := map[string]float64{"ring_hash": 0.25, "maglev": 0.03}
	for _, policy := range hashed {
		set := cluster(12, breaker.Config{}, func(i int, e *resource.Endpoint) { e.Weight = uint32(1 + i%3) })
		count := map[string]float64{}
		for _, id := range owners(picker(t, policy, set), 100000) {
			count[id]++
		}
		for _, e := range set.Endpoints() {
			want := 100000 * float64(e.Weight) / 24
			if off := math.Abs(count[e.ID]-want) / want; off > most[policy] {
				t.Errorf("%s: weight %d has %v keys, want %.0f", policy, e.Weight, count[e.ID], want)
			}
		}
	}
}

// A call whose endpoint is tried or open goes to another, and always to the
// same; so do the calls after it, and its keys come back with it.
func TestHashAvoidsAndReturns(t *testing.T) {
	for _, policy := range hashed {
		set := cluster(10, brittle, nil)
		p := picker(t, policy, set)
		i := Info{Hash: 12345, Hashed: true}
		home, _ := p.Pick(i)
		i.Tried = []*endpoint.Endpoint{home}
		second, _ := p.Pick(i)
		if again, _ := p.Pick(i); second == home || second != again {
			t.Errorf("%s: %s, then %s and %s", policy, home.ID, second.ID, again.ID)
		}
		trip(home)
		i.Tried = nil
		if e, _ := p.Pick(i); e != second {
			t.Errorf("%s: %s rather than %s", policy, e.ID, second.ID)
		}
	}
}

// One key has half of the calls: its endpoint takes its bound and no more, and
// the other keys stay where they are.
func TestBoundedLoad(t *testing.T) {
	for _, policy := range hashed {
		set := cluster(10, breaker.Config{}, nil)
		cfg := Config{Balancing: resource.DefaultBalancing()}
		cfg.LoadFactor = 1.25
		p := picker(t, policy, set, cfg)
		rng := rand.New(rand.NewPCG(7, 7))
		const calls = 1000
		for n := range int64(calls) {
			i := Info{Hash: 99, Hashed: true, Active: n}
			if n%2 == 0 {
				i.Hash = rng.Uint64()
			}
			e, _ := p.Pick(i)
			e.Load.Start(0)
		}
		for _, e := range set.Endpoints() {
			if got := e.Load.InFlight(); got > 1.25*calls/10+1 {
				t.Errorf("%s: %s has %d of %d calls", policy, e.ID, got, calls)
			}
		}
	}
}

func TestPlacesAreBuiltInTime(t *testing.T) {
	for _, policy := range hashed {
		for _, n := range []int{1000, 10000} {
			set := cluster(n, breaker.Config{}, nil)
			start := time.Now()
			picker(t, policy, set)
			t.Logf("%s of %d endpoints: %v", policy, n, time.Since(start))
		}
	}
}

func TestRingSizeIsBounded(t *testing.T) {
	cfg := Config{Balancing: resource.DefaultBalancing()}
	g := make(group, 0)
	for _, e := range cluster(50, breaker.Config{}, nil).Endpoints() {
		g = append(g, cfg.member(e))
	}
	for _, c := range []struct{ min, max, from, to uint32 }{
		{1024, 8 << 20, 50 * pointsEach, 50 * pointsEach}, {100_000, 8 << 20, 99_000, 101_000}, {1024, 2000, 1950, 2050}, {1, 1, 50, 50},
	} {
		cfg.Ring = resource.RingSize{Min: c.min, Max: c.max}
		if n := uint32(len(newHashRing(&cfg, g).points)); n < c.from || n > c.to {
			t.Errorf("of %d to %d: %d points", c.min, c.max, n)
		}
	}
}
