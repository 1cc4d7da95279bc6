package balancer

import (
	"math"
	"math/rand/v2"

	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

// A member is an endpoint as a policy sees it.
type member struct {
	state    *endpoint.State
	endpoint *endpoint.Endpoint
	weight   float64 // above 0
	inverse  float64 // of weight: a multiplication is cheaper
	started  int64   // of its instance, ns on the engine's clock
	warm     int64   // when its slow start is over; 0 if it has none
}

// A group is members among which a policy chooses.
type group []member

// member makes the member of an endpoint.
func (cfg *Config) member(e *endpoint.Endpoint) member {
	w := float64(max(e.Weight, 1))
	m := member{state: e.State, endpoint: e, weight: w, inverse: 1 / w}
	if cfg.SlowStart.Window > 0 && e.Started > 0 {
		// A clock that is ahead of ours must not keep an instance cold: it has
		// started by now.
		age := max(cfg.Time.UnixNano()-e.Started*1e6, 0)
		if age < int64(cfg.SlowStart.Window) {
			m.started = cfg.Now - age
			m.warm = m.started + int64(cfg.SlowStart.Window)
		}
	}
	return m
}

// fit tells whether m may be chosen. Endpoints are compared by State: the set
// may have been updated since the first attempt.
func (m *member) fit(i *Info, forced bool) bool {
	for _, t := range i.Tried {
		if t.State == m.state {
			return false
		}
	}
	return forced || m.ready(i.Now)
}

// ready tells whether m takes calls as far as breaker, checks and ejection go.
func (m *member) ready(now int64) bool { return m.state.Breaker.Ready() && m.state.Available(now) }

// healthy tells whether health lets m take new calls.
func (m *member) healthy() bool { return m.endpoint.Health == resource.Healthy }

// willing is true of a member whose slow start is over, and of another in so
// many of a hundred cases as its weight has grown to
// (envoy.config.cluster.v3.Cluster.SlowStartConfig). A policy that draws one
// member by weight asks it, and draws another if it is not. That needs no timer,
// and follows from the instance's own start alone, whatever changes around it.
func (m *member) willing(now int64, s *slowStart) bool {
	return m.warm <= now || rand.Float64() < s.factor(m, now)
}

// slowStart is that of a group. Where all its members are young, the eldest has
// all its weight: there is nobody who could do the others' part, and those who
// started together are equals.
type slowStart struct {
	resource.SlowStart
	eldest int64 // when it started; math.MinInt64 if that is long ago
}

func slowStartOf(cfg *Config, g group) slowStart {
	s := slowStart{SlowStart: cfg.SlowStart, eldest: math.MaxInt64}
	for i := range g {
		if g[i].warm == 0 {
			s.eldest = math.MinInt64
			break
		}
		s.eldest = min(s.eldest, g[i].started)
	}
	return s
}

// factor is what the weight of m, whose slow start is not over, has grown to.
func (s *slowStart) factor(m *member, now int64) float64 {
	f := s.grown(m.started, now)
	if s.eldest != math.MinInt64 {
		f /= s.grown(s.eldest, now)
	}
	return f
}

// grown is the part of its weight that an endpoint has which started then.
func (s *slowStart) grown(started, now int64) float64 {
	f := float64(max(now-started, 0)) / float64(s.Window)
	if s.Aggression != 1 && s.Aggression > 0 {
		f = math.Pow(f, 1/s.Aggression)
	}
	return min(max(f, s.MinWeight, 1e-6), 1)
}

// scan finds up to two fit members, the first from a random place on. It is
// what is left to do when most of a group is not fit.
func (g group) scan(i *Info, forced bool) (a, b *member) {
	start := rand.IntN(len(g))
	for k := range g {
		m := &g[(start+k)%len(g)]
		if !m.fit(i, forced) {
			continue
		}
		if a != nil {
			return a, m
		}
		a = m
	}
	return a, nil
}
