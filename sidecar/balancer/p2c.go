package balancer

import (
	"math/rand/v2"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/xds/resource"
)

// p2c takes two members at random and of these the better one: nearly as good
// as taking the best of all, in constant time, and without all callers
// running to the same one (Mitzenmacher, The Power of Two Choices, 2001).
type p2c struct {
	group
	slow resource.SlowStart
	// prefer tells whether b is to be had rather than a.
	prefer func(a, b *member, now int64) bool
}

// samples is how many pairs are drawn before a group is scanned. With half of
// a group unfit, three pairs in four hold at least one fit member. Where
// breakers do not count, a pair whose breakers both refuse is drawn again too:
// so the unfit are asked when the fit ones get dearer than they are, and not
// in proportion to their number.
const samples = 3

func (p *p2c) look(int64) {}

func (p *p2c) choose(i Info, forced bool) *member {
	var single *member
	if n := uint64(len(p.group)); n > 2 {
		for range samples {
			r := rand.Uint64()
			x, y := (r>>32)*n>>32, (r&(1<<32-1))*(n-1)>>32
			if y >= x {
				y++
			}
			a, b := &p.group[x], &p.group[y]
			switch first, second := a.fit(&i, forced), b.fit(&i, forced); {
			case first && second:
				m := p.either(a, b, i.Now, forced)
				if !forced || a.state.Breaker.Ready() || b.state.Breaker.Ready() {
					return m
				}
				single = m
			case first:
				single = a
			case second:
				single = b
			}
		}
		if single != nil {
			return single
		}
	}
	a, b := p.scan(&i, forced)
	if b == nil {
		return a
	}
	return p.either(a, b, i.Now, forced)
}

func (p *p2c) either(a, b *member, now int64, forced bool) *member {
	switch {
	case !a.willing(now, &p.slow):
		return b
	case !b.willing(now, &p.slow):
		return a
	}
	return p.better(a, b, now, forced)
}

// better prefers a member whose breaker is half open, whatever its price: only
// a trial can close the breaker again, and the breaker bounds their number.
// Between equals the first is as random as the second.
func (p *p2c) better(a, b *member, now int64, forced bool) *member {
	switch {
	case !forced && a.state.Breaker.State() != breaker.Closed:
		return a
	case !forced && b.state.Breaker.State() != breaker.Closed, p.prefer(a, b, now):
		return b
	}
	return a
}
