package endpoint

import (
	"math"
	"sync/atomic"
	"time"
)

// A LoadReport is what an endpoint says of its own load: the part of
// xds.data.orca.v3.OrcaLoadReport that balancers use. Zero is what was not said.
type LoadReport struct {
	CPU         float64 // cpu_utilization: 1 is all of it, and more may be
	Memory      float64 // mem_utilization, 0 to 1
	Application float64 // application_utilization: in place of CPU where it is not 0
	RPS         float64 // rps_fractional: calls a second that the endpoint serves
	EPS         float64 // eps: those of them that failed
}

// Reported is the newest LoadReport of an endpoint. It may be read and written
// from any goroutine, without locks and without allocation. A reader may find
// parts of two reports that came within nanoseconds of each other: each part is
// true, and a balancer asks for no more.
type Reported struct {
	at                       atomic.Int64 // 1 + ns on the engine's clock; 0 is never
	since                    atomic.Int64 // the first report after never or Forget, in the same way
	cpu, memory, application atomic.Uint64
	rps, eps                 atomic.Uint64

	ownAt, inflight, queue atomic.Int64 // of SetOwn
}

// SetOwn takes what the endpoint's sidecar says: the calls that the endpoint has,
// all callers together, and how long the one at hand has waited there, in ns.
func (r *Reported) SetOwn(now, inflight, queue int64) {
	r.inflight.Store(inflight)
	r.queue.Store(queue)
	r.ownAt.Store(now + 1)
}

// Own is the newest SetOwn and its age; ok is false if there never was one.
func (r *Reported) Own(now int64) (inflight, queue int64, age time.Duration, ok bool) {
	at := r.ownAt.Load()
	if at == 0 {
		return 0, 0, 0, false
	}
	return r.inflight.Load(), r.queue.Load(), time.Duration(max(now+1-at, 0)), true
}

// Set takes a report that came now, in ns on the engine's clock.
func (r *Reported) Set(now int64, report LoadReport) {
	r.cpu.Store(math.Float64bits(report.CPU))
	r.memory.Store(math.Float64bits(report.Memory))
	r.application.Store(math.Float64bits(report.Application))
	r.rps.Store(math.Float64bits(report.RPS))
	r.eps.Store(math.Float64bits(report.EPS))
	r.at.Store(now + 1)
	if r.since.Load() == 0 {
		r.since.Store(now + 1)
	}
}

// Reporting is how long reports have been coming, in spite of gaps that nobody
// has made an end of with Forget; 0 if none ever came.
func (r *Reported) Reporting(now int64) time.Duration {
	since := r.since.Load()
	if since == 0 {
		return 0
	}
	return time.Duration(max(now+1-since, 0))
}

// Forget makes the next report the first one.
func (r *Reported) Forget() { r.at.Store(0); r.since.Store(0) }

// Get is the newest report and its age; ok is false if none ever came.
func (r *Reported) Get(now int64) (report LoadReport, age time.Duration, ok bool) {
	at := r.at.Load()
	if at == 0 {
		return LoadReport{}, 0, false
	}
	return LoadReport{
		CPU:         math.Float64frombits(r.cpu.Load()),
		Memory:      math.Float64frombits(r.memory.Load()),
		Application: math.Float64frombits(r.application.Load()),
		RPS:         math.Float64frombits(r.rps.Load()),
		EPS:         math.Float64frombits(r.eps.Load()),
	}, time.Duration(max(now+1-at, 0)), true
}

// copy takes over what another one knows.
func (r *Reported) copy(from *Reported) {
	if at := from.at.Load(); at != 0 {
		report, _, _ := from.Get(at)
		r.Set(at-1, report)
		r.since.Store(from.since.Load())
	}
}
