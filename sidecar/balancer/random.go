package balancer

import (
	"math/rand/v2"
)

// random draws a member in proportion to its weight
// (envoy.config.cluster.v3.Cluster.LbPolicy RANDOM), in constant time: from a
// table in which each member has a slot that it shares with at most one other
// (Vose, A linear algorithm for generating random numbers with a given
// distribution, 1991).
type random struct {
	group
	slow  slowStart
	slots []slot
}

// A slot is its own member's up to part, in 2⁻³², and other's from there.
type slot struct {
	part  uint64
	other uint32
}

func newRandom(cfg *Config, g group) chooser {
	return &random{group: g, slow: slowStartOf(cfg, g), slots: slotsOf(g)}
}

func slotsOf(g group) []slot {
	var sum float64
	for i := range g {
		sum += g[i].weight
	}
	slots, left := make([]slot, len(g)), make([]float64, len(g))
	var poor, rich []uint32
	for i := range g {
		left[i] = g[i].weight / sum * float64(len(g))
		slots[i] = slot{part: 1 << 32, other: uint32(i)}
		if left[i] < 1 {
			poor = append(poor, uint32(i))
		} else {
			rich = append(rich, uint32(i))
		}
	}
	for len(poor) > 0 && len(rich) > 0 {
		p, r := poor[len(poor)-1], rich[len(rich)-1]
		poor = poor[:len(poor)-1]
		slots[p] = slot{part: uint64(left[p] * (1 << 32)), other: r}
		if left[r] -= 1 - left[p]; left[r] < 1 {
			rich, poor = rich[:len(rich)-1], append(poor, r)
		}
	}
	return slots
}

func (r *random) look(int64) {}

func (r *random) draw() *member {
	x := rand.Uint64()
	at := (x >> 32) * uint64(len(r.group)) >> 32
	if s := &r.slots[at]; x&(1<<32-1) >= s.part {
		at = uint64(s.other)
	}
	return &r.group[at]
}

func (r *random) choose(i Info, forced bool) *member {
	for range spareTurns {
		if m := r.draw(); m.fit(&i, forced) && m.willing(i.Now, &r.slow) {
			return m
		}
	}
	m, _ := r.scan(&i, forced)
	return m
}
