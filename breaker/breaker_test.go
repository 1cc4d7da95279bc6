package breaker

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func attempt(t *testing.T, b *Breaker, success bool) {
	t.Helper()
	ticket, ok := b.Allow()
	if !ok {
		t.Fatalf("refused in state %v", b.State())
	}
	b.Done(ticket, success)
}

func TestOpensHalfOpensAndCloses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var changes []string
		b := New("10.0.0.1:80", Config{ConsecutiveFailures: 3, OpenFor: time.Second, HalfOpenRequests: 2},
			func(name string, from, to State) {
				changes = append(changes, fmt.Sprintf("%s %v>%v", name, from, to))
			})
		for range 100 {
			attempt(t, b, true)
		}
		attempt(t, b, false)
		attempt(t, b, false)
		attempt(t, b, true) // ends the run
		attempt(t, b, false)
		attempt(t, b, false)
		if b.State() != Closed || b.Rule() != RuleNone {
			t.Fatal("opened by two failures in a row, three are configured")
		}
		attempt(t, b, false)
		if _, ok := b.Allow(); ok || b.Ready() || b.State() != Open || b.Rule() != RuleConsecutive {
			t.Fatalf("after three failures in a row: admitted %v, ready %v, state %v", ok, b.Ready(), b.State())
		}
		time.Sleep(time.Second)
		if b.Ready() {
			t.Fatal("ready before the open state is over")
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		if !b.Ready() || b.State() != HalfOpen {
			t.Fatal("not half open when its time was over, with nobody asking")
		}
		one, ok1 := b.Allow()
		two, ok2 := b.Allow()
		if _, ok3 := b.Allow(); !ok1 || !ok2 || ok3 || b.Ready() {
			t.Fatal("two trials are configured")
		}
		b.Cancel(one)
		if !b.Ready() {
			t.Fatal("a canceled trial must make room for another")
		}
		b.Done(two, true)
		attempt(t, b, true)
		if b.State() != Closed || !b.Ready() {
			t.Fatal("two successful trials must close it")
		}
		want := []string{"10.0.0.1:80 closed>open", "10.0.0.1:80 open>half-open", "10.0.0.1:80 half-open>closed"}
		if !slices.Equal(changes, want) {
			t.Fatalf("changes %q, want %q", changes, want)
		}
	})
}

func TestOutcomesOfAnEarlierPeriodAreIgnored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New("x", Config{ConsecutiveFailures: 1, OpenFor: time.Second}, nil)
		old, _ := b.Allow()
		attempt(t, b, false)
		time.Sleep(time.Second + 1)
		synctest.Wait()
		trial, _ := b.Allow()
		b.Done(old, false)
		if b.State() != HalfOpen {
			t.Fatalf("state %v after a failure of an earlier period", b.State())
		}
		b.Done(trial, true)
		if b.State() != Closed {
			t.Fatal("not closed by its trial")
		}
	})
}

func TestSlowFailuresCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := New("x", Config{ConsecutiveFailures: 3, Window: time.Second}, nil)
		var tickets []Ticket
		for range 3 {
			ticket, _ := b.Allow()
			tickets = append(tickets, ticket)
		}
		time.Sleep(15 * time.Second)
		for _, ticket := range tickets {
			b.Done(ticket, false)
		}
		if b.State() != Open {
			t.Fatal("failures that took longer than the window were forgotten")
		}
	})
}

func TestDisabled(t *testing.T) {
	b := New("x", Config{Disabled: true, ConsecutiveFailures: 1, ErrorRatio: 0.1}, nil)
	for range 10 {
		attempt(t, b, false)
		attempt(t, b, true)
	}
	if !b.Ready() || b.State() != Closed {
		t.Fatal("a disabled breaker opened")
	}
}

// Many goroutines drive it through all states; the race detector and the
// trial limit are the judges.
func TestConcurrentUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		seen := map[State]int{} // guarded by the breaker's lock
		b := New("x", Config{ConsecutiveFailures: 5, ErrorRatio: 0.5, MinRequests: 20,
			Window: 50 * time.Millisecond, OpenFor: 100 * time.Microsecond, HalfOpenRequests: 3},
			func(_ string, _, to State) { seen[to]++ })
		var trials atomic.Int64
		var group sync.WaitGroup
		for g := range 8 {
			group.Go(func() {
				for i := range 5000 {
					if i%10 == g {
						time.Sleep(5 * time.Microsecond)
					}
					ticket, ok := b.Allow()
					if !ok {
						continue
					}
					if ticket.trial != nil {
						if n := trials.Add(1); n > 3 {
							t.Errorf("%d trials at once, 3 are configured", n)
						}
						time.Sleep(time.Microsecond)
						trials.Add(-1)
					}
					if i%17 == g {
						b.Cancel(ticket)
					} else {
						b.Done(ticket, i/100%3 != 0)
					}
				}
			})
		}
		group.Wait()
		if seen[Open] < 10 || seen[HalfOpen] < 10 || seen[Closed] < 10 {
			t.Errorf("states entered: %v", seen)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for range 3 { // whatever state that left, it recovers with its endpoint
			attempt(t, b, true)
		}
		if b.State() != Closed {
			t.Errorf("stuck in state %v", b.State())
		}
	})
}

func TestNoAllocationsWhileClosed(t *testing.T) {
	b := New("x", Config{ConsecutiveFailures: 5, ErrorRatio: 0.5, MinRequests: 10}, nil)
	if n := testing.AllocsPerRun(1000, func() {
		ticket, _ := b.Allow()
		b.Done(ticket, true)
		b.Ready()
	}); n != 0 {
		t.Fatalf("%v allocations", n)
	}
}
