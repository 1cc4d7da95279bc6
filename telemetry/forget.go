package telemetry

import "maps"

// expire forgets reporters that fell silent, and services, instances and
// callers that nobody has mentioned for Config.Retention. Needs s.mu.
func (s *Store) expire(now int64) {
	clean := s.cur/hotSlots != s.cleaned // once in a while
	s.cleaned = s.cur / hotSlots
	for key, r := range s.reporters {
		if now-r.seen > int64(forgetAfter) {
			s.nSeries -= len(r.series)
			s.histogramBytes -= r.bytes()
			delete(s.reporters, key)
		} else if clean {
			gone, bytes := r.forget(now)
			s.nSeries -= gone
			s.histogramBytes -= bytes
		}
	}
	if clean {
		maps.DeleteFunc(s.weighed, func(_ uint64, in *instance) bool { return in.gone })
	}
	long := int64(s.cfg.Retention / step)
	for id, svc := range s.services {
		if s.cur-svc.lastSeen > long {
			s.dropService(id, svc)
			continue
		}
		for _, in := range svc.instances {
			if s.cur-in.last > long {
				s.dropInstance(svc, in)
			}
		}
	}
	for _, e := range s.edges {
		if s.cur-e.last > long {
			s.dropEdge(e)
		}
	}
}

func (s *Store) dropService(id Service, svc *service) {
	for _, in := range svc.instances {
		s.dropInstance(svc, in)
	}
	for _, p := range svc.ports {
		p.gone = true
		delete(s.ports, p.text)
	}
	s.historyBytes -= svc.history.size()
	delete(s.services, id)
}

// dropBefore forgets what ended before slot n. Needs s.mu.
func (s *Store) dropBefore(n int64) {
	freed := 0
	for _, svc := range s.services {
		freed += svc.history.dropBefore(n)
		for _, in := range svc.instances {
			freed += in.history.dropBefore(n) + in.wide.dropBefore(n/wideSteps)
		}
	}
	for _, e := range s.edges {
		freed += e.minutes.dropBefore(n / minuteSteps)
	}
	s.historyBytes -= freed
}

// fit forgets the oldest minutes while there is more than Config.MaxHistory.
// Needs s.mu.
func (s *Store) fit() {
	for n := s.cur - int64(s.cfg.Retention/step); s.historyBytes+s.liveBytes > s.cfg.MaxHistory && n < s.cur; {
		before := s.historyBytes
		n += perChunk
		s.dropBefore(n)
		if s.historyBytes < before {
			s.stats.OverflowHistory++
		}
	}
}
