package telemetry

import (
	"cmp"
	"time"
)

// edgeFresh is how many finished seconds of an edge are kept as such; they pass
// into minutes as they come.
const edgeFresh = 60

// edgeOpen is how many seconds of an edge reports may still add to.
const edgeOpen = settle + 1

// minuteSteps is how many slots a minute has.
const minuteSteps = int64(time.Minute / step)

// edgeFigures are a slot of an edge.
type edgeFigures struct{ requests, failures float32 }

func (f *edgeFigures) add(o edgeFigures) {
	f.requests += o.requests
	f.failures += o.failures
}

// pair names an edge.
type pair struct{ from, to Service }

// An edge is the calls of one service to another. Guarded by Store.mu.
type edge struct {
	pair
	hot     [edgeOpen]edgeSlot // slot n is at n % open
	seconds track[edgeFigures]
	minutes track[edgeFigures]
	minute  int64    // that is being summed up
	sum     edgeSlot // of minute
	cur     int64
	last    int64 // newest slot in which anything was said of it
	gone    bool  // forgotten; see instance
}

type edgeSlot struct {
	edgeFigures
	latency Histogram
}

func (e *edgeSlot) reset() {
	e.edgeFigures = edgeFigures{}
	e.latency.reset()
}

// take adds calls to a slot, or to the oldest one that is not finished.
func (e *edge) take(n int64, calls, failed float32, delta *buckets) {
	sl := &e.hot[max(n, e.cur-edgeOpen+1)%edgeOpen]
	sl.add(edgeFigures{calls, failed})
	sl.latency.add(delta, 1)
}

// turn finishes slot n-edgeOpen and makes its place slot n's.
func (e *edge) turn(n int64) (grown int) {
	e.cur = n
	done := n - edgeOpen
	sl := &e.hot[n%edgeOpen]
	if m := done / minuteSteps; m != e.minute {
		if e.sum.requests > 0 {
			grown += e.minutes.add(e.minute, e.sum.edgeFigures, &e.sum.latency)
			e.sum.reset()
		}
		e.minute = m
	}
	if sl.requests > 0 {
		e.sum.add(sl.edgeFigures)
		e.sum.latency.merge(&sl.latency)
		grown += e.seconds.add(done, sl.edgeFigures, &sl.latency)
		sl.reset()
	}
	if n%15 == 0 {
		grown -= e.seconds.dropBefore(done - edgeFresh)
	}
	return grown
}

// over sums up the slots first..last, and says which of them that were: to the
// minute where seconds are no longer known.
func (e *edge) over(first, last int64, sum *edgeFigures, h *Histogram) {
	add := func(_ int64, f *edgeFigures, packed []byte) {
		sum.add(*f)
		h.mergePacked(packed)
	}
	if e.fresh(first) {
		e.seconds.each(first, last, add)
	} else {
		e.minutes.each(first/minuteSteps, last/minuteSteps, add)
		if last/minuteSteps >= e.minute {
			sum.add(e.sum.edgeFigures)
			h.merge(&e.sum.latency)
		}
	}
}

// fresh says whether slot n, and all after it, are known by the second.
func (e *edge) fresh(n int64) bool { return n >= e.cur-edgeOpen-edgeFresh }

// edge finds or makes the edge from a reporter's service to another; nil when
// the reporter has none, or there is no room. Needs s.mu.
func (s *Store) edge(r reporterKey, to Service) *edge {
	if r.name == "" {
		return nil
	}
	p := pair{caller(r), to}
	e := s.edges[p]
	if e == nil {
		if len(s.edges) >= s.cfg.MaxEdges && !s.evictEdge() {
			s.stats.OverflowEdges++
			return nil
		}
		e = &edge{pair: p, cur: s.cur, minute: (s.cur - edgeOpen + 1) / minuteSteps}
		e.seconds.per, e.minutes.per = 15, 15 // a chunk goes when all of it is old
		s.edges[p] = e
	}
	e.last = s.cur
	return e
}

// evictEdge is evict for edges.
func (s *Store) evictEdge() bool {
	if s.cur < s.noEvictEdge {
		return false
	}
	var oldest *edge
	for _, e := range s.edges {
		if s.cur-e.last > int64(minRetention/step) && (oldest == nil || e.last < oldest.last) {
			oldest = e
		}
	}
	if oldest == nil {
		s.noEvictEdge = s.cur + 1
		return false
	}
	s.dropEdge(oldest)
	return true
}

func (s *Store) dropEdge(e *edge) {
	s.historyBytes -= e.seconds.size() + e.minutes.size()
	e.gone = true
	delete(s.edges, e.pair)
}

// caller is the service that a reporter is of.
func caller(r reporterKey) Service { return Service{cmp.Or(r.namespace, "default"), r.name} }
