// Package health finds out which endpoints of a cluster are not well: by asking
// them (active checks, checker.go) and by comparing what came of their calls
// (outlier ejection, outliers.go). Both write the endpoints' standing and
// nothing else; who chooses reads it there.
// docs/design/007-health.md says why.
package health

import (
	"context"
	"net"
	"sync"

	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

// Config is what a Monitor is made of. Now and Dial are needed.
type Config struct {
	// Now is the engine's clock, in ns: that of endpoint.State.Available.
	Now func() int64
	// Dial makes the connections of checks; net.Dialer.DialContext, with the
	// sidecar's mark.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Active reports whether calls of the cluster are under way, or wait for an
	// endpoint; NoTrafficInterval goes by it. It must not call the Monitor. Where
	// it is nil or says no, attempts since the last look count.
	Active func(cluster string) bool
	// Event is told what changes, by a goroutine of the cluster: it may log, but
	// must not call the Monitor or wait for who does. nil: nobody is told.
	Event func(Event)
	// Concurrency bounds the checks under way at once in a cluster; 0: 16.
	Concurrency int
}

const defaultConcurrency = 16

// A Monitor looks after the endpoints of all clusters. Its methods may be
// called from any goroutine. A cluster that wants neither checks nor ejection
// has no goroutine.
type Monitor struct {
	cfg Config

	mu       sync.Mutex
	closed   bool
	clusters map[string]*cluster
}

// A cluster is what is done for one.
type cluster struct {
	counters *counters
	checker  *checker
	outliers *outliers
}

// New makes a Monitor that looks after nothing yet.
func New(cfg Config) *Monitor {
	if cfg.Active == nil {
		cfg.Active = func(string) bool { return false }
	}
	if cfg.Event == nil {
		cfg.Event = func(Event) {}
	}
	if cfg.Concurrency <= 0 {
		cfg.Concurrency = defaultConcurrency
	}
	return &Monitor{cfg: cfg, clusters: map[string]*cluster{}}
}

// Update says how a cluster is configured and which endpoints it has, after
// any change of either. Endpoints whose address stays keep their verdict, their
// ejection and its count, even in a new State. Update does not wait for checks
// but those that a change of Check makes void: these are canceled.
func (m *Monitor) Update(res resource.Cluster, set *endpoint.Set) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	c := m.clusters[res.Name]
	if c == nil {
		if res.Check.Kind == resource.HealthCheckNone && res.Outlier.Disabled {
			return
		}
		c = &cluster{counters: &counters{}}
		m.clusters[res.Name] = c
	}
	c.check(m.cfg, &res, set.Endpoints())
	c.compare(m.cfg, &res, set.Endpoints())
}

func (c *cluster) check(cfg Config, res *resource.Cluster, endpoints []*endpoint.Endpoint) {
	if c.checker != nil && !sameCheck(&c.checker.check, &res.Check) {
		c.checker.stop()
		c.checker = nil
	}
	switch {
	case c.checker != nil:
		c.checker.update(endpoints)
	case res.Check.Kind == resource.HealthCheckNone:
		for _, e := range endpoints {
			e.SetVerdict(endpoint.Unchecked)
		}
	default:
		c.checker = startChecker(cfg, res.Name, res.Check, c.counters, endpoints, newProbe)
	}
}

func (c *cluster) compare(cfg Config, res *resource.Cluster, endpoints []*endpoint.Endpoint) {
	rules := res.Outlier
	if b := &res.Breaker; !b.Disabled && b.ConsecutiveFailures > 0 && rules.Consecutive >= b.ConsecutiveFailures {
		// The breaker opens as soon, and finds out in seconds whether the
		// endpoint is back; an ejection would keep its trials away.
		rules.Consecutive = 0
	}
	switch {
	case res.Outlier.Disabled && c.outliers != nil:
		c.outliers.stop()
		c.outliers = nil
	case res.Outlier.Disabled:
	case c.outliers == nil:
		c.outliers = startOutliers(cfg, res.Name, rules, c.counters, endpoints)
	default:
		c.outliers.update(rules, endpoints)
	}
}

// Remove ends what is done for a cluster, and waits for it.
func (m *Monitor) Remove(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.clusters[name]; c != nil {
		c.stop()
		delete(m.clusters, name)
	}
}

// Close ends everything, and waits for it.
func (m *Monitor) Close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	for _, c := range m.clusters {
		c.stop()
	}
	clear(m.clusters)
}

func (c *cluster) stop() {
	if c.checker != nil {
		c.checker.stop()
	}
	if c.outliers != nil {
		c.outliers.stop()
	}
}

// Stats is what has been counted of a cluster; zero if nothing is done for it.
func (m *Monitor) Stats(name string) Stats {
	m.mu.Lock()
	defer m.mu.Unlock()
	if c := m.clusters[name]; c != nil {
		return c.counters.snapshot()
	}
	return Stats{}
}
