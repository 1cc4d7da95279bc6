package balancer

import (
	"math"

	"github.com/meshd/meshd/sidecar/endpoint"
)

// Weights implements Picker. Each chooser says what its members are to get
// relative to each other (aim); here priorities and zones divide it up. Calls
// for which a zone or a priority has nobody go where choose and remaining would
// take them: to the others, as these have it.
func (p *priorities) Weights(now int64) map[*endpoint.State]float64 {
	if now >= p.next.Load() {
		p.look(now)
	}
	parts := map[*endpoint.State]float64{}
	before := uint64(0)
	for k, l := range p.levels {
		upTo := l.upTo.Load()
		of := float64(upTo-min(before, upTo)) / (1 << 32)
		if before = upTo; len(p.levels) == 1 || k == 0 && upTo == 0 {
			of = 1
		}
		l.weigh(parts, of, now)
	}
	var sum float64
	for _, part := range parts {
		sum += part
	}
	for s := range parts {
		parts[s] /= sum
	}
	return parts
}

// weigh adds the level's part of the calls to its members' parts.
func (l *level) weigh(parts map[*endpoint.State]float64, of float64, now int64) {
	switch {
	case l.panicking.Load():
		share(parts, l.all, of, now, true)
	case l.fit == nil:
		share(parts, l.all, of, now, false)
	case l.zones != nil:
		share(parts, l.fit, l.zones.weigh(parts, of, now), now, false)
	default:
		share(parts, l.fit, of, now, false)
	}
}

// weigh returns what of the part is left because a zone has nobody for it.
func (z *zones) weigh(parts map[*endpoint.State]float64, of float64, now int64) (left float64) {
	keep := float64(z.keep.Load()) / (1 << 32)
	left = share(parts, z.own.chooser, of*keep, now, false)
	before := 0.0
	for _, away := range z.away {
		upTo := float64(away.upTo.Load()) / (1 << 32)
		left += share(parts, away.chooser, of*(1-keep)*max(upTo-before, 0), now, false)
		before = upTo
	}
	return left
}

// share divides a part of the calls among a chooser's members; what is left is
// all of it where none is fit.
func share(parts map[*endpoint.State]float64, c chooser, of float64, now int64, forced bool) (left float64) {
	members, aims := c.aim(now, forced)
	var sum float64
	for _, a := range aims {
		sum += a
	}
	if sum <= 0 {
		return of
	}
	for k, a := range aims {
		if a > 0 {
			parts[members[k].state] += of * a / sum
		}
	}
	return 0
}

// aims are what weigh says of each member that is fit, and 0 of the others.
func (g group) aims(now int64, forced bool, weigh func(k int, m *member) float64) (group, []float64) {
	out := make([]float64, len(g))
	for k := range g {
		if m := &g[k]; forced || m.ready(now) {
			out[k] = weigh(k, m)
		}
	}
	return g, out
}

// willingness is how often willing is true.
func (s *slowStart) willingness(m *member, now int64) float64 {
	if m.warm <= now {
		return 1
	}
	return s.factor(m, now)
}

func (r *roundRobin) aim(now int64, forced bool) (group, []float64) {
	return r.aims(now, forced, func(k int, m *member) float64 { return float64(r.stride[k].Load()) * r.slow.willingness(m, now) })
}

func (r *random) aim(now int64, forced bool) (group, []float64) {
	return r.aims(now, forced, func(_ int, m *member) float64 { return m.weight * r.slow.willingness(m, now) })
}

func (c *consistent[T]) aim(now int64, forced bool) (group, []float64) {
	return c.aims(now, forced, func(_ int, m *member) float64 { return m.weight })
}

func (h *hcl) aim(now int64, forced bool) (group, []float64) { return h.spread.aim(now, forced) }

// rivals is with how many others on either side a member is compared at most:
// of a thousand, those tell as much as all would.
const rivals = 32

// aim is how often a member is the better of two that have as many calls in
// flight.
func (p *p2c) aim(now int64, forced bool) (group, []float64) {
	type fit struct {
		k           int
		price, pull float64
		ready       bool
	}
	var all []fit
	ready := 0
	_, out := p.aims(now, forced, func(k int, m *member) float64 {
		f := fit{k: k, pull: m.pull(now, &p.slow), ready: !forced || m.ready(now)}
		if f.ready {
			ready++
		}
		if p.price != nil {
			f.price = p.price(m, now)
		}
		all = append(all, f)
		return 0
	})
	if len(all) == 1 {
		out[all[0].k] = 1
	}
	again := drawnAgain(len(all), ready)
	for i, x := range all {
		for off := 1; off <= min(rivals, len(all)-1); off++ {
			y := all[(i+off)%len(all)]
			a, b := &p.group[x.k], &p.group[y.k]
			u, v := x.pull, y.pull
			switch { // as better does
			case x.price == 0 || y.price == 0: // one has never answered
			case y.price < x.price:
				v *= p.trust(x.price, y.price, v*a.weight < mostlyGrown*u*b.weight)
			case x.price < y.price:
				u *= p.trust(y.price, x.price, u*b.weight < mostlyGrown*v*a.weight)
			}
			often := 1.0
			if !x.ready && !y.ready {
				often = again
			}
			out[x.k] += often * u / (u + v)
			out[y.k] += often * v / (u + v)
		}
	}
	return p.group, out
}

// drawnAgain is how often a pair of n members of which neither is ready is what
// samples end with, to each other pair's once: see samples.
func drawnAgain(n, ready int) float64 {
	all, neither := float64(n*(n-1)/2), float64((n-ready)*(n-ready-1)/2)
	if n <= 2 || neither == 0 || neither == all {
		return 1
	}
	last := math.Pow(neither/all, samples)
	return last / neither / ((1 - last) / (all - neither))
}
