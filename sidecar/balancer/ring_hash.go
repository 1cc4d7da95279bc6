package balancer

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// pointsEach is the least number of points that an endpoint of weight 1 has,
// as far as the greatest ring allows: with fewer, shares are uneven. Envoy's
// default of 1,024 for the whole ring would leave one point for each of 1,000.
const pointsEach = 128

// hashRing is a ring of points, several for each member, in proportion to its
// weight (ketama; envoy.config.cluster.v3.Cluster.RingHashLbConfig). A member
// that comes takes its points' arcs, and no other changes hands.
type hashRing struct {
	points []point
	shift  int     // of a hash, to its place in first
	first  []int32 // for each part of the circle, its first point: a search of a few instead of all
}

type point struct {
	hash   uint64
	member uint32
}

func newRingHash(cfg *Config, g group) chooser { return newConsistent(cfg, g, newHashRing(cfg, g)) }

func newHashRing(cfg *Config, g group) *hashRing {
	lightest, total := math.Inf(1), 0.0
	for i := range g {
		lightest, total = min(lightest, g[i].weight), total+g[i].weight
	}
	// The lightest member's points; fewer where the ring would get too large.
	each := max(pointsEach, float64(cfg.Ring.Min)*lightest/total)
	each = min(each, float64(max(cfg.Ring.Max, 1))*lightest/total)
	r := &hashRing{points: make([]point, 0, int(each*total/lightest)+len(g))}
	for i := range g {
		n := max(int(math.Round(each*g[i].weight/lightest)), 1)
		hash := keyHash(g[i].name(), "ring")
		for range n {
			r.points = append(r.points, point{hash, uint32(i)})
			hash = mixed(hash)
		}
	}
	slices.SortFunc(r.points, func(a, b point) int {
		if a.hash != b.hash {
			return cmp.Compare(a.hash, b.hash)
		}
		return cmp.Compare(a.member, b.member)
	})
	r.index()
	return r
}

// index divides the circle into as many parts as there are points, about.
func (r *hashRing) index() {
	width := bits.Len(uint(len(r.points)))
	r.shift = 64 - width
	r.first = make([]int32, 1<<width)
	k := 0
	for part := range r.first {
		for k < len(r.points) && r.points[k].hash>>r.shift < uint64(part) {
			k++
		}
		r.first[part] = int32(k)
	}
}

// find is the member of the first point from hash on, clockwise.
func (r *hashRing) find(hash uint64) uint32 {
	k := int(r.first[hash>>r.shift])
	for k < len(r.points) && r.points[k].hash < hash {
		k++
	}
	if k == len(r.points) {
		k = 0
	}
	return r.points[k].member
}
