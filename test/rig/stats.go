package rig

import (
	"fmt"
	"strings"
)

// Stats is what a sidecar says on /stats, as far as tests look at it.
type Stats struct {
	Connections struct{ Downstream, Upstream int64 }
	Panics      uint64
	Passthrough uint64
	Client      []ServiceStats // calls that it made
	Server      []ServiceStats // calls that it took
}

// ServiceStats is one service's part.
type ServiceStats struct {
	Name         string
	Active       int64
	BreakersOpen int
	Retries      map[string]uint64
	Endpoints    []struct {
		ID, Address, Breaker         string
		Requests, Failures, InFlight int64
	}
	Series []Outcome
	TCP    struct { // connections that nobody looks into
		Connections uint64
		Active      int64
		Ended       []Outcome
	}
}

// An Outcome is how Count calls ended. GRPC is the name of a gRPC call's code.
type Outcome struct {
	Status int
	GRPC   string `json:"grpcStatus"`
	Error  string
	Count  uint64
}

// Sum is how many calls have ended, in all of these ways.
func Sum(all []Outcome) (n uint64) {
	for _, x := range all {
		n += x.Count
	}
	return n
}

// Of is a service's part of the calls made; empty if there were none.
func (s *Stats) Of(service string) ServiceStats {
	for _, svc := range s.Client {
		if svc.Name == service {
			return svc
		}
	}
	return ServiceStats{Name: service}
}

// String tells all, to people who look for the reason of a failure.
func (s *Stats) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "connections %+v, %d panics, %d passed through\n", s.Connections, s.Panics, s.Passthrough)
	for _, side := range [][]ServiceStats{s.Client, s.Server} {
		for _, svc := range side {
			fmt.Fprintf(&b, "%s: %d under way, %d breakers open, retries %v, endpoints %+v\n\tended:", svc.Name, svc.Active, svc.BreakersOpen, svc.Retries, svc.Endpoints)
			for _, x := range svc.Series {
				fmt.Fprintf(&b, " %d %s %s × %d;", x.Status, x.GRPC, x.Error, x.Count)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// Stats reads the sidecar's.
func (s *Sidecar) Stats() (Stats, error) {
	var out Stats
	err := s.Get("/stats", &out)
	return out, err
}
