package telemetry

import (
	"fmt"
	"slices"
	"time"
)

// maxEvents is how many events of a service are kept, the newest: so many that
// were noted, and so many that reports let see, so that a breaker which opens
// and closes does not push out when the service was scaled.
const maxEvents = 256

// A ring is the newest events.
type ring struct {
	events []Event
	oldest int // once it is full
}

func (r *ring) add(e Event) {
	if len(r.events) < maxEvents {
		r.events = append(r.events, e)
		return
	}
	r.events[r.oldest] = e
	r.oldest = (r.oldest + 1) % maxEvents
}

// maxEventText bounds an event's text and instance, in bytes.
const maxEventText = 1024

// Note keeps an event of a service. One of a service that does not fit is
// forgotten, and counted as that service is.
func (s *Store) Note(e Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Clock()
	s.advance(slotOf(now))
	if svc := s.service(e.Service); svc != nil {
		svc.lastSeen = s.cur
		svc.note(e, now)
	}
}

func (s *service) note(e Event, now time.Time) {
	if e.Time.IsZero() {
		e.Time = now.UTC()
	}
	e.Service = s.id
	e.Text, e.Instance = clip(e.Text, maxEventText), clip(e.Instance, maxEventText)
	switch e.Kind {
	case EventBreakerOpen, EventBreakerClosed, EventEjected:
		s.seen.add(e)
	default:
		s.noted.add(e)
	}
}

// Events implements Reader: what was
// noted, and what reports let see; of a service the 256 newest of either.
func (s *Store) Events(id Service, span Span) []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Clock()
	s.advance(slotOf(now))
	out := []Event{}
	svc := s.services[id]
	if svc == nil {
		return out
	}
	from, to := span.ends(now)
	for _, r := range []*ring{&svc.noted, &svc.seen} {
		for i := range r.events {
			e := r.events[(r.oldest+i)%len(r.events)]
			if !e.Time.Before(from) && (span.To.IsZero() || e.Time.Before(to)) {
				out = append(out, e)
			}
		}
	}
	slices.SortStableFunc(out, func(a, b Event) int { return a.Time.Compare(b.Time) })
	return out
}

// notice makes events of what gauges and counters did since the last tick.
// Needs s.mu.
func (s *Store) notice(svc *service) {
	now := s.cfg.Clock()
	switch open := svc.now.openBreakers; {
	case open > svc.open:
		svc.note(Event{Kind: EventBreakerOpen, Text: fmt.Sprintf("%v circuit breakers are open or half open, over all callers; %v were", open, svc.open)}, now)
	case open == 0 && svc.open > 0:
		svc.note(Event{Kind: EventBreakerClosed, Text: "all circuit breakers are closed"}, now)
	}
	svc.open = svc.now.openBreakers
	for i, n := range svc.ejected {
		if n > 0 {
			text := fmt.Sprintf("callers ejected an endpoint %v times: %s", n, rules[i])
			if n == 1 {
				text = "a caller ejected an endpoint: " + rules[i]
			}
			svc.note(Event{Kind: EventEjected, Text: text}, now)
		}
	}
	clear(svc.ejected[:])
}
