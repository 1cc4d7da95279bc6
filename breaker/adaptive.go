package breaker

import (
	"sync"
	"sync/atomic"
	"time"
)

// An Adaptive is a cap on calls in flight that finds its own number: as many
// as the application works on at once, and few that would wait inside it.
// What it does is in gradient.go; here is what a call touches.
//
// Acquire and Release may be called from any goroutine. A call costs four
// atomic additions and, at its end, a lock that is tried and never waited for:
// a sample that finds it taken is left out, which does not bias a mean.
type Adaptive struct {
	limit    atomic.Int64
	inFlight atomic.Int64
	peak     atomic.Int64 // most in flight in this window
	done     atomic.Int64 // calls ended in this window
	baseline atomic.Int64 // ns
	tail     atomic.Int64 // ns

	mu  sync.Mutex
	law gradient
}

// An AdaptiveConfig bounds an Adaptive. Zero values stand for the defaults.
type AdaptiveConfig struct {
	Initial uint32        // before anything is known; 0: 1000, for as long as that
	Min     uint32        // 0: 1
	Max     uint32        // 0: 1000000; equal to Min: a fixed limit
	Window  time.Duration // the least time between two changes; 0: 100 ms
	Probe   time.Duration // the most time between two measurements of the baseline under load; 0: 30 s
}

func (c AdaptiveConfig) withDefaults() AdaptiveConfig {
	if c.Min == 0 {
		c.Min = 1
	}
	if c.Max == 0 {
		c.Max = 1e6
	}
	c.Max = max(c.Max, c.Min)
	if c.Initial == 0 {
		c.Initial = cold
	}
	c.Initial = min(max(c.Initial, c.Min), c.Max)
	if c.Window <= 0 {
		c.Window = 100 * time.Millisecond
	}
	if c.Probe <= 0 {
		c.Probe = 30 * time.Second
	}
	return c
}

// NewAdaptive makes an Adaptive.
func NewAdaptive(cfg AdaptiveConfig) *Adaptive {
	a := &Adaptive{law: newGradient(cfg.withDefaults())}
	a.limit.Store(int64(a.law.inForce()))
	return a
}

// Acquire takes a place, to be given back by exactly one Release or Cancel, or
// reports false.
func (a *Adaptive) Acquire() bool {
	limit := a.limit.Load()
	for {
		n := a.inFlight.Load()
		if n >= limit {
			return false
		}
		if a.inFlight.CompareAndSwap(n, n+1) {
			if n+1 > a.peak.Load() {
				a.peak.Store(n + 1) // a race loses one of two that are close
			}
			return true
		}
	}
}

// Release gives the place back and tells what the call took, in nanoseconds,
// from its admission to the end of its answer. now is a monotonic clock.
func (a *Adaptive) Release(now, latency int64) {
	left := a.inFlight.Add(-1)
	a.done.Add(1)
	if !a.mu.TryLock() {
		return
	}
	a.law.sample(latency)
	if a.law.abandon(now) {
		a.limit.Store(int64(a.law.inForce()))
	} else if a.law.due(now) {
		w := window{now: now, done: a.done.Swap(0), peak: a.peak.Swap(left), inFlight: left}
		a.law.close(w)
		a.limit.Store(int64(a.law.inForce()))
		a.baseline.Store(int64(a.law.baseline))
		a.tail.Store(int64(a.law.baseline + 2*a.law.spread))
	}
	a.mu.Unlock()
}

// Cancel gives the place back of a call whose latency says nothing of the
// application: the client went away, or it is a stream that lives as long as
// the client likes. The latter does it when its answer begins, else idle
// streams use up the limit.
func (a *Adaptive) Cancel() { a.inFlight.Add(-1) }

// look ends a probe of which no Release has been seen for long.
func (a *Adaptive) look(now int64) {
	if a.mu.TryLock() {
		if a.law.abandon(now) {
			a.limit.Store(int64(a.law.inForce()))
		}
		a.mu.Unlock()
	}
}

// Limit is the number in force; it is lower for a moment while the baseline is
// measured.
func (a *Adaptive) Limit() int64 { return a.limit.Load() }

// InFlight is the number of places taken.
func (a *Adaptive) InFlight() int64 { return a.inFlight.Load() }

// Baseline is the mean latency, in nanoseconds, of calls that wait for no
// other; 0 while it is not known.
func (a *Adaptive) Baseline() int64 { return a.baseline.Load() }

// Tail is two standard deviations more than Baseline: about what one call in
// twenty takes longer than.
func (a *Adaptive) Tail() int64 { return a.tail.Load() }
