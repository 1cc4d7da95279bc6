package telemetry

import (
	"cmp"
	"math"
	"time"
)

// A Demand is what one caller has lately wanted of a service, served or not.
type Demand struct {
	Rate     float64 // calls begun or refused, a second
	InFlight float64 // calls at once
}

// A demand follows one: up within a second, so that a caller which needs more
// is soon heard, down within several, so that a pause is not held against it.
const (
	demandRise = time.Second
	demandFall = 2 * time.Second
)

// leastSpan is the shortest time that says something of a rate.
const leastSpan = int64(200 * time.Millisecond)

// demand is what a reporter's words on one service add up to. Guarded by
// Store.mu.
type demand struct {
	touched bool  // by the report that is being read
	since   int64 // what is counted below is of the time since; 0: nothing is yet
	seen    int64 // when the last report came
	spoken  bool  // Demand holds something

	ended       float64 // calls, refused ones among them
	overRate    float64 // of these, refused by a limit of the rate
	overAtOnce  float64 // of these, refused by a limit of calls at once
	seconds     float64 // how long they lasted together
	active, was float64 // in flight now, and at since

	Demand
}

// What sidecars put into error.type when a limit of theirs refused a call.
const (
	refusedByRate   = "rate_limited"
	refusedByAtOnce = "connection_limit_reached"
)

// demandOf is where a reporter's words on a service are noted; nil unless that
// is followed. Needs s.mu.
func (s *Store) demandOf(r *reporter, p *port) *demand {
	if !p.followed {
		return nil
	}
	d := r.demands[p]
	if d == nil {
		if r.demands == nil {
			r.demands = map[*port]*demand{}
		}
		d = &demand{}
		r.demands[p] = d
	}
	d.touched = true
	return d
}

// calls notes n calls that ended after so many seconds in all.
func (d *demand) calls(errorType string, n, seconds float64) {
	d.ended += n
	if seconds > 0 && seconds <= maxValue {
		d.seconds += seconds
	}
	switch errorType {
	case refusedByRate:
		d.overRate += n
	case refusedByAtOnce:
		d.overAtOnce += n
	}
}

// settle takes what a report that came now has said into account.
func (d *demand) settle(now int64) {
	if !d.touched {
		return
	}
	d.touched, d.seen = false, now
	span := now - d.since
	if d.since != 0 && span < leastSpan {
		return // what comes next counts with it
	}
	if d.since != 0 {
		t := float64(span) / float64(time.Second)
		begun := max(0, d.ended+d.active-d.was)
		d.follow(&d.Rate, begun/t, t)
		d.follow(&d.InFlight, d.atOnce(begun, t), t)
		d.spoken = true
	}
	*d = demand{since: now, seen: now, spoken: d.spoken, active: d.active, was: d.active, Demand: d.Demand}
}

// atOnce is how many calls were in flight, or would have been without refusals:
// by Little's law the mean, but what is in flight now if that is more. The time
// of calls counts where they end, so that a long one would count for many; they
// cannot have been more than there were.
func (d *demand) atOnce(begun, t float64) float64 {
	n := max(d.active, min(d.seconds/t, d.was+begun))
	if d.overAtOnce == 0 {
		return n
	}
	served := max(d.ended-d.overAtOnce-d.overRate, 1)
	return max(n, 1) * (served + d.overAtOnce) / served
}

func (d *demand) follow(estimate *float64, v, t float64) {
	if !d.spoken {
		*estimate = v
		return
	}
	tau := demandFall
	if v > *estimate {
		tau = demandRise
	}
	*estimate += (v - *estimate) * (1 - math.Exp(-t/tau.Seconds()))
}

// Follow says of which services Demands is asked, by the attribute
// meshd.service; of others nothing is kept by caller.
func (s *Store) Follow(services []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.followed = make(map[string]struct{}, len(services))
	for _, name := range services {
		s.followed[name] = struct{}{}
	}
	for text, p := range s.ports {
		_, p.followed = s.followed[text]
	}
	for _, r := range s.reporters {
		for p := range r.demands {
			if !p.followed {
				delete(r.demands, p)
			}
		}
	}
}

// Demands are those of the callers of a followed service that have reported
// within 3 s, by node.id (SERVICE.NAMESPACE/INSTANCE). A caller has one after
// the second report that mentions the service.
func (s *Store) Demands(service string) map[string]Demand {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Clock().UnixNano()
	all := map[string]Demand{}
	p := s.ports[service]
	if p == nil {
		return all
	}
	for key, r := range s.reporters {
		if d := r.demands[p]; d != nil && d.spoken && now-d.seen <= int64(staleAfter) {
			all[key.name+"."+cmp.Or(key.namespace, "default")+"/"+key.instance] = d.Demand
		}
	}
	return all
}
