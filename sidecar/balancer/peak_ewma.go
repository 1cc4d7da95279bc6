package balancer

// newPeakEWMA chooses by endpoint.Load's price, which has the calls in flight
// in it, divided by weight.
func newPeakEWMA(cfg *Config, g group) chooser {
	return &p2c{
		group: g, slow: slowStartOf(cfg, g),
		quote: func(m *member, now int64) (float64, int64) { return m.state.Load.Quote(now) },
		odds:  odds,
		price: func(m *member, now int64) float64 { return m.state.Load.Price(now) },
	}
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
