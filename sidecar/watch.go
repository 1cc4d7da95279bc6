package sidecar

import (
	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/health"
)

// watchSelf asks for this instance's own service, whose policy says how calls
// are let in (resource.Admission). Nothing waits for the answer.
func (s *snapshot) watchSelf(authority string) {
	s.mu.Lock()
	s.self = authority
	s.mu.Unlock()
	s.ask(authority, func(*call.Authority) {})
}

// calling is health.Config.Active. It takes no lock: who holds mu may be
// waiting for who asks.
func (s *snapshot) calling(cluster string) bool {
	v, ok := s.byName.Load(cluster)
	if !ok {
		return false
	}
	c := v.(*call.Cluster)
	active, pending := c.InUse()
	return active+pending > 0 || c.Held().Waiting > 0
}

// healthEvent is health.Config.Event.
func (s *snapshot) healthEvent(e health.Event) {
	if e.Out {
		s.log.Warn("an endpoint takes no calls", "cluster", e.Cluster, "endpoint", e.Endpoint.Address,
			"instance", e.Endpoint.ID, "rule", e.Rule.String(), "for", e.For)
		return
	}
	s.log.Info("an endpoint takes calls again", "cluster", e.Cluster, "endpoint", e.Endpoint.Address,
		"instance", e.Endpoint.ID, "rule", e.Rule.String())
}
