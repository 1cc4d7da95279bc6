package balancer

import (
	"math/rand/v2"
	"slices"

	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

// A member is an endpoint that health lets take part.
type member struct {
	state    *endpoint.State
	endpoint *endpoint.Endpoint
	weight   float64 // at least 1
	inverse  float64 // of weight: a multiplication is cheaper
}

// A group is the members of one priority.
type group []member

// groupsOf sorts the members of a set by priority; empty groups are left out.
func groupsOf(set *endpoint.Set) []group {
	panicking := !slices.ContainsFunc(set.Endpoints(), func(e *endpoint.Endpoint) bool {
		return e.Health == resource.Healthy
	})
	byPriority := map[uint32]group{}
	var priorities []uint32
	for _, e := range set.Endpoints() {
		if e.Health != resource.Healthy && !panicking {
			continue
		}
		if byPriority[e.Priority] == nil {
			priorities = append(priorities, e.Priority)
		}
		w := float64(max(e.Weight, 1))
		byPriority[e.Priority] = append(byPriority[e.Priority],
			member{state: e.State, endpoint: e, weight: w, inverse: 1 / w})
	}
	slices.Sort(priorities)
	groups := make([]group, len(priorities))
	for i, p := range priorities {
		groups[i] = byPriority[p]
	}
	return groups
}

// usable tells whether m may be chosen. Endpoints are compared by State: the
// set may have been updated since the first attempt.
func (m *member) usable(tried []*endpoint.Endpoint) bool {
	for _, t := range tried {
		if t.State == m.state {
			return false
		}
	}
	return m.state.Breaker.Ready()
}

// scan finds up to two usable members, the first from a random place on. It
// is what is left to do when most of a group is not usable.
func (g group) scan(tried []*endpoint.Endpoint) (a, b *member) {
	start := rand.IntN(len(g))
	for i := range g {
		m := &g[(start+i)%len(g)]
		if !m.usable(tried) {
			continue
		}
		if a != nil {
			return a, m
		}
		a = m
	}
	return a, nil
}
