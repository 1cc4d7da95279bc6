package telemetry

import (
	"cmp"
	"fmt"
	"unicode/utf8"
)

// take adds one data point of a reporter. Needs s.mu.
func (s *Store) take(r *reporter, knew bool, k kind, p *point, now int64) error {
	if err := p.check(); err != nil {
		if a, _ := p.attributes(); a.service == "" && k.anybodys() {
			return nil
		}
		s.stats.Invalid++
		return err
	}
	if k == endpointWeight {
		return s.takeWeight(r, p)
	}
	sr := r.find(p.key)
	isNew := sr == nil
	if isNew {
		fresh, edge, err := s.newSeries(r, k, p)
		if err != nil {
			r.partial = true
			return err
		}
		if fresh.port == nil {
			return nil // of no service
		}
		sr = r.add(fresh, lastHistogram{edge: edge})
		s.nSeries++
	}
	from, reset, ok, drop := sr.span(r, p, now, isNew, knew)
	if drop {
		s.stats.OutOfOrder++
		return nil
	}
	s.stats.Points++
	if err := s.look(r, sr); err != nil {
		return err
	}
	svc := sr.port.service
	svc.lastSeen = s.cur
	if sr.inst != nil {
		sr.inst.last = s.cur
		if k == endpointRequests || k == endpointFailures {
			sr.inst.named = s.cur
		}
	} else if k.ofInstance() && s.cur >= svc.tryAgain {
		s.house(r, sr, p)
	}
	sr.told = r.tell(p, now)
	switch {
	case k.isHistogram():
		return s.takeHistogram(r, sr, p, from, now, reset, ok)
	case k.isGauge():
		sr.value = p.value
		if k == clientActive {
			if d := s.demandOf(r, sr.port); d != nil {
				d.active = p.value
			}
		}
	default:
		delta := p.value
		if !reset && p.value >= sr.value {
			delta -= sr.value
		}
		sr.value = p.value
		switch {
		case !ok || delta <= 0:
		case k == endpointEjections:
			sr.port.service.eject(sr, r.key.instance)
		default:
			s.addCount(sr, float32(delta), from, now)
		}
	}
	return nil
}

// newSeries makes a series of a point's attributes, if there is room for it.
// It has no port where the calls are no service's, and an edge where it is a
// client's. Needs s.mu.
func (s *Store) newSeries(r *reporter, k kind, p *point) (sr series, e *edge, err error) {
	a, err := p.attributes()
	if err != nil {
		s.stats.Invalid++
		return sr, nil, err
	}
	if noService(a.service) || a.service == "" && k.anybodys() {
		return sr, nil, nil
	}
	word, err := k.word(a.word)
	if err != nil {
		s.stats.Invalid++
		return sr, nil, err
	}
	if s.nSeries >= s.cfg.MaxSeries {
		s.stats.OverflowSeries++
		return sr, nil, fmt.Errorf("meshd keeps at most %d series", s.cfg.MaxSeries)
	}
	port, err := s.port(a.service)
	if err != nil {
		return sr, nil, err
	}
	sr = series{key: p.key, kind: k, failed: a.failed(), word: uint8(word), port: port, told: never}
	if k == clientDuration {
		e = s.edge(r.key, port.service.id)
	}
	s.instanceOf(r, &sr, a)
	return sr, e, nil
}

// instanceOf finds the instance that the series is of. Needs s.mu.
func (s *Store) instanceOf(r *reporter, sr *series, a attributes) {
	switch sr.kind {
	case serverDuration, serverActive:
		if utf8.ValidString(r.key.instance) {
			sr.inst = s.instance(sr.port.service, r.key.instance, "")
		}
	case endpointRequests, endpointFailures, endpointBreaker, endpointEjections:
		if key := cmp.Or(a.id, a.address); key != "" {
			sr.inst = s.instance(sr.port.service, key, a.address)
		}
	}
}

// look finds again what a series is of and what was forgotten while the series
// was silent. Needs s.mu.
func (s *Store) look(r *reporter, sr *series) error {
	if sr.port.gone {
		p, err := s.port(sr.port.text)
		if err != nil {
			return err
		}
		sr.port = p
	}
	if sr.inst != nil && sr.inst.gone {
		sr.inst = nil // take looks for it
	}
	if h := r.histogram(sr); h != nil && h.edge != nil && h.edge.gone {
		h.edge = s.edge(r.key, sr.port.service.id)
	}
	return nil
}

// house tries again to find room for a series' instance. Needs s.mu.
func (s *Store) house(r *reporter, sr *series, p *point) {
	if a, err := p.attributes(); err == nil {
		s.instanceOf(r, sr, a)
	}
}

// takeHistogram keeps the point as the last value and adds what is new in it.
// Needs s.mu.
func (s *Store) takeHistogram(r *reporter, sr *series, p *point, from, now int64, reset, ok bool) error {
	h := r.histogram(sr)
	if sr.kind == clientDuration {
		sr.port.service.sawClient(s.cur)
		if h.edge != nil {
			h.edge.last = s.cur
		}
	}
	if h.lost {
		ok, reset = p.delta, true
	}
	before := sr.value
	sr.value = p.seconds
	if reset || p.seconds < before {
		before = 0
	}
	seconds := p.seconds - before
	if !reset && p.count != 0 && p.count == h.count {
		return nil // nothing new, as for most series most of the time
	}
	h.count = p.count
	s.scratch.set(p.scale, p.zero, p.offset, p.counts)
	s.delta.copy(&s.scratch)
	if ok && !reset {
		s.last.unpack(h.packed)
		s.delta.subtract(&s.last) // or else it fell: all of it is new
		s.delta.trim()
	}
	if !p.delta {
		if err := s.keep(h); err != nil {
			return err
		}
	}
	if d := s.demandOf(r, sr.port); d != nil && ok && sr.kind == clientDuration {
		d.calls(sr.errorType(p), float64(s.delta.total()), seconds)
	}
	if ok {
		s.addCalls(sr, h.edge, &s.delta, seconds, from, now)
	}
	s.takeExemplars(sr, h, p, from, now, ok)
	return nil
}

// errorType reads error.type, which only demands ask for.
func (sr *series) errorType(p *point) string {
	if !sr.failed {
		return ""
	}
	a, err := p.attributes()
	if err != nil {
		return ""
	}
	return a.errorType
}

// keep packs s.scratch as a series' last value, if there is room.
func (s *Store) keep(h *lastHistogram) error {
	s.bytes = s.scratch.appendPacked(s.bytes[:0])
	s.histogramBytes -= cap(h.packed)
	if s.histogramBytes+len(s.bytes) > s.cfg.MaxHistograms {
		h.packed, h.lost = nil, true
		s.stats.OverflowSeries++
		return fmt.Errorf("meshd keeps at most %d bytes of histograms", s.cfg.MaxHistograms)
	}
	h.lost = false
	if cap(h.packed) < len(s.bytes) {
		h.packed = make([]byte, 0, len(s.bytes)+8)
	}
	h.packed = append(h.packed[:0], s.bytes...)
	s.histogramBytes += cap(h.packed)
	return nil
}

// A share is the part of what a report tells that belongs to a slot.
type share struct {
	slot int64
	part float32
}

// spread shares what happened from..now (meshd's time, ns) among the seconds
// of that stretch, so that two reports in one second do not look like a burst
// beside a silence. The result is good until the next call. Needs s.mu.
func (s *Store) spread(svc *service, from, now int64) []share {
	s.shares = s.shares[:0]
	from = max(from, max(s.cur-hotSlots+1, svc.born)*int64(step))
	if from >= now {
		return append(s.shares, share{s.cur, 1})
	}
	total := float64(now - from)
	for n := from / int64(step); n <= s.cur; n++ {
		lo, hi := max(from, n*int64(step)), min(now, (n+1)*int64(step))
		if hi > lo {
			s.shares = append(s.shares, share{n, float32(float64(hi-lo) / total)})
		}
	}
	return s.shares
}

// middle is the slot in the middle of a stretch that ends now.
func (s *Store) middle(from, now int64) int64 {
	return min((from/2+now/2)/int64(step), s.cur)
}

// addCount adds a counter's delta to its service. Needs s.mu.
func (s *Store) addCount(sr *series, delta float32, from, now int64) {
	svc := sr.port.service
	if sr.kind == ejections {
		svc.ejected[sr.word] += float64(delta)
		return
	}
	for _, part := range s.spread(svc, from, now) {
		n := part.part * delta
		switch f := &svc.slot(part.slot).figures; sr.kind {
		case retries:
			f.retries += n
		case retriesDenied:
			f.denied += n
		case shed:
			f.shed += n
		case callTime:
			f.parts[sr.word] += n
		case endpointRequests:
			if sr.inst != nil {
				sr.inst.figures(part.slot).attempts += n
			}
		case endpointFailures:
			if sr.inst != nil {
				sr.inst.figures(part.slot).lost += n
			}
		}
	}
}

// addCalls adds the calls of a histogram's delta, a client's to its edge.
// Needs s.mu.
func (s *Store) addCalls(sr *series, e *edge, delta *buckets, seconds float64, from, now int64) {
	n := float32(delta.total())
	if n == 0 {
		return
	}
	failed := float32(0)
	if sr.failed {
		failed = n
	}
	client := sr.kind == clientDuration
	for _, part := range s.spread(sr.port.service, from, now) {
		sl := sr.port.service.slot(part.slot)
		sums, latency := &sl.figures.server, &sl.server
		if client {
			sums, latency = &sl.figures.client, &sl.client
		}
		sums.requests += part.part * n
		sums.failures += part.part * failed
		sums.seconds += part.part * float32(seconds)
		latency.add(delta, float64(part.part))
		if !client && sr.inst != nil {
			f := sr.inst.figures(part.slot)
			f.requests += part.part * n
			f.failures += part.part * failed
		}
	}
	switch middle := s.middle(from, now); {
	case client && e != nil:
		e.take(middle, n, failed, delta)
	case !client && sr.inst != nil:
		sr.inst.take(middle, n, delta)
	}
}

// takeExemplars notes which kept call was the slowest of each second. Needs s.mu.
func (s *Store) takeExemplars(sr *series, h *lastHistogram, p *point, from, now int64, ok bool) {
	newest := h.exemplar
	svc := sr.port.service
	for _, raw := range p.exemplars {
		at, value, trace := exemplar(raw)
		if at <= h.exemplar || len(trace) != 16 || !finite(value) {
			continue
		}
		newest = max(newest, at)
		if !ok {
			continue
		}
		when := now
		if at < p.time {
			when -= int64(min(p.time-at, uint64(forgetAfter)))
		}
		n := max(when, from) / int64(step)
		n = min(max(n, s.cur-hotSlots+1, svc.born), s.cur)
		sums := &svc.slot(n).figures.server
		if sr.kind == clientDuration {
			sums = &svc.slot(n).figures.client
		}
		if id := [16]byte(trace); id != [16]byte{} && float32(value) > sums.slowest {
			sums.slowest, sums.trace = float32(value), id
		}
	}
	h.exemplar = newest
}
