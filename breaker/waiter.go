package breaker

// A Waiter is a call that asks a Gate for admission. It is a field of the
// call, so that waiting allocates nothing. Set the exported fields before
// Enter; the rest is the Gate's until the call is admitted or shed.
type Waiter struct {
	Priority Priority
	// Cohort spreads the calls of one priority over those that are shed first
	// and last. A hash of the trace id sheds the same calls at every tier, so
	// that no tier works for what another one drops.
	Cohort uint8
	// Deadline is when the answer is of no more use, on the Gate's clock in
	// ns; 0: never.
	Deadline int64
	// Owner is who resumes the call: a pointer, for him who gets the Waiter in
	// a list.
	Owner any

	// Verdict is what became of the call, for a Waiter that was Queued.
	Verdict Verdict

	entered    int64
	expires    int64
	prev, next *Waiter
	queued     bool
}

// Next is the next one of a list of decided Waiters. Read it before the
// Waiter is used again.
func (w *Waiter) Next() *Waiter { return w.next }

// A Verdict is what a Gate says.
type Verdict uint8

// The verdicts. All from ShedPriority on mean that the call is not to be made.
const (
	Admitted     Verdict = iota
	Queued               // the verdict comes later, in the list of some other call
	ShedPriority         // calls of this priority and cohort are not let in now
	ShedFull             // the queue is full of calls that go before
	ShedWait             // it waited longer than is of use
	ShedDeadline         // its deadline passed
)

var verdictNames = [...]string{"admitted", "queued", "priority", "full", "wait", "deadline"}

// String is fit for a metric's attribute and for Proxy-Status's details.
func (v Verdict) String() string {
	if int(v) < len(verdictNames) {
		return verdictNames[v]
	}
	return "verdict"
}

// Shed says that the call is refused.
func (v Verdict) Shed() bool { return v >= ShedPriority }

// A decided list is in the order of decision.
type decided struct{ first, last *Waiter }

func (d *decided) add(w *Waiter, v Verdict) {
	w.Verdict = v
	w.prev, w.next = nil, nil
	if d.last == nil {
		d.first = w
	} else {
		d.last.next = w
	}
	d.last = w
}

// waiters holds the queued calls by priority, and in each by the time at which
// they expire. Calls to one service mostly have one timeout, so one that comes
// belongs at the end or near it; the first is then the oldest and the last the
// newest.
type waiters struct {
	lists [priorities]waitList
	n     int
}

type waitList struct {
	head, tail *Waiter
	nonempty   bool // at all times since the last tick
	standing   bool // and for an interval, since when the cutoff has not let go of it
}

func (q *waiters) push(w *Waiter) {
	l := &q.lists[w.Priority.level()]
	after := l.tail
	for after != nil && after.expires > w.expires {
		after = after.prev
	}
	w.prev, w.queued = after, true
	if after == nil {
		w.next, l.head = l.head, w
	} else {
		w.next, after.next = after.next, w
	}
	if w.next == nil {
		l.tail = w
	} else {
		w.next.prev = w
	}
	q.n++
}

func (q *waiters) remove(w *Waiter) {
	l := &q.lists[w.Priority.level()]
	if w.prev == nil {
		l.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		l.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	if l.head == nil {
		l.nonempty = false
	}
	w.prev, w.next, w.queued = nil, nil, false
	q.n--
}

// best is who is served next: of the highest priority, the one that expires
// first; or last, when the list is standing: not all can be served then, and
// the newest has most time left to be of use.
func (q *waiters) best() *Waiter {
	for i := priorities - 1; i >= 0; i-- {
		if l := &q.lists[i]; l.head != nil {
			if l.standing {
				return l.tail
			}
			return l.head
		}
	}
	return nil
}

// worst is who gives way: of the lowest priority, the one that expires first.
func (q *waiters) worst() *Waiter {
	for i := range q.lists {
		if w := q.lists[i].head; w != nil {
			return w
		}
	}
	return nil
}
