// Package stats holds what a sidecar counts: calls, their latency, retries,
// connections. Recording is a handful of atomic additions, without locks and
// without allocation; names and attributes appear only when somebody reads:
// as an OpenTelemetry metric.Producer, as a JSON snapshot, or as Prometheus
// text. Names and attributes are those of docs/reference/wire.md.
package stats

import (
	"sync"
	"sync/atomic"
	"time"
)

// maxServices bounds the services that a registry tells apart, on each side;
// further ones count as Other.
const maxServices = 1000

// A Registry holds everything that one sidecar counts. Its methods may be
// called from any goroutine; the counters in it are used without its lock.
type Registry struct {
	// Downstream and Upstream count open connections, accepted and dialled.
	Downstream, Upstream Gauge
	// Panics counts goroutines that were caught panicking.
	Panics Counter
	// Malformed counts requests refused because they could not be parsed.
	Malformed Counter
	// Passthrough counts connections and calls to what the mesh does not know.
	Passthrough Counter

	refused [errorTypes]Counter
	figures atomic.Pointer[func() []Figure]

	start time.Time
	now   func() time.Time

	mu      sync.Mutex // guards the two maps' structure, not what is counted
	clients services
	servers services
}

type services struct {
	oneRoute bool
	byName   map[string]*Service
	order    []*Service
}

// NewRegistry returns an empty registry. Cumulative sums start now.
func NewRegistry() *Registry {
	return &Registry{
		start:   time.Now(),
		now:     time.Now,
		clients: services{byName: map[string]*Service{}},
		servers: services{oneRoute: true, byName: map[string]*Service{}},
	}
}

// Client returns the counters of calls made to a service, named such as
// "default/checkout:8080": the same for the same name. It is meant for the
// time when configuration is built, not for every call.
func (r *Registry) Client(service string) *Service {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.clients.get(service)
}

// Server returns the counters of calls received for a service, like Client.
func (r *Registry) Server(service string) *Service {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.servers.get(service)
}

// ForgetClient drops the counters of a service that is no longer called, so
// that it is neither exported nor counted against the bound. Calls in flight
// may go on recording into them.
func (r *Registry) ForgetClient(service string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.clients.byName[service]
	if s == nil {
		return
	}
	delete(r.clients.byName, service)
	kept := make([]*Service, 0, len(r.clients.order))
	for _, other := range r.clients.order {
		if other != s {
			kept = append(kept, other)
		}
	}
	r.clients.order = kept // a new slice: snapshots read the old one unlocked
}

func (s *services) get(name string) *Service {
	if found := s.byName[name]; found != nil {
		return found
	}
	if len(s.order) >= maxServices {
		name = Other
		if found := s.byName[name]; found != nil {
			return found
		}
	}
	made := newService(name, s.oneRoute)
	s.byName[name] = made
	s.order = append(s.order, made)
	return made
}
