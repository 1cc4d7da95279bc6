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
	// two digits, those of gRPC as one more class; odd lists all others.
	plain [grpcClass + 1]atomic.Pointer[statusClass]
	odd   atomic.Pointer[series]

	mu  sync.Mutex // guards all, and the making of a series
	all []*series
}

type statusClass [100]atomic.Pointer[series]

// grpcClass is the class of gRPC's codes, after 1xx to 5xx.
const grpcClass = 5

// place says where in Route.plain a status has its series; not all have one.
func place(status int) (class, at int, ok bool) {
	if status >= 100 && status < 600 {
		return status/100 - 1, status % 100, true
	}
	code, ok := GRPCCode(status)
	return grpcClass, int(code), ok
}

type series struct {
	status int
	err    ErrorType
	next   *series // in Route.odd
	hist   Histogram
}

// Record counts one call that ended with the given status (of HTTP, or of gRPC
// as GRPC makes it; 0: none was sent) after the given time. errType is ErrNone unless the proxy decided the
// outcome. It may be called from any goroutine; it allocates only the first
// time that it sees an outcome.
func (r *Route) Record(status int, errType ErrorType, latency time.Duration) {
	r.series(status, errType).hist.Record(latency)
}

// RecordKept is Record for a call that is kept: e names it, without Value.
func (r *Route) RecordKept(status int, errType ErrorType, latency time.Duration, e Exemplar) {
	r.series(status, errType).hist.RecordKept(latency, e)
}

// series finds or makes the series of an outcome.
func (r *Route) series(status int, errType ErrorType) *series {
	if errType == ErrNone {
		if class, at, ok := place(status); ok {
			if slots := r.plain[class].Load(); slots != nil {
				if s := slots[at].Load(); s != nil {
					return s
				}
			}
		}
	}
	return r.unusual(status, errType)
}

// unusual finds or makes the series of an outcome other than the usual ones.
func (r *Route) unusual(status int, errType ErrorType) *series {
	if s := r.findOdd(status, errType); s != nil {
		return s
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) >= maxSeries {
		status = 0
	}
	if class, at, ok := place(status); ok && errType == ErrNone {
		slots := r.class(class)
		if s := slots[at].Load(); s != nil {
			return s
		}
		s := &series{status: status}
		slots[at].Store(s)
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
		status, rpc := s.status, ""
		if code, ok := GRPCCode(status); ok {
			status, rpc = grpcOverHTTP, GRPCName(code)
		}
		out = append(out, Series{
			Route:  r.name,
			Status: status,
			GRPC:   rpc,
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
