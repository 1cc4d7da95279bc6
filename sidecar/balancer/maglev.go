package balancer

import "math/bits"

// maglev is a table of places that members fill in turn, each along an order
// of its own (Eisenbud et al., Maglev: A Fast and Reliable Software Network
// Load Balancer, NSDI 2016; envoy.config.cluster.v3.Cluster.MaglevLbConfig).
// Shares are within a percent of the weights, and a lookup is one step; of the
// keys that stay, a few more than with a ring change hands when a member comes.
type maglev []uint32

func newMaglev(cfg *Config, g group) chooser {
	return newConsistent(cfg, g, newMaglevTable(g, uint64(max(cfg.TableSize, 2))))
}

const vacant = ^uint32(0)

// newMaglevTable wants a prime size, or an order might not reach every place.
func newMaglevTable(g group, size uint64) maglev {
	t := make(maglev, size)
	for k := range t {
		t[k] = vacant
	}
	type filler struct{ next, skip uint64 }
	fill, due := make([]filler, len(g)), make([]float64, len(g))
	heaviest := 0.0
	for i := range g {
		name := g[i].name()
		fill[i] = filler{keyHash(name, "offset") % size, keyHash(name, "skip")%(size-1) + 1}
		heaviest = max(heaviest, g[i].weight)
	}
	for filled := uint64(0); ; {
		for i := range g {
			// The heaviest has a turn in each round, the others as often as is their share.
			if due[i] += g[i].weight / heaviest; due[i] < 1 {
				continue
			}
			due[i]--
			f := &fill[i]
			for t[f.next] != vacant {
				f.next = (f.next + f.skip) % size
			}
			t[f.next] = uint32(i)
			if filled++; filled == size {
				return t
			}
		}
	}
}

func (t maglev) find(hash uint64) uint32 {
	place, _ := bits.Mul64(hash, uint64(len(t)))
	return t[place]
}
