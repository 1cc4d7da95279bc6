package stats

import (
	"sync"
	"sync/atomic"
	"time"
)

// maxSeries bounds the outcomes that one route tells apart; any further one
// counts under its error type with status 0.
const maxSeries = 64

// A Route holds the latencies of a service's route, one histogram for every
// outcome seen. Get it from Service.Route when configuration is built.
type Route struct {
	name string

	// plain finds the outcomes without an error by status class and the last
	// two digits; odd lists all others.
	plain [5]atomic.Pointer[statusClass]
	odd   atomic.Pointer[series]

	mu  sync.Mutex // guards all, and the making of a series
	all []*series
}

type statusClass [100]atomic.Pointer[series]

type series struct {
	status int
	err    ErrorType
	next   *series // in Route.odd
	hist   Histogram
}

// Record counts one call that ended with the given status (0: none was sent)
// after the given time. errType is ErrNone unless the proxy decided the
// outcome. It may be called from any goroutine; it allocates only the first
// time that it sees an outcome.
func (r *Route) Record(status int, errType ErrorType, latency time.Duration) {
	if errType == ErrNone && status >= 100 && status < 600 {
		if class := r.plain[status/100-1].Load(); class != nil {
			if s := class[status%100].Load(); s != nil {
				s.hist.Record(latency)
				return
			}
		}
	}
	r.series(status, errType).hist.Record(latency)
}

// series finds or makes the series of an outcome other than the usual ones.
func (r *Route) series(status int, errType ErrorType) *series {
	if s := r.findOdd(status, errType); s != nil {
		return s
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) >= maxSeries {
		status = 0
	}
	usual := errType == ErrNone && status >= 100 && status < 600
	if usual {
		slot := r.class(status/100 - 1)
		if s := slot[status%100].Load(); s != nil {
			return s
		}
		s := &series{status: status}
		slot[status%100].Store(s)
		r.all = append(r.all, s)
		return s
	}
	if s := r.findOdd(status, errType); s != nil {
		return s
	}
	s := &series{status: status, err: errType, next: r.odd.Load()}
	r.odd.Store(s)
	r.all = append(r.all, s)
	return s
}

func (r *Route) findOdd(status int, errType ErrorType) *series {
	for s := r.odd.Load(); s != nil; s = s.next {
		if s.err == errType && s.status == status {
			return s
		}
	}
	return nil
}

// class is called with mu held.
func (r *Route) class(i int) *statusClass {
	c := r.plain[i].Load()
	if c == nil {
		c = new(statusClass)
		r.plain[i].Store(c)
	}
	return c
}

func (r *Route) snapshot() []Series {
	r.mu.Lock()
	all := r.all[:len(r.all):len(r.all)]
	r.mu.Unlock()
	out := make([]Series, 0, len(all))
	for _, s := range all {
		d := s.hist.Distribution()
		out = append(out, Series{
			Route:  r.name,
			Status: s.status,
			Error:  s.err.String(),
			Count:  d.Count,
			MeanMs: meanMs(d),
			P50Ms:  ms(d.Quantile(0.50)),
			P90Ms:  ms(d.Quantile(0.90)),
			P99Ms:  ms(d.Quantile(0.99)),

			Latency: d,
		})
	}
	return out
}

func meanMs(d Distribution) float64 {
	if d.Count == 0 {
		return 0
	}
	return float64(d.Sum) / float64(d.Count) / float64(time.Millisecond)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
