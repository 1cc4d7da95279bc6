package balancer

import "math/rand/v2"

// newPeakEWMA chooses by endpoint.Load's price and its calls in flight. The
// difference of calls is a fact, and of two endpoints with different numbers
// the one where price × calls ÷ weight is less is chosen. The difference of
// prices is an estimate from a few calls: of two endpoints with equal numbers,
// which at light load is every pair, each is chosen in proportion to weight ÷
// price². Twice as slow is a fifth of the calls, ten times as slow is one in a
// hundred, and an endpoint that has had bad luck is not starved until the
// others have had it too.
func newPeakEWMA(cfg *Config, g group) chooser {
	return &p2c{group: g, slow: cfg.SlowStart, prefer: func(a, b *member, now int64) bool {
		x, m := a.state.Load.Quote(now)
		y, n := b.state.Load.Quote(now)
		if m != n {
			return y*b.inverse < x*a.inverse
		}
		x, y = x*x*b.weight, y*y*a.weight
		return x != y && rand.Float64()*(x+y) < x
	}}
}
