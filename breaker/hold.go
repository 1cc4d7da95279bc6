package breaker

import (
	"sync"
	"sync/atomic"
	"time"
)

// A Hold keeps calls that nobody can serve yet, and will be able to serve
// soon: a service has no instance, or all are at their limit, and more are on
// their way. Calls wait up to a bound in number and in time; those of the
// highest priority go first, and of these the one whose wait ends first.
//
// The protocol is Gate's: a queued Waiter appears exactly once, decided, in a
// list that Release or Expire returns, or is taken out by Abandon. All methods
// may be called from any goroutine; none blocks, calls back or allocates.
type Hold struct {
	n    atomic.Int64
	mu   sync.Mutex
	max  int
	wait int64
	q    waiters

	served, expired, full uint64
	waited                int64 // ns, of those served
}

// NewHold makes a Hold for at most max calls, each for at most wait.
func NewHold(max int, wait time.Duration) *Hold {
	h := &Hold{}
	h.Set(max, wait)
	return h
}

// Set changes the bounds for calls that come from now on.
func (h *Hold) Set(max int, wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.max, h.wait = max, int64(wait)
}

// Enter asks for a place: Queued, ShedFull or ShedDeadline. A full Hold lets
// the least important call go for a more important one, which is then in the list.
func (h *Hold) Enter(now int64, w *Waiter) (Verdict, *Waiter) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out decided
	switch {
	case w.Deadline != 0 && w.Deadline <= now:
		h.expired++
		return ShedDeadline, nil
	case h.q.n >= h.max:
		worst := h.q.worst()
		if worst == nil || worst.Priority.level() >= w.Priority.level() {
			h.full++
			return ShedFull, nil
		}
		h.full++
		h.remove(worst)
		out.add(worst, ShedFull)
	}
	w.entered = now
	w.expires = now + h.wait
	if w.Deadline != 0 {
		w.expires = min(w.expires, w.Deadline)
	}
	h.q.push(w)
	h.n.Add(1)
	return Queued, out.first
}

func (h *Hold) remove(w *Waiter) {
	h.q.remove(w)
	h.n.Add(-1)
}

// Waiting is the number of calls that wait; it takes no lock.
func (h *Hold) Waiting() int64 { return h.n.Load() }

// Release lets the next call go, Admitted; nil if none waits.
func (h *Hold) Release(now int64) *Waiter {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.q.best()
	if w == nil {
		return nil
	}
	h.remove(w)
	h.served++
	h.waited += now - w.entered
	var out decided
	out.add(w, Admitted)
	return out.first
}

// Abandon takes a queued call out that its client gave up; false if it has
// been decided meanwhile.
func (h *Hold) Abandon(w *Waiter) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !w.queued {
		return false
	}
	h.remove(w)
	return true
}

// Expire gives up on those who have waited too long, and says when to call it
// again; 0: when a call has been queued again.
func (h *Hold) Expire(now int64) (list *Waiter, at int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out decided
	for i := range h.q.lists {
		for w := h.q.lists[i].head; w != nil && w.expires <= now; w = h.q.lists[i].head {
			v := ShedWait
			if w.Deadline != 0 && w.Deadline <= now {
				v = ShedDeadline
			}
			h.remove(w)
			h.expired++
			out.add(w, v)
		}
		if w := h.q.lists[i].head; w != nil && (at == 0 || w.expires < at) {
			at = w.expires
		}
	}
	return out.first, at
}

// HoldStats are totals since the Hold was made, and what holds now.
type HoldStats struct {
	Waiting               int
	Served, Expired, Full uint64
	Wait                  time.Duration // of those served, in all
}

// Stats reads the Hold; it is not for the hot path.
func (h *Hold) Stats() HoldStats {
	h.mu.Lock()
	defer h.mu.Unlock()
	return HoldStats{h.q.n, h.served, h.expired, h.full, time.Duration(h.waited)}
}
