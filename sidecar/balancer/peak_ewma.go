package balancer

import "math/rand/v2"

// newPeakEWMA chooses by endpoint.Load's price and its calls in flight. The
// difference of calls is a fact, and of two endpoints with different numbers
// the one where price × calls ÷ weight is less is chosen. The difference of
// prices is an estimate from a few calls: of two endpoints with equal numbers,
// which at light load is every pair, each is chosen in proportion to its
// weight and to what odds gives. So an endpoint that has had bad luck is not
// starved until the others have had it too.
func newPeakEWMA(cfg *Config, g group) chooser {
	return &p2c{group: g, slow: cfg.SlowStart, prefer: func(a, b *member, now int64) bool {
		x, m := a.state.Load.Quote(now)
		y, n := b.state.Load.Quote(now)
		switch {
		case m != n:
			return y*b.inverse < x*a.inverse
		case y < x:
			return rand.Float64() < share(odds(x, y)*b.weight, a.weight)
		case x < y:
			return rand.Float64() > share(odds(y, x)*a.weight, b.weight)
		}
		return rand.Float64() < share(b.weight, a.weight)
	}}
}

// odds of the cheaper of two: as their prices up to twice, where it may well be
// chance, and beyond that as the fifth power: three times as slow is one call
// in 16, ten times as slow one in 6,000.
func odds(dear, cheap float64) float64 {
	r := dear / cheap // cheap may be 0
	if r > 2 {
		r *= r * r * r * r / 16
	}
	return r
}

// share is x of x+y, where x may be infinite.
func share(x, y float64) float64 { return 1 / (1 + y/x) }
