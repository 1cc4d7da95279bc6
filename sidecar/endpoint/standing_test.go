package endpoint

import (
	"testing"
	"time"

	"github.com/meshd/meshd/breaker"
)

func stated() *State {
	return New(res("10.0.0.1:80"), breaker.New("x", breaker.Config{}, nil), nil).State
}

func TestStanding(t *testing.T) {
	s := stated()
	is := func(what string, now int64, available bool, words string) {
		t.Helper()
		if s.Available(now) != available || s.Standing(now) != words {
			t.Errorf("%s: available %v, %q", what, s.Available(now), s.Standing(now))
		}
	}
	is("unchecked", 0, true, "")
	s.SetVerdict(CheckedHealthy)
	is("healthy", 0, true, "")
	s.Eject(3 * second)
	is("ejected", second, false, "ejected for 2s")
	is("ejection over", 3*second, true, "")
	s.SetVerdict(CheckedUnhealthy)
	is("both", second, false, "unhealthy, ejected for 2s")
	is("unhealthy", 3*second, false, "unhealthy")
	s.Eject(0)
	is("let back", second, false, "unhealthy")
	s.Eject(3 * second)
	s.SetVerdict(CheckedHealthy)
	if s.Verdict() != CheckedHealthy || s.Ejected(second) != 2*time.Second {
		t.Errorf("%v, %v", s.Verdict(), s.Ejected(second))
	}
}

func TestOutcomes(t *testing.T) {
	s := stated()
	var calls [][2]int64
	s.OnFailure(func(now int64, n uint32) { calls = append(calls, [2]int64{now, int64(n)}) })
	// Totals are carried over the ends of their fields.
	s.outcomes.succeeded.Store(1<<64 - 5)
	before := s.Tally()
	for i := range int64(10) {
		s.Outcome(i, false, int64(i+1)*int64(10*ms))
	}
	s.Outcome(20, true, 0)
	s.Outcome(21, true, 0)
	s.Outcome(22, false, -1)
	s.Outcome(23, true, 0)
	ok, failed, mean := s.Tally().Since(before)
	if ok != 11 || failed != 3 || mean < 49*ms || mean > 50*ms {
		t.Errorf("%d, %d, %v", ok, failed, mean)
	}
	if want := [3][2]int64{{20, 1}, {21, 2}, {23, 1}}; len(calls) != 3 || [3][2]int64(calls) != want {
		t.Errorf("failures: %v", calls)
	}
	if s.Consecutive() != 1 {
		t.Errorf("%d in a row", s.Consecutive())
	}
	s.SetConsecutive(0)
	s.OnFailure(nil)
	s.Outcome(30, true, 0)
	if s.Consecutive() != 1 || len(calls) != 3 {
		t.Errorf("%d in a row, %v", s.Consecutive(), calls)
	}
	if n, f, mean := s.Tally().Since(s.Tally()); n != 0 || f != 0 || mean != 0 {
		t.Errorf("nothing since: %d, %d, %v", n, f, mean)
	}
}

func BenchmarkOutcome(b *testing.B) {
	s := stated()
	b.ReportAllocs()
	for b.Loop() {
		s.Outcome(1, false, 1e6)
	}
}

func BenchmarkAvailable(b *testing.B) {
	s := stated()
	s.SetVerdict(CheckedHealthy)
	n := 0
	for b.Loop() {
		if s.Available(second) {
			n++
		}
	}
}
