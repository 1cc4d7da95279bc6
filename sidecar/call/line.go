package call

import (
	"sync"
	"time"

	"github.com/meshd/meshd/breaker"
)

// An Owner has calls that may have to wait. Resume is called on a goroutine of
// its own with no lock held, once for each Begin, NoEndpoint or Resumed that
// said Wait, and at most once where the call ends before: it may be on its way
// then, and come when the call is long over. The owner takes its lock,
// gives w to Resumed of the call that it may be for, and does what that says.
type Owner interface {
	Resume(w *Waiter)
	// Subject is what the call under way is, for a record of it, with the
	// owner's lock held.
	Subject() Subject
}

// A Subject is what only the protocol knows of a call. Its strings may be of
// buffers that are used again.
type Subject struct {
	Method, Path string // Path with its query, or as much as is at hand
	Peer         string // who called
	Version      string // of HTTP, as the caller speaks it: "1.1", "2"
	RPC          bool   // it is gRPC
}

// A Waiter is a call that waits, as those see it that it waits for. It is the
// line's until it has been resumed, even if the call is long over.
type Waiter struct {
	breaker.Waiter
	owner Owner
	line  *line          // nil: a delay that ends by itself
	slot  *breaker.Limit // what a hold has taken for the call that it lets go
	timer *time.Timer    // of the delay
	since int64          // ns
}

// A queue is a Gate or a Hold.
type queue interface {
	Abandon(w *breaker.Waiter) bool
	Expire(now int64) (list *breaker.Waiter, at int64)
}

// A line is a queue with its timer.
type line struct {
	queue
	now func() int64
	// unwanted gives back what a call was let go with that nobody resumes.
	unwanted func(w *Waiter)
	// looked is called at each look; may be nil.
	looked func()
	// poll bounds the time between two looks: who comes later may have to
	// leave earlier.
	poll time.Duration

	mu    sync.Mutex
	armed bool
	timer *time.Timer
}

// queued is due after a call was queued.
func (l *line) queued() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.armed {
		return
	}
	l.armed = true
	if l.timer == nil {
		l.timer = time.AfterFunc(l.poll, l.expire)
		return
	}
	l.timer.Reset(l.poll)
}

func (l *line) expire() {
	l.mu.Lock()
	now := l.now()
	list, at := l.Expire(now)
	if at == 0 {
		l.armed = false
	} else {
		l.timer.Reset(min(max(time.Duration(at-now), 100*time.Microsecond), l.poll))
	}
	l.mu.Unlock()
	resume(list)
	if l.looked != nil {
		l.looked()
	}
}

// resume wakes the calls of a list, each by a goroutine, since their owners'
// locks may be held by whoever has decided on them.
func resume(list *breaker.Waiter) {
	for list != nil {
		w := list.Owner.(*Waiter)
		list = list.Next()
		go w.owner.Resume(w)
	}
}

// newWaiter is a Waiter of the call, for owner.
func newWaiter(owner Owner, priority breaker.Priority, cohort uint8, deadline, now int64) *Waiter {
	w := &Waiter{owner: owner, since: now}
	w.Waiter = breaker.Waiter{Priority: priority, Cohort: cohort, Deadline: deadline, Owner: w}
	return w
}
