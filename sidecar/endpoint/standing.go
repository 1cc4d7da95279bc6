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

// standing is what keeps calls away beside the breaker, in one word: the
// verdict of checks in the lowest bits, above them the ns on the engine's clock
// up to which the endpoint is ejected, to 4 ns. The word 0 is an endpoint of
// which nothing is known.
type standing struct{ atomic.Int64 }

const verdictMask = 1<<2 - 1

// Available reports whether neither checks nor ejection keep calls away; one
// atomic load.
func (s *State) Available(now int64) bool {
	w := s.standing.Load()
	return w&verdictMask != int64(CheckedUnhealthy) && now >= w&^verdictMask
}

// Verdict is that of the last active checks.
func (s *State) Verdict() Verdict { return Verdict(s.standing.Load() & verdictMask) }

// SetVerdict is for who makes the checks.
func (s *State) SetVerdict(v Verdict) {
	for {
		old := s.standing.Load()
		if s.standing.CompareAndSwap(old, old&^verdictMask|int64(v)) {
			return
		}
	}
}

// Ejected is how long calls are kept away yet, because the endpoint did worse
// than others; 0 if they are not.
func (s *State) Ejected(now int64) time.Duration {
	return time.Duration(max(s.standing.Load()&^verdictMask-now, 0))
}

// Eject keeps calls away until then, in ns on the engine's clock; 0 lets them
// come at once. It is for who judges the outcomes.
func (s *State) Eject(until int64) {
	for {
		old := s.standing.Load()
		if s.standing.CompareAndSwap(old, until&^verdictMask|old&verdictMask) {
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
