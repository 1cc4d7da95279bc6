package breaker

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// Who is served first: the more important, and of equals who expires first.
func TestHoldOrder(t *testing.T) {
	h := NewHold(10, time.Second)
	in := []*Waiter{{}, {Priority: Sheddable}, {Priority: CriticalPlus}, {Deadline: 500}}
	for i, w := range in {
		w.Owner = i
		if v, list := h.Enter(int64(i), w); v != Queued || list != nil {
			t.Fatal(v, list)
		}
	}
	for _, want := range []int{2, 3, 0, 1} {
		if w := h.Release(100); w == nil || w.Owner != want || w.Verdict != Admitted {
			t.Errorf("%+v, want %d", w, want)
		}
	}
	if w := h.Release(100); w != nil || h.Waiting() != 0 || h.Stats().Served != 4 {
		t.Errorf("%+v, %+v", w, h.Stats())
	}
}

func TestHoldBounds(t *testing.T) {
	h := NewHold(1, 100)
	if v, _ := h.Enter(10, &Waiter{Deadline: 10}); v != ShedDeadline {
		t.Error(v)
	}
	first, equal, more := &Waiter{}, &Waiter{}, &Waiter{Priority: CriticalPlus, Deadline: 50}
	h.Enter(0, first)
	if v, list := h.Enter(0, equal); v != ShedFull || list != nil {
		t.Error(v, list)
	}
	if v, list := h.Enter(0, more); v != Queued || list != first || first.Verdict != ShedFull || list.Next() != nil {
		t.Error(v, list)
	}
	if h.Abandon(first) {
		t.Error("abandoned after the verdict")
	}
	if list, at := h.Expire(49); list != nil || at != 50 {
		t.Error(list, at)
	}
	if list, at := h.Expire(50); list != more || more.Verdict != ShedDeadline || at != 0 {
		t.Error(list, at)
	}
	h.Enter(0, equal)
	if list, _ := h.Expire(100); list != equal || equal.Verdict != ShedWait {
		t.Error(list, equal.Verdict)
	}
	h.Set(0, time.Second)
	if v, _ := h.Enter(0, &Waiter{}); v != ShedFull {
		t.Error(v)
	}
	if s := h.Stats(); s.Waiting != 0 || s.Served != 0 || s.Full != 3 || s.Expired != 3 {
		t.Errorf("%+v", s)
	}
}

// Each queued Waiter is decided or abandoned exactly once, whoever is quicker.
func TestHoldRace(t *testing.T) {
	const callers, calls = 8, 2000
	h := NewHold(16, 50)
	var now atomic.Int64
	var queued, decided, abandoned atomic.Int64
	take := func(list *Waiter) {
		for list != nil {
			w := list
			list = list.Next()
			if w.Owner.(*atomic.Int32).Add(1) != 1 {
				t.Error("decided twice")
			}
			decided.Add(1)
		}
	}
	stop := make(chan struct{})
	var serving, asking sync.WaitGroup
	for _, f := range []func(int64) *Waiter{h.Release, func(now int64) *Waiter { list, _ := h.Expire(now); return list }} {
		serving.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					take(f(now.Load()))
					runtime.Gosched()
				}
			}
		})
	}
	for i := range callers {
		asking.Go(func() {
			for n := range calls {
				w := &Waiter{Priority: Priority(n%4) + Sheddable, Owner: new(atomic.Int32)}
				v, list := h.Enter(now.Add(1), w)
				take(list)
				if v != Queued {
					continue
				}
				queued.Add(1)
				if (n+i)%3 == 0 && h.Abandon(w) {
					abandoned.Add(1)
				}
			}
		})
	}
	asking.Wait()
	close(stop)
	serving.Wait()
	list, _ := h.Expire(1 << 60)
	take(list)
	if queued.Load() != decided.Load()+abandoned.Load() || h.Waiting() != 0 || h.Stats().Waiting != 0 {
		t.Errorf("%d queued, %d decided, %d abandoned, %d left", queued.Load(), decided.Load(), abandoned.Load(), h.Waiting())
	}
}
