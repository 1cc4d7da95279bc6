package balancer

// newLeastRequest chooses by attempts in flight: the one to be added included,
// so that of two idle endpoints the heavier is preferred, and divided by weight
// (envoy.config.cluster.v3.Cluster.LbPolicy LEAST_REQUEST, with two choices).
func newLeastRequest(groups []group, _ func() int64) Picker {
	return &p2c{groups: groups, cost: func(m *member, _ int64) float64 {
		return float64(m.state.Load.InFlight()+1) * m.inverse
	}}
}
