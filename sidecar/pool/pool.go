// Package pool keeps the connections to one endpoint: the idle ones, newest
// first, the number of all, and who waits for one when the cap is reached.
//
// It never dials, closes or retries; it only counts and hands over.
package pool

import (
	"slices"
	"sync"
)

// A Verdict is what Get tells its caller to do.
type Verdict uint8

const (
	Idle   Verdict = iota // the returned connection is the caller's
	Dial                  // the caller may open a connection, and owes Put, or Lost
	Queued                // the cap is reached; the Waiter will be called
	Full                  // the cap is reached and so is the bound on waiters
)

// A Waiter is called once, from Put or Lost, without locks of the pool held:
// with a connection that is now its own, or with ok false when it may dial.
type Waiter[C comparable] func(c C, ok bool)

// A Pool is safe for concurrent use. The zero Pool has no cap.
type Pool[C comparable] struct {
	// MaxConns caps the open connections, those being dialled included; 0 is no cap.
	MaxConns int

	mu      sync.Mutex
	idle    []entry[C]
	open    int
	waiters []*ticket[C]
	closed  bool
}

type entry[C comparable] struct {
	c     C
	since int64 // ns, the engine's clock
}

type ticket[C comparable] struct{ wake Waiter[C] }

// Get asks for a connection. wait makes the Waiter when it is needed, which
// is only when the cap is reached; admit is asked then whether one more may
// wait. The returned cancel (nil unless Queued) takes the Waiter out of the
// queue and reports whether it was still in it.
func (p *Pool[C]) Get(wait func() Waiter[C], admit func() bool) (c C, v Verdict, cancel func() bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.idle); n > 0 {
		c = p.idle[n-1].c
		p.idle[n-1] = entry[C]{}
		p.idle = p.idle[:n-1]
		return c, Idle, nil
	}
	if p.MaxConns == 0 || p.open < p.MaxConns {
		p.open++
		return c, Dial, nil
	}
	if !admit() {
		return c, Full, nil
	}
	t := &ticket[C]{wake: wait()}
	p.waiters = append(p.waiters, t)
	return c, Queued, func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		i := slices.Index(p.waiters, t)
		if i < 0 {
			return false
		}
		p.waiters = slices.Delete(p.waiters, i, i+1)
		return true
	}
}

// Fresh takes the place of one connection to be dialled although others may be
// idle; false when the cap is reached.
func (p *Pool[C]) Fresh() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.MaxConns != 0 && p.open >= p.MaxConns {
		return false
	}
	p.open++
	return true
}

// next takes the longest-waiting ticket, with mu held.
func (p *Pool[C]) next() *ticket[C] {
	if len(p.waiters) == 0 {
		p.waiters = nil
		return nil
	}
	t := p.waiters[0]
	p.waiters[0] = nil
	p.waiters = p.waiters[1:]
	return t
}

// Put gives a connection that can be used again back, at time now (ns). It
// reports false when the pool is closed: the caller closes the connection, and
// its place is free without a call of Lost.
func (p *Pool[C]) Put(c C, now int64) bool {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		p.Lost()
		return false
	}
	t := p.next()
	if t == nil {
		p.idle = append(p.idle, entry[C]{c, now})
	}
	p.mu.Unlock()
	if t != nil {
		t.wake(c, true)
	}
	return true
}

// Take removes an idle connection and reports whether it was idle here: then
// it is the caller's.
func (p *Pool[C]) Take(c C) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i := len(p.idle) - 1; i >= 0; i-- {
		if p.idle[i].c == c {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			return true
		}
	}
	return false
}

// Lost says that a connection which was the caller's (from Get, Take or a
// permitted dial) is no more.
func (p *Pool[C]) Lost() {
	p.mu.Lock()
	t := p.next()
	if t == nil {
		p.open--
	}
	p.mu.Unlock()
	if t != nil {
		var none C
		t.wake(none, false) // it dials in the place of the one that was lost
	}
}

// Expired takes out the connections idle since before the given time, and
// those of which dead says so, which must not block nor call the pool. They
// are the caller's, who closes them and calls Lost for each.
func (p *Pool[C]) Expired(before int64, dead func(C) bool) (out []C) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle = slices.DeleteFunc(p.idle, func(e entry[C]) bool {
		if e.since >= before && !dead(e.c) {
			return false
		}
		out = append(out, e.c)
		return true
	})
	return out
}

// Close takes out all idle connections, as Expired does, and makes later Puts
// report false.
func (p *Pool[C]) Close() []C {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	out := make([]C, 0, len(p.idle))
	for _, e := range p.idle {
		out = append(out, e.c)
	}
	p.idle = nil
	return out
}

// Stats are the numbers of a pool at one moment.
type Stats struct{ Open, Idle, Waiting int }

// Stats returns the numbers of now.
func (p *Pool[C]) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return Stats{Open: p.open, Idle: len(p.idle), Waiting: len(p.waiters)}
}

// A Pair is what an endpoint has of connections, each kind in the hands of the
// room that makes it: Exclusive ones carry one call at a time (HTTP/1.1) and
// are set from the start; Shared ones carry many (HTTP/2) and are guarded by
// that room's lock.
type Pair struct{ Exclusive, Shared any }
