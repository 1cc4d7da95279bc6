package balancer

// newPeakEWMA chooses by endpoint.Load's Cost, divided by weight.
func newPeakEWMA(groups []group, now func() int64) Picker {
	return &p2c{groups: groups, now: now, cost: func(m *member, now int64) float64 {
		return m.state.Load.Cost(now) * m.inverse
	}}
}
