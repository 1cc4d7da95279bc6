package balancer

import (
	"math"
	"math/rand/v2"

	"github.com/meshd/meshd/breaker"
)

// p2c takes two members at random and of these the better one: nearly as good
// as taking the best of all, in constant time, and without all callers
// running to the same one (Mitzenmacher, The Power of Two Choices, 2001).
type p2c struct {
	group
	slow slowStart
	// odds are those of the cheaper of two, by their calls in flight or their
	// prices.
	quote func(m *member, now int64) (price float64, inflight int64)
	odds  func(dear, cheap float64) float64
	// price is quote's without the calls in flight, for aim; 0 is not known yet.
	// nil: members have the same.
	price func(m *member, now int64) float64
}

// samples is how many pairs are drawn before a group is scanned. With half of
// a group unfit, three pairs in four hold at least one fit member. Where
// fitness does not count, a pair of which neither is ready is drawn again too:
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
				m := p.better(a, b, i.Now, forced)
				if !forced || a.ready(i.Now) || b.ready(i.Now) {
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
	return p.better(a, b, i.Now, forced)
}

// better prefers a member whose breaker is half open, whatever its price, as
// long as none waits for its answer: only trials can close the breaker again,
// and one that hangs is not helped by a second.
//
// The difference of calls in flight is a fact, and of two members with
// different numbers the one where price ÷ weight is less is chosen. Between
// equal numbers, which at light load is every pair, weights and odds decide: a
// difference of prices is an estimate from a few calls, and a member that has
// had bad luck must not be starved until the others have had it too.
func (p *p2c) better(a, b *member, now int64, forced bool) *member {
	switch {
	case !forced && a.onTrial():
		return a
	case !forced && b.onTrial():
		return b
	}
	x, m := p.quote(a, now)
	y, n := p.quote(b, now)
	u, v := a.pull(now, &p.slow), b.pull(now, &p.slow)
	if m != n {
		if y*u < x*v {
			return b
		}
		return a
	}
	switch {
	case y < x:
		v *= p.trust(x, y, v*a.weight < mostlyGrown*u*b.weight)
	case x < y:
		u *= p.trust(y, x, u*b.weight < mostlyGrown*v*a.weight)
	case u == v:
		return a
	}
	if math.IsInf(v, 1) || rand.Float64()*(u+v) < v {
		return b
	}
	return a
}

// mostlyGrown is what part of another's pull a member has that is about as old.
const mostlyGrown = 0.75

// trust is the odds of the cheaper. One that is younger than the other is cheap
// because it has nothing to do yet: four times as cheap says nothing, and would
// undo its slow start.
func (p *p2c) trust(dear, cheap float64, younger bool) float64 {
	if younger {
		return max(1, p.odds(dear, 4*cheap))
	}
	return p.odds(dear, cheap)
}

// onTrial is asked of a member whose breaker is ready.
func (m *member) onTrial() bool {
	return m.state.Breaker.State() != breaker.Closed && m.state.Load.Waiting() == 0
}

// pull is m's weight among two, which grows through its slow start: of an
// equal that has all its weight, a member with a part f of its own takes f/2 of
// the calls. It is not drawn less often: the choice between the two would
// otherwise often be none, and who cannot be turned down can be stuck.
func (m *member) pull(now int64, s *slowStart) float64 {
	if m.warm <= now {
		return m.weight
	}
	f := s.factor(m, now)
	return m.weight * f / (2 - f)
}
