package balancer

import (
	"math/rand/v2"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/endpoint"
)

// p2c takes two members at random and of these the cheaper one: nearly as good
// as taking the cheapest of all, in constant time, and without all callers
// running to the same one (Mitzenmacher, The Power of Two Choices, 2001).
type p2c struct {
	groups []group
	now    func() int64 // nil where cost needs no clock
	cost   func(m *member, now int64) float64
}

// samples is how many pairs are drawn before a group is scanned. With half of
// a group unusable, three pairs in four hold at least one usable member.
const samples = 3

func (p *p2c) Pick(tried []*endpoint.Endpoint) *endpoint.Endpoint {
	var now int64
	if p.now != nil {
		now = p.now()
	}
	for _, g := range p.groups {
		if m := p.pick(g, tried, now); m != nil {
			return m.endpoint
		}
	}
	if len(tried) > 0 {
		return p.Pick(nil) // none but these is left
	}
	return nil
}

func (p *p2c) pick(g group, tried []*endpoint.Endpoint, now int64) *member {
	var single *member
	if n := uint64(len(g)); n > 2 {
		for range samples {
			r := rand.Uint64()
			i, j := (r>>32)*n>>32, (r&(1<<32-1))*(n-1)>>32
			if j >= i {
				j++
			}
			a, b := &g[i], &g[j]
			switch first, second := a.usable(tried), b.usable(tried); {
			case first && second:
				return p.better(a, b, now)
			case first:
				single = a
			case second:
				single = b
			}
		}
	}
	if single != nil {
		return single
	}
	a, b := g.scan(tried)
	if b == nil {
		return a
	}
	return p.better(a, b, now)
}

// better prefers a member whose breaker is half open, whatever its price: only
// a trial can close the breaker again, and the breaker bounds their number.
// Between equals the first is as random as the second.
func (p *p2c) better(a, b *member, now int64) *member {
	if a.state.Breaker.State() != breaker.Closed {
		return a
	}
	if b.state.Breaker.State() != breaker.Closed || p.cost(b, now) < p.cost(a, now) {
		return b
	}
	return a
}
