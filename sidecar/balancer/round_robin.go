package balancer

import (
	"math/rand/v2"
	"sync/atomic"
)

// roundRobin goes round the members, each in proportion to its weight and as
// evenly spread as that allows: gRPC's static stride schedule (gRFC A58). It
// starts at a random place, or many sidecars that learn of a change at once
// would go round in step.
//
// A member that is not fit gives up its turn to the spare sequence, which goes
// round by itself; giving it to the next in line would double that one's load.
type roundRobin struct {
	group
	slow   slowStart
	stride []atomic.Uint32 // weight, scaled so that the greatest is fullStride
	turn   atomic.Uint64
	spare  atomic.Uint64
}

const (
	fullStride = 1<<16 - 1
	spareTurns = 8 // before the group is scanned
)

func newRoundRobin(cfg *Config, g group) chooser { return roundRobinOf(cfg, g) }

func roundRobinOf(cfg *Config, g group) *roundRobin {
	r := &roundRobin{group: g, slow: slowStartOf(cfg, g), stride: make([]atomic.Uint32, len(g))}
	r.weigh(func(i int) float64 { return g[i].weight })
	r.turn.Store(uint64(rand.Uint32()))
	r.spare.Store(uint64(rand.Uint32()))
	return r
}

// weigh sets the strides. Picks that go on meanwhile find some old and some new.
func (r *roundRobin) weigh(weight func(i int) float64) {
	heaviest := 0.0
	for i := range r.group {
		heaviest = max(heaviest, weight(i))
	}
	for i := range r.group {
		r.stride[i].Store(max(1, uint32(weight(i)/heaviest*fullStride+0.5)))
	}
}

func (r *roundRobin) look(int64) {}

func (r *roundRobin) choose(i Info, forced bool) *member {
	if m := r.next(&r.turn); m.fit(&i, forced) && m.willing(i.Now, &r.slow) {
		return m
	}
	for range spareTurns {
		if m := r.next(&r.spare); m.fit(&i, forced) && m.willing(i.Now, &r.slow) {
			return m
		}
	}
	m, _ := r.scan(&i, forced)
	return m
}

// next takes turns until one falls to a member. In each round a member moves
// on by its stride, and its turn counts when it passes a multiple of
// fullStride; on average that takes greatest weight ÷ mean weight turns.
func (r *roundRobin) next(sequence *atomic.Uint64) *member {
	n := uint64(len(r.group))
	for {
		turn := sequence.Add(1)
		i, round := turn%n, turn/n
		stride := uint64(r.stride[i].Load())
		if (stride*round+i*(fullStride/2))%fullStride >= fullStride-stride {
			return &r.group[i]
		}
	}
}
