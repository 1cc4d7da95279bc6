package stats

import "time"

// A TCP holds the counters of a service's connections whose bytes nobody looks
// at. Its methods may be called from any goroutine and never block.
type TCP struct {
	// Sent and Received are bytes, as the application that this sidecar belongs
	// to sees it; they grow while connections live.
	Sent, Received Counter

	begun  Counter
	active Gauge
	ended  Route
}

// TCP returns the service's counters of connections, which exist, and are
// exported, from the first time on that somebody asks.
func (s *Service) TCP() *TCP {
	if t := s.tcp.Load(); t != nil {
		return t
	}
	s.tcp.CompareAndSwap(nil, new(TCP))
	return s.tcp.Load()
}

// Busy reports whether a call to the service, or a connection, is under way.
func (s *Service) Busy() bool {
	t := s.tcp.Load()
	return s.Active.Value() > 0 || t != nil && t.active.Value() > 0
}

// Begin counts a connection, which End follows exactly once.
func (t *TCP) Begin() {
	t.begun.Inc()
	t.active.Inc()
}

// End counts how a connection ended, and how long it was.
func (t *TCP) End(errType ErrorType, lasted time.Duration) {
	t.ended.Record(0, errType, lasted)
	t.active.Dec()
}

// A TCPSnapshot is a service's connections.
type TCPSnapshot struct {
	Connections uint64   `json:"connections"` // begun so far
	Active      int64    `json:"active"`
	Sent        uint64   `json:"sentBytes"`
	Received    uint64   `json:"receivedBytes"`
	Ended       []Series `json:"ended,omitempty"` // by error; their latency is how long they were
}

func (t *TCP) snapshot() *TCPSnapshot {
	if t == nil {
		return nil
	}
	return &TCPSnapshot{
		Connections: t.begun.Value(), Active: t.active.Value(),
		Sent: t.Sent.Value(), Received: t.Received.Value(), Ended: t.ended.snapshot(),
	}
}

// Refuse counts a connection that was closed without an attempt on anything:
// beyond the sidecar's own bound, or to where it must not go.
func (r *Registry) Refuse(why ErrorType) { r.refused[why].Inc() }

func (r *Registry) refusals() map[string]uint64 {
	out := map[string]uint64{}
	for why := range r.refused {
		if n := r.refused[why].Value(); n > 0 {
			out[ErrorType(why).String()] = n
		}
	}
	return out
}
