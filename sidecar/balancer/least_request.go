package balancer

// newLeastRequest chooses by attempts in flight: the one to be added included,
// so that of two idle endpoints the heavier is preferred, and divided by weight
// (envoy.config.cluster.v3.Cluster.LbPolicy LEAST_REQUEST, with two choices).
func newLeastRequest(cfg *Config, g group) chooser {
	return &p2c{group: g, slow: cfg.SlowStart, prefer: func(a, b *member, _ int64) bool {
		return float64(b.state.Load.InFlight()+1)*b.inverse < float64(a.state.Load.InFlight()+1)*a.inverse
	}}
}
