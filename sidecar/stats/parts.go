package stats

import "time"

// A Part is what a part of calls' time went to, beside the answer itself.
type Part uint8

// The parts: of calls that go out the first three, of those that come in the
// others.
const (
	PartHeld       Part = iota // waited for an endpoint, or for leave to go
	PartConnect                // waited for a connection
	PartRetried                // attempts that came to nothing, and the time between them
	PartQueued                 // waited before the application
	PartDownstream             // the application's own calls for this one were under way
	Parts
)

var partNames = [Parts]string{"held", "connect", "retried", "queued", "downstream"}

func (p Part) String() string { return partNames[p] }

// Spent counts time of a call that went to a part. It may be called from any goroutine.
func (s *Service) Spent(p Part, d time.Duration) { s.parts[p].Add(int64(d)) }

// What is counted so; the rest of the calls' durations is the answer's, or the
// application's own.
var (
	ClientTime = &Metric{
		Name: "meshd.client.call.time", Unit: "s", Counter: true, Attribute: "meshd.call.part",
		Help: "Time of calls that went to something else than the answer, in all: held, connect, retried.",
	}
	ServerTime = &Metric{
		Name: "meshd.server.call.time", Unit: "s", Counter: true, Attribute: "meshd.call.part",
		Help: "Time of calls that went to something else than the application's own work, in all: queued, downstream.",
	}
)

// metric is what counts a part.
func (p Part) metric() *Metric {
	if p < PartQueued {
		return ClientTime
	}
	return ServerTime
}

func (s *Service) partFigures() (out []Figure) {
	for i := range s.parts {
		if ns := s.parts[i].Load(); ns > 0 {
			p := Part(i)
			out = append(out, Figure{Metric: p.metric(), Value: time.Duration(ns).Seconds(), Word: p.String()})
		}
	}
	return out
}
