package endpoint

import (
	"fmt"
	"sync/atomic"
	"time"
)

// A Verdict is what active checks say of an endpoint.
type Verdict uint8

// The verdicts. An endpoint that nobody has checked takes calls: whoever gave
// its address has said that it is ready.
const (
	Unchecked Verdict = iota
	CheckedHealthy
	CheckedUnhealthy
)

// String gives unchecked, healthy or unhealthy.
func (v Verdict) String() string {
	switch v {
	case CheckedHealthy:
		return "healthy"
	case CheckedUnhealthy:
		return "unhealthy"
	default:
		return "unchecked"
	}
}

// standing is what keeps calls away beside the breaker, in one word: the ns on
// the engine's clock up to which the endpoint is ejected, to 2 ns, and in its
// lowest bit whether the endpoint has been checked. One that is unhealthy is
// out for ever besides, in bit 62. The word 0 is an endpoint of which nothing is
// known.
type standing struct{ atomic.Int64 }

const (
	checkedBit   = 1
	unhealthyBit = 1 << 62
	verdictBits  = checkedBit | unhealthyBit
)

func (v Verdict) bits() int64 {
	switch v {
	case CheckedHealthy:
		return checkedBit
	case CheckedUnhealthy:
		return checkedBit | unhealthyBit
	default:
		return 0
	}
}

// Available reports whether neither checks nor ejection keep calls away: an
// atomic load and a comparison.
func (s *State) Available(now int64) bool { return now|checkedBit >= s.standing.Load() }

// Verdict is that of the last active checks.
func (s *State) Verdict() Verdict {
	switch w := s.standing.Load(); {
	case w&unhealthyBit != 0:
		return CheckedUnhealthy
	case w&checkedBit != 0:
		return CheckedHealthy
	default:
		return Unchecked
	}
}

// SetVerdict is for who makes the checks.
func (s *State) SetVerdict(v Verdict) {
	for {
		old := s.standing.Load()
		if s.standing.CompareAndSwap(old, old&^verdictBits|v.bits()) {
			return
		}
	}
}

// Ejected is how long calls are kept away yet, because the endpoint did worse
// than others; 0 if they are not.
func (s *State) Ejected(now int64) time.Duration {
	return time.Duration(max(s.standing.Load()&^verdictBits-now, 0))
}

// Eject keeps calls away until then, in ns on the engine's clock; 0 lets them
// come at once. It is for who judges the outcomes.
func (s *State) Eject(until int64) {
	for {
		old := s.standing.Load()
		if s.standing.CompareAndSwap(old, until&^verdictBits|old&verdictBits) {
			return
		}
	}
}

// Standing is in words what keeps calls away, the breaker apart; empty if
// nothing does.
func (s *State) Standing(now int64) string {
	switch out := s.Ejected(now); {
	case out > 0 && s.Verdict() == CheckedUnhealthy:
		return fmt.Sprintf("unhealthy, ejected for %v", out.Round(time.Millisecond))
	case out > 0:
		return fmt.Sprintf("ejected for %v", out.Round(time.Millisecond))
	case s.Verdict() == CheckedUnhealthy:
		return "unhealthy"
	default:
		return ""
	}
}
