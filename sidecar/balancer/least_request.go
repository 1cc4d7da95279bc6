package balancer

// newLeastRequest chooses by attempts in flight, the one to be added included,
// divided by weight (envoy.config.cluster.v3.Cluster.LbPolicy LEAST_REQUEST,
// with two choices). Of two members with as many, each is chosen in proportion
// to its weight.
func newLeastRequest(cfg *Config, g group) chooser {
	return &p2c{
		group: g, slow: slowStartOf(cfg, g),
		quote: func(m *member, now int64) (float64, int64) {
			n := int64(m.state.Load.Asked(now))
			return float64(n + 1), n
		},
		odds: func(_, _ float64) float64 { return 1 }, // never asked: equal numbers are equal prices
	}
}
