package telemetry

import "time"

// wide is the width of the slots of instances' distributions.
const wide = 10 * time.Second

// wideSteps is how many slots one of those has.
const wideSteps = int64(wide / step)

// instFigures are a second of an instance.
type instFigures struct {
	requests, failures float32 // as its own sidecar counts them
	attempts           float32 // as callers do
	active             float32
	weight             float32 // 1 more than the mean of its callers' weights; 0: none says one
}

// hotFigures are one that may still change.
type hotFigures struct {
	instFigures
	lost float32 // attempts that failed; kept for a minute only
}

// wideFigures go with a distribution.
type wideFigures struct{ requests float32 }

// An instance is one of a service, as its own sidecar and its callers know it.
// Guarded by Store.mu.
type instance struct {
	id, address string
	born        int64
	hot         [hotSlots]hotFigures
	history     track[instFigures]
	wide        track[wideFigures]
	pending     [2]pending // wide slot n is at n % 2
	last        int64      // newest slot in which anything was said of it
	named       int64      // newest slot in which a caller named it as an endpoint
	weights     []weight   // by caller
	breakers    breakers   // its callers'
	gone        bool       // forgotten: a series that still names it has to look again
	active      float32    // being summed up
	now         float32    // as of the last tick
}

// pending is a wide slot that may still change.
type pending struct {
	slot     int64
	requests float32
	latency  Histogram
}

func (in *instance) figures(n int64) *hotFigures { return &in.hot[n%hotSlots] }

// take adds n calls to the wide slot that slot belongs to, or to the oldest
// one that is not finished.
func (in *instance) take(slot int64, n float32, delta *buckets) {
	w := slot / wideSteps
	p := &in.pending[w%2]
	if p.slot > w {
		p = &in.pending[(w+1)%2]
	}
	p.requests += n
	p.latency.add(delta, 1)
}

// turn is service.turn's for an instance.
func (in *instance) turn(n int64) (grown int) {
	f := in.figures(n)
	if done := n - hotSlots; done >= in.born {
		grown = in.history.add(done, f.instFigures, nil)
	}
	*f = hotFigures{}
	// A wide slot is finished once reports have covered it.
	w := (n - settle) / wideSteps
	older, newer := &in.pending[0], &in.pending[1]
	if older.slot > newer.slot {
		older, newer = newer, older
	}
	for _, p := range []*pending{older, newer} {
		if p.slot < w {
			grown += in.wide.add(p.slot, wideFigures{p.requests}, &p.latency)
			p.requests = 0
			p.latency.reset()
			p.slot = w + (w-p.slot)%2 // where slot % 2 is the same
		}
	}
	return grown
}

// newInstance makes one that begins at slot cur.
func newInstance(id, address string, cur int64) *instance {
	in := &instance{id: id, address: address, born: cur - settle, last: cur}
	in.history.per, in.wide.per = perChunk, perChunk
	w := in.born / wideSteps
	in.pending[w%2].slot, in.pending[(w+1)%2].slot = w, w+1
	return in
}

// each calls do for the known seconds first..last, in order.
func (in *instance) each(first, last, cur int64, do func(n int64, f *instFigures)) {
	hot := max(cur-hotSlots+1, in.born)
	in.history.each(first, min(last, hot-1), func(n int64, f *instFigures, _ []byte) { do(n, f) })
	for n := max(first, hot); n <= min(last, cur); n++ {
		do(n, &in.figures(n).instFigures)
	}
}

// eachWide calls do for the wide slots that the seconds first..last touch.
func (in *instance) eachWide(first, last int64, do func(n int64, requests float32, l latencies)) {
	first, last = first/wideSteps, last/wideSteps
	in.wide.each(first, last, func(n int64, f *wideFigures, packed []byte) { do(n, f.requests, latencies{packed: packed}) })
	for n := first; n <= last; n++ {
		if p := &in.pending[n%2]; p.slot == n {
			do(n, p.requests, latencies{live: &p.latency})
		}
	}
}

// instance finds or makes an instance of a service; nil when there is no room.
// Needs s.mu.
func (s *Store) instance(svc *service, id, address string) *instance {
	in := svc.instances[id]
	if in == nil {
		if len(svc.instances) >= s.cfg.MaxEndpoints && !s.evict(svc) || s.nInstances >= s.cfg.MaxInstances && !s.evict(nil) {
			s.stats.OverflowEndpoints++
			svc.tryAgain = s.cur + 10
			return nil
		}
		in = newInstance(id, address, s.cur)
		in.history.sealer, in.wide.sealer = &s.sealer, &s.sealer
		svc.instances[id] = in
		s.nInstances++
	}
	if address != "" {
		in.address = address
	}
	in.last = s.cur
	return in
}

// evict forgets the instance that has been silent for longest, of a service
// or, with nil, of all; false if none has been for so long that no series can
// be of it any more. Needs s.mu.
func (s *Store) evict(svc *service) bool {
	if s.cur < s.noEvict {
		return false
	}
	var owner *service
	var oldest *instance
	look := func(svc *service) {
		for _, in := range svc.instances {
			if s.cur-in.last > int64(minRetention/step) && (oldest == nil || in.last < oldest.last) {
				owner, oldest = svc, in
			}
		}
	}
	if svc != nil {
		look(svc)
	} else {
		for _, svc := range s.services {
			look(svc)
		}
	}
	if oldest == nil {
		s.noEvict = s.cur + 1 // do not look again for each of a flood
		return false
	}
	s.dropInstance(owner, oldest)
	return true
}

func (s *Store) dropInstance(svc *service, in *instance) {
	s.historyBytes -= in.history.size() + in.wide.size()
	s.nInstances--
	in.gone = true
	for key, other := range svc.instances {
		if other == in {
			delete(svc.instances, key)
		}
	}
}

// name is the instance's id; empty where callers know an address only.
func (in *instance) name() string {
	if in.id == in.address {
		return ""
	}
	return in.id
}
