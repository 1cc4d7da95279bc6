package telemetry

import (
	"cmp"
	"maps"
	"slices"
)

// Instances implements Reader.
func (s *Store) Instances(id Service, span Span) []InstanceStat {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(slotOf(s.cfg.Clock()))
	out := []InstanceStat{}
	svc := s.services[id]
	if svc == nil {
		return out
	}
	first, last := s.slots(span)
	if last < first {
		return out
	}
	slots := s.covered(first, last)
	var attempts, requests float64
	var h Histogram
	for _, in := range svc.instances {
		var sum hotFigures
		in.each(first, last, s.cur, func(n int64, f *instFigures) {
			sum.requests += f.requests
			sum.failures += f.failures
			sum.attempts += f.attempts
			sum.weight = f.weight // the newest
		})
		minute := int64(0) // of which failed attempts are known
		for n := max(first, s.cur-hotSlots+1, in.born); n <= last; n++ {
			sum.lost += in.figures(n).lost
			minute++
		}
		h.reset()
		in.eachWide(first, last, func(_ int64, _ float32, l latencies) { l.into(&h) })
		if sum.requests == 0 && sum.attempts == 0 && in.now == 0 && sum.weight == 0 {
			continue
		}
		attempts += float64(sum.attempts)
		requests += float64(sum.requests)
		st := InstanceStat{
			ID:       in.id,
			Address:  in.address,
			RPS:      float64(sum.requests) / slots,
			Success:  success(float64(sum.requests), float64(sum.failures)),
			P50Ms:    1000 * h.Quantile(0.50),
			P90Ms:    1000 * h.Quantile(0.90),
			P99Ms:    1000 * h.Quantile(0.99),
			InFlight: float64(in.now),
			Attempts: float64(sum.attempts) / slots,
			Failures: float64(sum.lost) / float64(max(minute, 1)),
		}
		if sum.weight > 0 {
			part := float64(sum.weight) - 1
			st.Weight = &part
		}
		out = append(out, st)
	}
	for i := range out {
		switch st := &out[i]; {
		case attempts > 0:
			st.Share = st.Attempts * slots / attempts
		case requests > 0:
			st.Share = st.RPS * slots / requests
		}
	}
	slices.SortFunc(out, func(a, b InstanceStat) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// Scatter implements Reader.
func (s *Store) Scatter(id Service, span Span) []Dot {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(slotOf(s.cfg.Clock()))
	out := []Dot{}
	svc := s.services[id]
	if svc == nil {
		return out
	}
	first, last := s.slots(span)
	first += (wideSteps - first%wideSteps) % wideSteps // whole ones only
	last -= (last + 1) % wideSteps
	var h Histogram
	for _, in := range svc.instances {
		in.eachWide(first, last, func(n int64, requests float32, l latencies) {
			if requests <= 0 || n*wideSteps < first || (n+1)*wideSteps-1 > last {
				return
			}
			h.reset()
			l.into(&h)
			out = append(out, Dot{
				Time:     timeOf(n * wideSteps),
				Instance: in.id,
				RPS:      float64(requests) / float64(wideSteps),
				P99Ms:    1000 * h.Quantile(0.99),
			})
		})
	}
	slices.SortFunc(out, func(a, b Dot) int {
		return cmp.Or(a.Time.Compare(b.Time), cmp.Compare(a.Instance, b.Instance))
	})
	return out
}

// Edges implements Reader.
func (s *Store) Edges(span Span) []Edge {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(slotOf(s.cfg.Clock()))
	out := []Edge{}
	first, last := s.slots(span)
	last = min(last, s.cur-edgeOpen)
	if first < s.cur-edgeOpen-edgeFresh {
		// By the minute: what is asked for, rounded to those.
		first -= first % minuteSteps
		last = min(last/minuteSteps*minuteSteps+minuteSteps-1, s.cur-edgeOpen)
	}
	if last < first {
		return out
	}
	slots := s.covered(first, last)
	var h Histogram
	for i, e := range slices.Collect(maps.Values(s.edges)) {
		if i%100 == 99 { // thousands of them take longer than reports should wait
			s.mu.Unlock()
			s.mu.Lock()
		}
		var sum edgeFigures
		h.reset()
		e.over(first, last, &sum, &h)
		if sum.requests <= 0 {
			continue
		}
		out = append(out, Edge{
			From: e.from, To: e.to,
			RPS:     float64(sum.requests) / slots,
			Success: success(float64(sum.requests), float64(sum.failures)),
			P50Ms:   1000 * h.Quantile(0.50),
			P99Ms:   1000 * h.Quantile(0.99),
		})
	}
	slices.SortFunc(out, func(a, b Edge) int {
		return cmp.Or(cmp.Compare(a.From.String(), b.From.String()), cmp.Compare(a.To.String(), b.To.String()))
	})
	return out
}

// covered is how many of the slots there can be anything of: rates of a store
// that is younger than what is asked for are those since it began. Needs s.mu.
func (s *Store) covered(first, last int64) float64 {
	return float64(max(last-max(first, s.began)+1, 1))
}
