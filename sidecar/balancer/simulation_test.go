package balancer

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

// A simulation runs open-loop calls against endpoints of given behaviour, by
// events in virtual time.
type simulation struct {
	now    int64
	rng    *rand.Rand
	ending endings
	count  []int   // picks by endpoint, of the last run
	failed float64 // share of the calls of the last run
	p99    time.Duration
}

type ending struct {
	at, began int64
	endpoint  *endpoint.Endpoint
	failed    bool
}

type endings []ending

func (e endings) Len() int           { return len(e) }
func (e endings) Less(i, j int) bool { return e[i].at < e[j].at }
func (e endings) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *endings) Push(x any)        { *e = append(*e, x.(ending)) }
func (e *endings) Pop() any {
	last := (*e)[len(*e)-1]
	*e = (*e)[:len(*e)-1]
	return last
}

// behaviour draws the latency of a call and whether it fails.
type behaviour func(rng *rand.Rand, now int64) (time.Duration, bool)

// exponential is the latency of most things: a mean and a tail.
func exponential(mean time.Duration, failing float64) behaviour {
	return func(rng *rand.Rand, _ int64) (time.Duration, bool) {
		if rng.Float64() < failing {
			return 100 * time.Microsecond, true
		}
		return time.Duration((0.5 + 0.5*rng.ExpFloat64()) * float64(mean)), false
	}
}

// run makes calls at a rate per second from now for a while and returns each
// endpoint's share of them. Breakers are told nothing: this is about prices.
func (s *simulation) run(p Picker, set *endpoint.Set, rate float64, for_ time.Duration, behave func(i int) behaviour) []float64 {
	index := map[*endpoint.State]int{}
	for i, e := range set.Endpoints() {
		index[e.State] = i
	}
	s.count = make([]int, set.Len())
	total, failures := 0, 0
	var latencies []time.Duration
	until := s.now + int64(for_)
	for next := s.now; next < until; next += int64(s.rng.ExpFloat64() / rate * 1e9) {
		for len(s.ending) > 0 && s.ending[0].at <= next {
			e := heap.Pop(&s.ending).(ending)
			s.now = e.at
			e.endpoint.Load.Answered(e.began)
			e.endpoint.Load.Done(e.at, time.Duration(e.at-e.began), e.failed)
		}
		s.now = next
		e, _ := p.Pick(Info{Now: next})
		i := index[e.State]
		latency, failed := behave(i)(s.rng, next)
		e.Load.Start(next)
		heap.Push(&s.ending, ending{next + int64(latency), next, e, failed})
		s.count[i]++
		total++
		latencies = append(latencies, latency)
		if failed {
			failures++
		}
	}
	slices.Sort(latencies)
	s.p99 = latencies[len(latencies)*99/100]
	s.failed = float64(failures) / float64(total)
	share := make([]float64, set.Len())
	for i, n := range s.count {
		share[i] = float64(n) / float64(total)
	}
	return share
}

func simulate(t *testing.T, policy string, n int) (*simulation, Picker, *endpoint.Set) {
	s := &simulation{rng: rand.New(rand.NewPCG(1, 2))}
	set := cluster(n, breaker.Config{Disabled: true}, nil)
	return s, picker(t, policy, set), set
}

func one(which int, is, others behaviour) func(int) behaviour {
	return func(i int) behaviour {
		if i == which {
			return is
		}
		return others
	}
}

var fast = exponential(5*time.Millisecond, 0)

func TestEqualEndpointsShareEvenlyUnderLoad(t *testing.T) {
	each(t, func(t *testing.T, policy string) {
		for _, failing := range []float64{0, 0.01} {
			s, p, set := simulate(t, policy, 10)
			all := exponential(5*time.Millisecond, failing)
			share := s.run(p, set, 1000, 20*time.Second, func(int) behaviour { return all })
			off := 0.02
			if policy == "ring_hash" {
				off = 0.035 // its shares are even to a tenth
			}
			if slices.Min(share) < 0.1-off || slices.Max(share) > 0.1+off {
				t.Errorf("with %v of calls failing: %.3f", failing, share)
			}
		}
	})
}

func TestSlowEndpointGetsLittle(t *testing.T) {
	most := map[string]float64{"least_request": 0.03, "peak_ewma": 0.005}
	for policy, most := range most {
		s, p, set := simulate(t, policy, 10)
		share := s.run(p, set, 2000, 20*time.Second, one(3, exponential(50*time.Millisecond, 0), fast))
		if share[3] > most || share[3] == 0 {
			t.Errorf("%s: an endpoint ten times as slow got %.4f of the calls, at most %v expected", policy, share[3], most)
		}
	}
}

func TestFastFailingEndpointGetsLittle(t *testing.T) {
	for _, rate := range []float64{20, 200, 2000} {
		s, p, set := simulate(t, "peak_ewma", 10)
		share := s.run(p, set, rate, 20*time.Second, one(3, exponential(5*time.Millisecond, 1), fast))
		if share[3] > 0.01+0.4/rate || share[3] == 0 {
			t.Errorf("%v/s: an endpoint that always fails got %.4f of the calls", rate, share[3])
		}
		s, p, set = simulate(t, "peak_ewma", 10)
		share = s.run(p, set, rate, 20*time.Second, one(3, exponential(5*time.Millisecond, 0.5), fast))
		if share[3] > 0.09 || share[3] == 0 {
			t.Errorf("%v/s: an endpoint that fails every other call got %.4f of the calls", rate, share[3])
		}
	}
}

// An endpoint that joins under load, and needs 300 ms for its first answers,
// is asked at once, not overrun while it warms up, and soon an equal.
func TestNewEndpointUnderLoad(t *testing.T) {
	const newcomer = 9
	s, old, fewer := simulate(t, "peak_ewma", newcomer)
	s.run(old, fewer, 2000, 5*time.Second, func(int) behaviour { return fast })
	set, _ := fewer.Update(assignment(newcomer+1, nil), func(r resource.Endpoint) *endpoint.Endpoint {
		return endpoint.New(r, breaker.New("", breaker.Config{}, nil), nil)
	})
	p := picker(t, "peak_ewma", set)
	warm := int64(0)
	cold := func(rng *rand.Rand, now int64) (time.Duration, bool) {
		if warm == 0 {
			warm = now + int64(300*time.Millisecond)
		}
		return max(time.Duration(warm-now), 0) + 5*time.Millisecond, false
	}
	behave := one(newcomer, cold, fast)
	s.run(p, set, 2000, 300*time.Millisecond, behave)
	if n := s.count[newcomer]; n < 1 || n > 3 {
		t.Errorf("%d calls while it warmed up, one is enough", n)
	}
	for waited := time.Duration(0); ; waited += time.Second {
		share := s.run(p, set, 2000, time.Second, behave)
		if share[newcomer] > 0.07 {
			t.Logf("an equal after %v: %.3f", waited, share)
			break
		}
		if waited > 12*time.Second {
			t.Fatalf("still not an equal: %.3f", share)
		}
	}
}

// A second of slowness is forgotten within seconds.
func TestRecoveredEndpointComesBack(t *testing.T) {
	s, p, set := simulate(t, "peak_ewma", 10)
	s.run(p, set, 2000, 2*time.Second, func(int) behaviour { return fast })
	s.run(p, set, 2000, time.Second, one(0, exponential(500*time.Millisecond, 0.2), fast))
	s.run(p, set, 2000, 10*time.Second, func(int) behaviour { return fast })
	share := s.run(p, set, 2000, 5*time.Second, func(int) behaviour { return fast })
	if share[0] < 0.06 || share[0] > 0.14 {
		t.Errorf("its share after 10 s: %.3f", share)
	}
}
