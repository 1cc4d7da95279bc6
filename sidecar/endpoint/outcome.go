package endpoint

import (
	"sync/atomic"
	"time"
)

// outcomes are what came of the attempts, for who compares endpoints with each
// other: running totals, of which differences are taken.
type outcomes struct {
	// succeeded has the number of successes in the upper 24 bits and the sum of
	// their latencies in the lower 40, in units of 2¹⁰ ns. What does not fit is
	// carried or lost, and differences are right all the same as long as they
	// fit: 16 million successes and 13 days of latency.
	succeeded   atomic.Uint64
	failed      atomic.Uint64
	consecutive atomic.Uint32 // failures since the last success
	onFailure   atomic.Pointer[func(now int64, consecutive uint32)]
}

const (
	latencyBits = 40
	latencyUnit = 10          // 2¹⁰ ns
	longestCall = time.Minute // what a call may add to the sum
)

// Outcome takes what came of an attempt, and how long it took in ns: one atomic
// addition for a success.
func (s *State) Outcome(now int64, failed bool, latency int64) {
	if failed {
		s.fail(now)
		return
	}
	if s.outcomes.consecutive.Load() != 0 {
		s.outcomes.consecutive.Store(0)
	}
	s.outcomes.succeeded.Add(1<<latencyBits + uint64(min(max(latency, 0), int64(longestCall)))>>latencyUnit)
}

func (s *State) fail(now int64) {
	s.outcomes.failed.Add(1)
	n := s.outcomes.consecutive.Add(1)
	if f := s.outcomes.onFailure.Load(); f != nil {
		(*f)(now, n)
	}
}

// OnFailure has f called at each failure, by the goroutine of the call, with
// whatever that has locked: f must be quick, must not block, and must not call
// back. nil ends it.
func (s *State) OnFailure(f func(now int64, consecutive uint32)) {
	if f == nil {
		s.outcomes.onFailure.Store(nil)
		return
	}
	s.outcomes.onFailure.Store(&f)
}

// Consecutive is how many attempts have failed since the last success.
func (s *State) Consecutive() uint32 { return s.outcomes.consecutive.Load() }

// SetConsecutive makes it as if so many had failed; a success ends that.
func (s *State) SetConsecutive(n uint32) { s.outcomes.consecutive.Store(n) }

// A Tally is all outcomes up to a moment; only differences of two mean
// anything.
type Tally struct{ succeeded, failed uint64 }

// Tally reads the totals.
func (s *State) Tally() Tally {
	return Tally{s.outcomes.succeeded.Load(), s.outcomes.failed.Load()}
}

// Since is what has come since an earlier Tally: successes, failures, and the
// mean latency of the successes, 0 if there are none.
func (t Tally) Since(before Tally) (successes, failures uint64, mean time.Duration) {
	d := t.succeeded - before.succeeded
	successes = d >> latencyBits
	if successes > 0 {
		mean = time.Duration((d & (1<<latencyBits - 1) << latencyUnit) / successes)
	}
	return successes, t.failed - before.failed, mean
}
