package breaker

import (
	"sync"
	"sync/atomic"
	"time"
)

// A Gate admits calls to what has a limit, lets some wait, and sheds the rest:
// the least important first, at once rather than late.
//
// The calling protocol. Every call does one Enter. If that says Admitted, one
// Leave (or Cancel) when the call has ended. If it says Queued, the Waiter
// appears exactly once, decided, in a list that some Enter, Leave, Cancel or
// Expire returns; who gets that list resumes its calls, after it has let go
// of any lock of its own that they need. A queued call that is given up does
// Abandon. One timer a Gate calls Expire, which says when to call it next; who
// gets Queued while the timer does not run calls Expire to set it.
//
// All methods may be called from any goroutine, also with the caller's locks
// held; none blocks, calls back or allocates. While nothing waits and nothing
// is shed, Enter and Leave touch atomics only, and one lock that is never
// waited for; else the Gate's own, for some tens of nanoseconds.
//
// How it decides is CoDel's question (RFC 8289), asked of the calls of each
// priority: has nobody waited at some time in the last interval? Then it is a
// burst: calls wait up to MaxWait, the first to expire first. If not, the queue
// is standing, and waiting serves nobody: calls then wait no longer than a part
// of what they take, and the newest goes first ("Fail at Scale", ACM Queue
// 2015). Which calls come into the queue at all is the cutoff's affair.
type Gate struct {
	limit   *Adaptive
	waiting atomic.Int64 // queued, and those about to be
	since   atomic.Int64 // when a queue began to stand or the cutoff to cut; 0: not now

	mu      sync.Mutex // guards what follows; held for no call of others
	cfg     GateConfig
	queue   waiters
	cutoff  cutoff
	tickAt  int64
	emptied bool // the queue was empty at some time since the last tick
	shed    [ShedDeadline + 1]uint64
	waits   [2]int64 // admitted after waiting: how many, ns in all
}

// A GateConfig bounds a Gate's queue. Zero values stand for the defaults.
type GateConfig struct {
	// Queue is the most calls that wait; 0: 1024. Negative: none.
	Queue int
	// MaxWait is how long a call waits while the queue is not standing; 0: 100
	// ms, or three times the limit's Tail where that is more.
	MaxWait time.Duration
	// Target is how long a call waits while it is standing; 0: a third of
	// the limit's Tail, at least 1 ms.
	Target time.Duration
	// Interval is how long a queue may go without being empty; 0: 100 ms, or
	// twice the limit's Tail where that is more.
	Interval time.Duration
}

// NewGate makes a Gate in front of limit.
func NewGate(limit *Adaptive, cfg GateConfig) *Gate {
	if cfg.Queue == 0 {
		cfg.Queue = 1024
	}
	return &Gate{limit: limit, cfg: cfg, emptied: true}
}

// Waiting is the number of queued calls, or a few more; it takes no lock.
func (g *Gate) Waiting() int64 { return g.waiting.Load() }

// TryEnter is Enter where nothing waits and nothing is shed: true is Admitted.
// False says that Enter has to decide.
func (g *Gate) TryEnter() bool {
	return g.since.Load() == 0 && g.waiting.Load() == 0 && g.limit.Acquire()
}

// Enter asks for admission. The list is of other calls, decided by the way.
func (g *Gate) Enter(now int64, w *Waiter) (Verdict, *Waiter) {
	if g.TryEnter() {
		return Admitted, nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	// From here on a Leave sees that somebody waits, so none can pass between
	// the failed Acquire and the place in the queue.
	g.waiting.Add(1)
	var out decided
	g.tick(now)
	v := g.offer(now, w, &out)
	if v != Queued {
		g.waiting.Add(-1)
		g.count(v)
	}
	return v, out.first
}

func (g *Gate) offer(now int64, w *Waiter, out *decided) Verdict {
	if w.Deadline != 0 && w.Deadline <= now {
		return ShedDeadline
	}
	if !g.cutoff.pass(w) {
		return ShedPriority
	}
	if g.queue.n > 0 {
		g.pump(now, out)
	}
	if g.queue.n == 0 && g.limit.Acquire() {
		g.emptied = true
		g.cutoff.admitted++
		return Admitted
	}
	if g.queue.n >= g.cfg.Queue {
		worst := g.queue.worst()
		if worst == nil || worst.Priority.level() > w.Priority.level() ||
			worst.Priority.level() == w.Priority.level() && !g.queue.lists[w.Priority.level()].standing {
			return ShedFull
		}
		g.drop(worst, ShedFull, out)
	}
	w.entered = now
	w.expires = now + g.maxWait()
	if w.Deadline != 0 {
		w.expires = min(w.expires, w.Deadline)
	}
	g.queue.push(w)
	return Queued
}

// Leave ends an admitted call that took latency nanoseconds since its
// admission.
func (g *Gate) Leave(now, latency int64) *Waiter {
	g.limit.Release(now, latency)
	return g.next(now)
}

// Cancel ends an admitted call whose latency says nothing of the application;
// see Adaptive.Cancel.
func (g *Gate) Cancel(now int64) *Waiter {
	g.limit.Cancel()
	return g.next(now)
}

func (g *Gate) next(now int64) *Waiter {
	if g.waiting.Load() == 0 {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	var out decided
	g.tick(now)
	g.pump(now, &out)
	return out.first
}

// Abandon takes a queued call out that its client gave up. It reports false if
// the call has been decided meanwhile: it is then in somebody's list, and if
// it is Admitted, owes a Cancel.
func (g *Gate) Abandon(w *Waiter) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !w.queued {
		return false
	}
	g.queue.remove(w)
	g.waiting.Add(-1)
	return true
}

// Expire sheds who has waited too long, and says when to call it again; 0:
// when a call has been queued again.
func (g *Gate) Expire(now int64) (list *Waiter, at int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var out decided
	g.tick(now)
	g.pump(now, &out)
	if g.queue.n == 0 {
		return out.first, 0
	}
	at = now + g.maxWait()
	for i := range g.queue.lists {
		if w := g.queue.lists[i].head; w != nil {
			at = min(at, g.until(w))
		}
	}
	return out.first, at
}

// pump admits who can be, and sheds from the front of each list who has waited
// too long.
func (g *Gate) pump(now int64, out *decided) {
	for i := range g.queue.lists {
		for w := g.queue.lists[i].head; w != nil && g.until(w) <= now; w = g.queue.lists[i].head {
			v := ShedWait
			if w.Deadline != 0 && w.Deadline <= now {
				v = ShedDeadline
			}
			g.drop(w, v, out)
		}
	}
	for g.queue.n > 0 && g.limit.Acquire() {
		w := g.queue.best()
		g.queue.remove(w)
		g.waiting.Add(-1)
		g.cutoff.admitted++
		g.waits[0]++
		g.waits[1] += now - w.entered
		out.add(w, Admitted)
	}
	if g.queue.n == 0 {
		g.emptied = true
	}
}

func (g *Gate) drop(w *Waiter, v Verdict, out *decided) {
	g.queue.remove(w)
	g.waiting.Add(-1)
	g.count(v)
	out.add(w, v)
}

// until is when a queued call is shed.
func (g *Gate) until(w *Waiter) int64 {
	if !g.queue.lists[w.Priority.level()].standing {
		return w.expires
	}
	return min(w.expires, w.entered+g.target())
}

func (g *Gate) target() int64 {
	if g.cfg.Target > 0 {
		return int64(g.cfg.Target)
	}
	return min(max(g.limit.Tail()/3, int64(time.Millisecond)), g.maxWait())
}

func (g *Gate) maxWait() int64 {
	if g.cfg.MaxWait > 0 {
		return int64(g.cfg.MaxWait)
	}
	return max(int64(100*time.Millisecond), 3*g.limit.Tail())
}

// tick looks once an interval at what the queue has been like.
func (g *Gate) tick(now int64) {
	if now < g.tickAt {
		return
	}
	g.limit.look(now)
	interval := g.interval()
	quiet := now-g.tickAt >= interval // nobody came in between
	g.tickAt = now + interval
	top := -1 // the highest priority that is standing
	for i := range g.queue.lists {
		l := &g.queue.lists[i]
		l.standing = l.nonempty || l.standing && g.cutoff.cuts(i)
		l.nonempty = l.head != nil
		if l.standing {
			top = i
		}
	}
	room := 1 - float64(g.limit.InFlight())/float64(g.limit.Limit())
	g.cutoff.tick(g.emptied, min(max(room, 0), 1), quiet, top)
	over := top >= 0 || g.cutoff.share > 0
	switch {
	case !over:
		g.since.Store(0)
	case g.since.Load() == 0:
		g.since.Store(now)
	}
	g.emptied = g.queue.n == 0
}

func (g *Gate) interval() int64 {
	if g.cfg.Interval > 0 {
		return int64(g.cfg.Interval)
	}
	return max(int64(100*time.Millisecond), 2*g.limit.Tail())
}

func (g *Gate) count(v Verdict) {
	if v.Shed() {
		g.shed[v]++
	}
}

// GateStats are totals since the Gate was made, and what holds now.
type GateStats struct {
	Limit, InFlight int64
	Waiting         int
	Waited          int64         // calls admitted after waiting
	Wait            time.Duration // theirs, in all
	Shed            [ShedDeadline + 1]uint64
	Overloaded      bool
	Cutoff          float64 // share of the calls that is shed by priority
}

// Stats reads the Gate; it is not for the hot path.
func (g *Gate) Stats() GateStats {
	g.mu.Lock()
	defer g.mu.Unlock()
	return GateStats{
		Limit: g.limit.Limit(), InFlight: g.limit.InFlight(),
		Waiting: g.queue.n, Waited: g.waits[0], Wait: time.Duration(g.waits[1]),
		Shed: g.shed, Overloaded: g.since.Load() != 0, Cutoff: g.cutoff.share,
	}
}
