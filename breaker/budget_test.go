package breaker

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// At every load, with every call wanting three retries, no ten seconds hold
// more retries than 20 % of their calls plus 30, and the budget is of use.
func TestBudgetBoundsRetries(t *testing.T) {
	for _, rate := range []float64{0.1, 1, 10, 100, 1000} { // calls per second
		rng := rand.New(rand.NewPCG(7, uint64(rate*10)))
		now := int64(0)
		b := NewBudget(0.2, 3, func() int64 { return now })
		var calls, retries []int64 // times
		for now < int64(60*time.Second) {
			now += int64(rng.ExpFloat64() / rate * 1e9)
			b.Deposit()
			calls = append(calls, now)
			for range 3 {
				if b.Withdraw() {
					retries = append(retries, now)
				}
			}
		}
		firstCall, calledBy, firstRetry := 0, 0, 0 // of the ten seconds up to at
		for last, at := range retries {
			from := at - int64(10*time.Second)
			for firstCall < len(calls) && calls[firstCall] <= from {
				firstCall++
			}
			for calledBy < len(calls) && calls[calledBy] <= at {
				calledBy++
			}
			for retries[firstRetry] <= from {
				firstRetry++
			}
			n, bound := last+1-firstRetry, 0.2*float64(calledBy-firstCall)+30
			if float64(n) > bound {
				t.Fatalf("%v calls/s: %d retries in the 10 s before %v, at most %v are allowed", rate, n, time.Duration(at), bound)
			}
		}
		total, seconds := float64(len(retries)), float64(now)/1e9
		fair := 0.2*float64(len(calls)) + 3*seconds
		if most := fair + 30; total > most {
			t.Errorf("%v calls/s: %v retries in all, at most %v expected", rate, total, most)
		}
		if least := 0.8 * min(fair, 3*float64(len(calls))); total < least {
			t.Errorf("%v calls/s: only %v retries, at least %v expected", rate, total, least)
		}
		if s := b.Stats(); s.Retries != uint64(len(retries)) || s.Retries+s.Denied != uint64(3*len(calls)) || s.Balance < 0 {
			t.Errorf("stats %+v do not add up with %d calls and %d retries", s, len(calls), len(retries))
		}
	}
}

func TestBudgetForgetsOldCalls(t *testing.T) {
	now := int64(0)
	b := NewBudget(0.2, 0, func() int64 { return now })
	for range 100 {
		b.Deposit()
	}
	if !b.Withdraw() {
		t.Fatal("20 retries were paid for")
	}
	now = int64(11 * time.Second)
	if b.Withdraw() {
		t.Fatal("calls of 11 s ago still pay for retries")
	}
}

func TestBudgetNeverOverdrawsWhenContended(t *testing.T) {
	b := NewBudget(0.2, 1, func() int64 { return 0 })
	for range 1000 {
		b.Deposit()
	}
	var granted atomic.Int64
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 1000 {
				if b.Withdraw() {
					granted.Add(1)
				}
			}
		})
	}
	group.Wait()
	if n := granted.Load(); n > 210 || n < 205 {
		t.Fatalf("%d retries granted of 210", n)
	}
}

func TestLimit(t *testing.T) {
	l := NewLimit(10)
	var group sync.WaitGroup
	var most, granted atomic.Int64
	for range 8 {
		group.Go(func() {
			for range 2000 {
				if l.Acquire() {
					granted.Add(1)
					n := l.InUse()
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					l.Release()
				}
			}
		})
	}
	group.Wait()
	if most.Load() > 10 || l.InUse() != 0 || granted.Load()+int64(l.Refused()) != 16000 {
		t.Fatalf("most %d, in use %d, granted %d, refused %d", most.Load(), l.InUse(), granted.Load(), l.Refused())
	}
	for range 10 {
		l.Acquire()
	}
	if l.Acquire() || l.InUse() != 10 {
		t.Fatal("an eleventh was granted")
	}
	var none Limit
	for range 1000 {
		if !none.Acquire() {
			t.Fatal("no limit, yet refused")
		}
	}
}
