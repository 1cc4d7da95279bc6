package breaker

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const ms = int64(time.Millisecond)

func fixedGate(limit uint32, cfg GateConfig) *Gate {
	return NewGate(NewAdaptive(AdaptiveConfig{Min: limit, Max: limit}), cfg)
}

// enter makes a call and wants a verdict.
func enter(t *testing.T, g *Gate, now int64, w *Waiter, want Verdict) *Waiter {
	t.Helper()
	v, list := g.Enter(now, w)
	if v != want {
		t.Fatalf("at %d: %v, want %v", now, v, want)
	}
	return list
}

// is wants a list to hold these, with one verdict.
func is(t *testing.T, list *Waiter, v Verdict, want ...*Waiter) {
	t.Helper()
	for i, w := range want {
		if list != w {
			t.Fatalf("place %d of the list is another one", i)
		}
		if w.Verdict != v {
			t.Fatalf("place %d: %v, want %v", i, w.Verdict, v)
		}
		list = list.Next()
	}
	if list != nil {
		t.Fatal("the list is longer")
	}
}

func TestGateServesByPriorityThenDeadline(t *testing.T) {
	g := fixedGate(1, GateConfig{})
	enter(t, g, 1, &Waiter{}, Admitted)
	late := &Waiter{Deadline: 90 * ms}
	soon := &Waiter{Deadline: 50 * ms}
	low := &Waiter{Priority: Sheddable, Deadline: 20 * ms}
	high := &Waiter{Priority: CriticalPlus}
	for _, w := range []*Waiter{late, low, soon, high} {
		enter(t, g, 1, w, Queued)
	}
	for _, w := range []*Waiter{high, soon, late, low} {
		is(t, g.Leave(2*ms, 1*ms), Admitted, w)
	}
	is(t, g.Leave(3*ms, 1*ms), Admitted)
	if s := g.Stats(); s.InFlight != 0 || s.Waiting != 0 || s.Waited != 4 {
		t.Errorf("%+v", s)
	}
}

func TestGateExpires(t *testing.T) {
	g := fixedGate(1, GateConfig{MaxWait: 30 * time.Millisecond})
	enter(t, g, 1, &Waiter{}, Admitted)
	a, b := &Waiter{}, &Waiter{Deadline: 10 * ms}
	enter(t, g, 1, a, Queued)
	enter(t, g, 1, b, Queued)
	list, at := g.Expire(1)
	is(t, list, Admitted)
	if at != 10*ms {
		t.Fatalf("next expiry at %d", at)
	}
	list, at = g.Expire(at)
	is(t, list, ShedDeadline, b)
	list, at = g.Expire(at)
	is(t, list, ShedWait, a)
	if at != 0 {
		t.Fatalf("nobody waits, yet an expiry at %d", at)
	}
	enter(t, g, 50*ms, &Waiter{Deadline: 50 * ms}, ShedDeadline)
}

func TestGateQueueIsBounded(t *testing.T) {
	g := fixedGate(1, GateConfig{Queue: 2})
	enter(t, g, 1, &Waiter{}, Admitted)
	low, mid := &Waiter{Priority: SheddablePlus}, &Waiter{}
	enter(t, g, 1, low, Queued)
	enter(t, g, 1, mid, Queued)
	enter(t, g, 1, &Waiter{Priority: Sheddable}, ShedFull)
	is(t, enter(t, g, 1, &Waiter{}, Queued), ShedFull, low)
	enter(t, g, 1, &Waiter{}, ShedFull)
	is(t, enter(t, g, 1, &Waiter{Priority: CriticalPlus}, Queued), ShedFull, mid)

	none := fixedGate(1, GateConfig{Queue: -1})
	enter(t, none, 1, &Waiter{}, Admitted)
	enter(t, none, 1, &Waiter{Priority: CriticalPlus}, ShedFull)
}

// A queue that stands for an interval: the newest first, and nobody waits
// longer than the target; then it empties, and all is as before.
func TestGateStandingQueue(t *testing.T) {
	g := fixedGate(1, GateConfig{MaxWait: time.Second, Target: 5 * time.Millisecond})
	enter(t, g, 1, &Waiter{}, Admitted)
	now := int64(1)
	for range 250 { // a call each ms, none of which ends
		now += ms
		g.Enter(now, &Waiter{Cohort: uint8(now / ms)})
	}
	s := g.Stats()
	if !s.Overloaded || s.Shed[ShedWait] < 150 || s.Waiting > 6 {
		t.Fatalf("%+v", s)
	}
	newest := &Waiter{Priority: Critical, Cohort: 31}
	now += ms / 2
	enter(t, g, now, newest, Queued)
	is(t, g.Cancel(now), Admitted, newest)
	for range 40 {
		now += 100 * ms
		g.Expire(now)
		for w := g.Cancel(now); w != nil; w = w.Next() {
		}
		if v, _ := g.Enter(now, new(Waiter)); v == Queued {
			t.Fatal("queued with room")
		}
	}
	if s := g.Stats(); s.Overloaded || s.Cutoff != 0 {
		t.Fatalf("not over: %+v", s)
	}
}

func TestGateAbandon(t *testing.T) {
	g := fixedGate(1, GateConfig{})
	enter(t, g, 1, &Waiter{}, Admitted)
	a, b := new(Waiter), new(Waiter)
	enter(t, g, 1, a, Queued)
	enter(t, g, 1, b, Queued)
	if !g.Abandon(a) || g.Abandon(a) {
		t.Fatal("a queued call is abandoned once")
	}
	is(t, g.Leave(2, 1), Admitted, b)
	if g.Abandon(b) {
		t.Fatal("an admitted call is not queued")
	}
	is(t, g.Cancel(3), Admitted)
}

// Whatever happens, each call is decided once, and no place is lost.
func TestGateContended(t *testing.T) {
	g := fixedGate(3, GateConfig{Queue: 20})
	var clock, running, most, decidedOnce atomic.Int64
	var group sync.WaitGroup
	type call struct {
		Waiter
		done chan Verdict
	}
	resume := func(w *Waiter) {
		for w != nil {
			next := w.Next()
			w.Owner.(*call).done <- w.Verdict
			w = next
		}
	}
	const callers, each = 16, 500
	stop := make(chan struct{})
	var ticking sync.WaitGroup
	ticking.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				list, _ := g.Expire(clock.Add(ms))
				resume(list)
			}
		}
	})
	for i := range callers {
		group.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(i), 1))
			for range each {
				c := &call{done: make(chan Verdict, 2)}
				c.Priority, c.Cohort, c.Owner = Priority(rng.IntN(4)-2), uint8(rng.Uint32()), c
				v, list := g.Enter(clock.Add(1000), &c.Waiter)
				resume(list)
				if v == Queued {
					if rng.IntN(4) == 0 && g.Abandon(&c.Waiter) {
						decidedOnce.Add(1)
						continue
					}
					v = <-c.done
				}
				decidedOnce.Add(1)
				if v.Shed() {
					continue
				}
				n := running.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				running.Add(-1)
				resume(g.Leave(clock.Add(1000), 1000))
			}
		})
	}
	group.Wait()
	close(stop)
	ticking.Wait()
	s := g.Stats()
	if most.Load() > 3 || s.InFlight != 0 || s.Waiting != 0 || g.waiting.Load() != 0 || decidedOnce.Load() != callers*each {
		t.Fatalf("at most %d ran at once; %+v; waiting %d; decided %d", most.Load(), s, g.waiting.Load(), decidedOnce.Load())
	}
}

func TestPriorityNames(t *testing.T) {
	for p := Sheddable; p <= CriticalPlus; p++ {
		if got, err := ParsePriority(p.String()); err != nil || got != p {
			t.Errorf("%v: %v, %v", p, got, err)
		}
	}
	if p, err := ParsePriority("SHEDDABLE_PLUS"); err != nil || p != SheddablePlus {
		t.Errorf("%v, %v", p, err)
	}
	if p, err := ParsePriority("high"); err == nil || p != Critical {
		t.Errorf("%v, %v", p, err)
	} else if want := `priority "high": want one of sheddable, sheddable-plus, critical, critical-plus`; err.Error() != want {
		t.Errorf("got %q", err)
	}
}

func FuzzParsePriority(f *testing.F) {
	for _, s := range []string{"", "critical", "CRITICAL_PLUS", "sheddable-plus", "critical\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if p, err := ParsePriority(s); (err == nil) != sameWord(s, p.String()) && err == nil {
			t.Errorf("%q is %v", s, p)
		}
	})
}
