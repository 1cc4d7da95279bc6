package sidecar

import (
	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/health"
	"github.com/meshd/meshd/xds/resource"
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
			"instance", e.Endpoint.ID, "rule", e.Rule.String(), "cause", e.Cause, "for", e.For,
			"next", "see the instance; meshctl why --last-error SERVICE says what calls met")
		return
	}
	s.log.Info("an endpoint takes calls again", "cluster", e.Cluster, "endpoint", e.Endpoint.Address,
		"instance", e.Endpoint.ID, "rule", e.Rule.String())
}

// limit gives a route its bucket, with mu held: one for each route, by whatever
// name its service is called, and one for all routes of a service where the
// limit is shared with other clients.
func (s *snapshot) limit(r *call.Route) {
	l := r.RateLimit
	if l.PerSecond <= 0 {
		return
	}
	name := "route " + r.Name
	if l.Shared {
		name = "service " + r.Route.Service
	}
	b := s.buckets[name]
	if b == nil {
		b = breaker.NewBucket(l.PerSecond, l.Burst)
		s.buckets[name] = b
	} else {
		b.Set(l.PerSecond, l.Burst)
	}
	r.Bucket = b
	if rate, ok := s.shares.Rates[r.Route.Service]; ok {
		r.ShareRate(rate)
	}
}

// onShares puts this client's parts of limits in force that all callers of a
// service keep together. One that is not divided holds as it is for each.
func (s *snapshot) onShares(parts *resource.Shares) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.shares = *parts
	for name, c := range s.clusters {
		c.Share(uint32(parts.Requests[name]))
	}
	for _, k := range *s.hosts.Load() {
		for _, r := range k.Routes {
			if rate, ok := parts.Rates[r.Service.Name()]; ok {
				r.ShareRate(rate)
			}
		}
	}
}

// changed is call.Cluster.Changed. A sidecar follows its own service for its
// policy, and does not look after it: of M instances each would check M. An
// application that calls its own service has the breakers.
func (s *snapshot) changed(c resource.Cluster, set *endpoint.Set) {
	if c.Name != s.own {
		s.health.Update(c, set)
	}
}
