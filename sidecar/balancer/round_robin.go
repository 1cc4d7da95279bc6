package balancer

import (
	"math/rand/v2"
	"sync/atomic"

	"github.com/meshd/meshd/sidecar/endpoint"
)

// roundRobin goes round the members, each in proportion to its weight and as
// evenly spread as that allows: gRPC's static stride schedule (gRFC A58). It
// starts at a random place, or many sidecars that learn of a change at once
// would go round in step.
type roundRobin struct {
	rings []*ring
}

// A ring is one group's schedule. A member that is not usable gives up its
// turn to the spare sequence, which goes round by itself; giving it to the
// next in line would double that one's load.
type ring struct {
	group
	stride []uint64 // weight, scaled so that the greatest is fullStride
	turn   atomic.Uint64
	spare  atomic.Uint64
}

const (
	fullStride = 1<<16 - 1
	spareTurns = 8 // before the group is scanned
)

func newRoundRobin(groups []group, _ func() int64) Picker {
	r := &roundRobin{}
	for _, g := range groups {
		r.rings = append(r.rings, newRing(g))
	}
	return r
}

func newRing(g group) *ring {
	heaviest := 1.0
	for _, m := range g {
		heaviest = max(heaviest, m.weight)
	}
	r := &ring{group: g, stride: make([]uint64, len(g))}
	for i, m := range g {
		r.stride[i] = max(1, uint64(m.weight/heaviest*fullStride+0.5))
	}
	r.turn.Store(uint64(rand.Uint32()))
	r.spare.Store(uint64(rand.Uint32()))
	return r
}

func (p *roundRobin) Pick(tried []*endpoint.Endpoint) *endpoint.Endpoint {
	for _, r := range p.rings {
		if m := r.pick(tried); m != nil {
			return m.endpoint
		}
	}
	if len(tried) > 0 {
		return p.Pick(nil) // none but these is left
	}
	return nil
}

func (r *ring) pick(tried []*endpoint.Endpoint) *member {
	if m := r.next(&r.turn); m.usable(tried) {
		return m
	}
	for range spareTurns {
		if m := r.next(&r.spare); m.usable(tried) {
			return m
		}
	}
	m, _ := r.scan(tried)
	return m
}

// next takes turns until one falls to a member. In each round a member moves
// on by its stride, and its turn counts when it passes a multiple of
// fullStride; on average that takes greatest weight ÷ mean weight turns.
func (r *ring) next(sequence *atomic.Uint64) *member {
	n := uint64(len(r.group))
	for {
		turn := sequence.Add(1)
		i, round := turn%n, turn/n
		if (r.stride[i]*round+i*(fullStride/2))%fullStride >= fullStride-r.stride[i] {
			return &r.group[i]
		}
	}
}
