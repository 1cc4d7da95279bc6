package telemetry

import "sync"

// A queue runs what many goroutines bring, one after the other. It is a lock
// that is seldom handed over: whoever has it runs what others have brought
// meanwhile. Where hundreds wait for a mutex, each that is given it has to wait
// for a processor first, and reports are received much faster than taken.
type queue struct {
	mu      sync.Mutex
	busy    bool
	waiting []*errand
}

// An errand is what somebody waits for.
type errand struct {
	do   func()
	done chan bool // told once: true if it is done, false if it is the waiter's to go on
}

// inARow is how many errands of others one runs before the next has to.
const inARow = 32

// run returns when do has run, on this goroutine or on another one.
func (q *queue) run(do func()) {
	q.mu.Lock()
	if q.busy {
		e := &errand{do, make(chan bool, 1)}
		q.waiting = append(q.waiting, e)
		q.mu.Unlock()
		if <-e.done {
			return
		}
	} else {
		q.busy = true
		q.mu.Unlock()
	}
	do()
	for n := 0; ; n++ {
		q.mu.Lock()
		if len(q.waiting) == 0 {
			q.busy = false
			q.mu.Unlock()
			return
		}
		e := q.waiting[0]
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		q.mu.Unlock()
		if n == inARow {
			e.done <- false
			return
		}
		e.do()
		e.done <- true
	}
}
