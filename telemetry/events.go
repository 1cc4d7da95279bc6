package telemetry

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
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

// maxNamed is how many instances of a service have events of their own in a
// second, of each kind: more share one that names the first of them.
const maxNamed = 4

// notice makes events of what gauges and counters did since the last tick.
// Needs s.mu.
func (s *Store) notice(svc *service) {
	now := s.cfg.Clock()
	named := svc.noticeBreakers(s.cur, now)
	switch open := svc.now.openBreakers; {
	case named: // it is said of which
	case open > svc.open:
		svc.note(Event{Kind: EventBreakerOpen, Text: fmt.Sprintf("%v circuit breakers are open or half open, over all callers; %v were", open, svc.open)}, now)
	case open == 0 && svc.open > 0:
		svc.note(Event{Kind: EventBreakerClosed, Text: "all circuit breakers are closed"}, now)
	}
	svc.open = svc.now.openBreakers
	svc.noticeEjections(now)
}

// noteNamed notes events of instances, which are a person's to read even where
// a whole service fails at once.
func (s *service) noteNamed(events []Event, what string, now time.Time) {
	slices.SortFunc(events, func(a, b Event) int { return cmp.Compare(a.Instance, b.Instance) })
	if len(events) <= maxNamed {
		for _, e := range events {
			s.note(e, now)
		}
		return
	}
	var names []string
	for _, e := range events[:maxNamed] {
		names = append(names, e.Instance)
	}
	s.note(Event{Kind: events[0].Kind, Text: fmt.Sprintf("%s %d instances: %s and %d more", what, len(events), strings.Join(names, ", "), len(events)-maxNamed)}, now)
}

// breakers are those of an instance's callers.
type breakers struct {
	open  int    // how many callers have one that is open or half open
	told  int    // of the last event; 0: all are closed
	fresh string // a caller whose breaker was not open at the last tick
	trip  uint8  // why it opened, of trips
}

func (b *breakers) begin() { b.open, b.fresh = 0, "" }

// lull is how long a reporter that says nothing more of an open breaker may go
// on reporting: it is closed, unless that was but half of a report.
const lull = step * 3 / 2

// leaves is after how many slots without a word on it an instance with open
// breakers has left: one whose breaker closes is called, and has another weight.
const leaves = 3

// countBreaker counts a caller's open breaker to its endpoint. A series that
// is not told any more is one of a breaker that has closed, or of an endpoint
// that has left.
func (sr *series) countBreaker(r *reporter, now int64) {
	was := sr.open
	sr.open = sr.value > 0 && r.seen-sr.told.seen < int64(lull) && now-r.seen <= int64(staleAfter)
	if !sr.open || sr.inst == nil {
		return
	}
	b := &sr.inst.breakers
	b.open++
	if !was && (b.fresh == "" || r.key.instance < b.fresh) {
		b.fresh, b.trip = r.key.instance, sr.word
	}
}

// noticeBreakers makes events of the instances whose callers' breakers have
// opened, or have all closed: of those that opened at the first, and whenever
// there are twice as many. It reports whether there is any that is open, or was.
func (s *service) noticeBreakers(cur int64, now time.Time) (named bool) {
	var opened, closed []Event
	for _, in := range s.instances {
		b := &in.breakers
		named = named || b.open+b.told > 0
		switch {
		case b.fresh != "" && b.open >= 2*b.told:
			text := fmt.Sprintf("%s: %s's circuit breaker is open", in.id, clip(b.fresh, 64))
			if b.open > 1 {
				text = fmt.Sprintf("%s: circuit breakers of %d callers are open, %s's among them", in.id, b.open, clip(b.fresh, 64))
			}
			if why := trips[b.trip]; why != "" {
				text += ": " + why
			}
			b.told = b.open
			opened = append(opened, Event{Kind: EventBreakerOpen, Instance: in.id, Text: text})
		case b.open == 0 && b.told > 0:
			text := in.id + ": all callers' circuit breakers are closed"
			if cur-in.named >= leaves {
				text = in.id + " has left, and circuit breakers with it"
			}
			b.told = 0
			closed = append(closed, Event{Kind: EventBreakerClosed, Instance: in.id, Text: text})
		}
	}
	s.noteNamed(opened, "circuit breakers have opened to", now)
	s.noteNamed(closed, "circuit breakers have closed to", now)
	return named
}

// An out is an endpoint that a caller has ejected.
type out struct {
	instance, caller string
	rule             uint8
	callers          int
}

// maxOuts bounds the endpoints and rules that are told apart in a second.
const maxOuts = 64

// eject notes that a caller has ejected an endpoint.
func (s *service) eject(sr *series, caller string) {
	if sr.inst == nil {
		return
	}
	at := slices.IndexFunc(s.outs, func(o out) bool { return o.instance == sr.inst.id && o.rule == sr.word })
	switch {
	case at >= 0:
		s.outs[at].callers++
	case len(s.outs) < maxOuts:
		s.outs = append(s.outs, out{sr.inst.id, caller, sr.word, 1})
	}
}

// noticeEjections makes events of them; of those that only sums tell, by rule.
func (s *service) noticeEjections(now time.Time) {
	var events []Event
	for _, o := range s.outs {
		s.ejected[o.rule] = 0 // it is said of which
		text := fmt.Sprintf("%s is ejected by %s: %s", o.instance, clip(o.caller, 64), rules[o.rule])
		if o.callers > 1 {
			text = fmt.Sprintf("%s is ejected by %d callers, %s among them: %s", o.instance, o.callers, clip(o.caller, 64), rules[o.rule])
		}
		events = append(events, Event{Kind: EventEjected, Instance: o.instance, Text: text})
	}
	s.noteNamed(events, "callers ejected", now)
	s.outs = s.outs[:0]
	for i, n := range s.ejected {
		if n > 0 {
			text := fmt.Sprintf("callers ejected an endpoint %v times: %s", n, rules[i])
			if n == 1 {
				text = "a caller ejected an endpoint: " + rules[i]
			}
			s.note(Event{Kind: EventEjected, Text: text}, now)
		}
	}
	clear(s.ejected[:])
}
