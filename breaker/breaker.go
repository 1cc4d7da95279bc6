// Package breaker keeps callers from what fails: circuit breakers, retry
// budgets and caps on concurrency. Everything in it may be called from any
// goroutine.
//
// # How a Breaker uses gobreaker
//
// github.com/sony/gobreaker/v2 decides the state: it holds the state machine,
// the failures in their rolling window, the consecutive failures, the trials
// of the half-open state and all expiries. Told of every call it costs two
// mutexes, two readings of the clock and one closure, some 270 ns; but while
// closed it asks its rules (ReadyToTrip) at failures only. So it is told
// everything that can matter to an answer, and nothing else:
//
//   - Closed, a failure: told, under a mutex.
//   - Closed, the first success after a failure: told, because it ends the run
//     of consecutive failures.
//   - Closed, any other success: counted in a lock-free rolling window that has
//     gobreaker's buckets, aligned to the start of the same closed period. The
//     ratio rule, called back by gobreaker, reads gobreaker's failures and
//     these successes. A success then costs an atomic load, a reading of the
//     clock (none without the ratio rule) and a compare-and-swap.
//   - Half open: every admission and outcome is told; one closure each.
//   - Open: gobreaker would turn half-open when next asked after its time is
//     over; a timer asks then, so that Ready and State are true to the clock
//     without reading it, and a change is reported when it happens.
//
// Each closed period is one object, carried by the Tickets admitted in it: what
// arrives after its period ended is ignored, as gobreaker ignores outcomes of
// an earlier generation.
//
// Two things differ from calling gobreaker at admission and completion, both
// on purpose. An outcome counts in the bucket in which it arrives, not in that
// of its admission: gobreaker forgets a failure that took longer than the
// window, and an endpoint that only times out would never open. And the ratio
// is of outcomes: calls still in flight do not dilute it. As in gobreaker, a
// run of consecutive failures is forgotten as it leaves the window.
package breaker

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sony/gobreaker/v2"
)

// A Breaker guards one endpoint. Make it with New.
type Breaker struct {
	closed atomic.Pointer[period] // the present closed period; nil if not closed
	room   atomic.Bool            // half open, and gobreaker would admit a trial
	state  atomic.Uint32
	rule   atomic.Uint32 // of the last opening out of the closed state

	name     string
	cfg      Config
	onChange func(name string, from, to State)

	mu    sync.Mutex // held around each call into core, and so in changed
	core  *gobreaker.TwoStepCircuitBreaker[struct{}]
	timer *time.Timer // ends the open state
}

// A Ticket stands for one admitted attempt until Done or Cancel.
type Ticket struct {
	period *period     // admitted while closed
	trial  func(error) // admitted while half open
}

// A period is one stay in the closed state.
type period struct {
	start     time.Time
	bucket    time.Duration
	successes rolling     // nil without a ratio rule
	failing   atomic.Bool // gobreaker knows no success since the last failure
}

func (p *period) tick() uint32 { return uint32(time.Since(p.start) / p.bucket) }

var (
	errFailed   = errors.New("breaker: attempt failed")
	errCanceled = errors.New("breaker: attempt says nothing")
)

// New makes a closed Breaker. onChange may be nil; it is called at each change
// of state, in order, with a lock held: it must be quick and must not call
// Allow, Done or Cancel of this Breaker.
func New(name string, cfg Config, onChange func(name string, from, to State)) *Breaker {
	cfg = cfg.withDefaults()
	b := &Breaker{name: name, cfg: cfg, onChange: onChange}
	if !cfg.Disabled {
		b.core = gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
			Name:          name,
			MaxRequests:   cfg.HalfOpenRequests,
			Interval:      cfg.Window,
			BucketPeriod:  cfg.bucket(),
			Timeout:       cfg.OpenFor,
			ReadyToTrip:   b.readyToTrip,
			OnStateChange: b.changed,
			IsExcluded:    func(err error) bool { return err == errCanceled },
		})
	}
	b.closed.Store(b.newPeriod())
	return b
}

func (b *Breaker) newPeriod() *period {
	p := &period{start: time.Now(), bucket: b.cfg.bucket()}
	if b.core != nil && b.cfg.ErrorRatio > 0 {
		p.successes = make(rolling, buckets)
	}
	return p
}

// Ready tells whether Allow would let an attempt through. It never blocks:
// one atomic load while closed, two otherwise.
func (b *Breaker) Ready() bool { return b.closed.Load() != nil || b.room.Load() }

// State is the present state; one atomic load.
func (b *Breaker) State() State { return State(b.state.Load()) }

// Rule is why it last opened; RuleNone if it never has.
func (b *Breaker) Rule() Rule { return Rule(b.rule.Load()) }

// Allow admits an attempt, or refuses it. For each Ticket admitted, Done or
// Cancel must be called exactly once, and as soon as the outcome is known (for
// a long response: its head): a trial whose outcome never comes keeps the
// breaker half open.
func (b *Breaker) Allow() (Ticket, bool) {
	if p := b.closed.Load(); p != nil {
		return Ticket{period: p}, true
	}
	if !b.room.Load() {
		return Ticket{}, false
	}
	return b.try()
}

// try asks gobreaker for a trial of the half-open state.
func (b *Breaker) try() (Ticket, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if p := b.closed.Load(); p != nil { // meanwhile
		return Ticket{period: p}, true
	}
	if !b.room.Load() {
		return Ticket{}, false
	}
	done, err := b.core.Allow()
	b.publishRoom()
	return Ticket{trial: done}, err == nil
}

// Done reports the outcome of an attempt.
func (b *Breaker) Done(t Ticket, success bool) {
	if p := t.period; success && p != nil && !p.failing.Load() {
		if p.successes != nil {
			p.successes.add(p.tick())
		}
		return
	}
	b.tell(t, success)
}

// Cancel ends an attempt that says nothing about the endpoint, such as one
// whose client went away.
func (b *Breaker) Cancel(t Ticket) {
	if t.trial == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	t.trial(errCanceled)
	b.publishRoom()
}

// tell hands an outcome over to gobreaker.
func (b *Breaker) tell(t Ticket, success bool) {
	if b.core == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	var outcome error
	if !success {
		outcome = errFailed
	}
	if t.trial != nil {
		t.trial(outcome)
		b.publishRoom()
		return
	}
	p := t.period
	if p == nil || p != b.closed.Load() {
		return // of an earlier period
	}
	if success && p.successes != nil {
		p.successes.add(p.tick())
	}
	p.failing.Store(!success)
	if done, err := b.core.Allow(); err == nil { // closed: always admitted
		done(outcome)
	}
}

// publishRoom is called with mu held after anything that uses up or frees a
// trial.
func (b *Breaker) publishRoom() {
	if b.State() != HalfOpen {
		return // changed has seen to it
	}
	c := b.core.Counts()
	b.room.Store(c.Requests < c.TotalExclusions+b.cfg.HalfOpenRequests)
}

// readyToTrip is gobreaker's question at each failure in the closed state.
func (b *Breaker) readyToTrip(c gobreaker.Counts) bool {
	var successes uint64
	if p := b.closed.Load(); p.successes != nil {
		successes = p.successes.sum(p.tick(), buckets)
	}
	rule := b.cfg.tripped(c.ConsecutiveFailures, uint64(c.TotalFailures), successes)
	if rule != RuleNone {
		b.rule.Store(uint32(rule))
	}
	return rule != RuleNone
}

// changed is gobreaker's OnStateChange: mu and gobreaker's own lock are held.
func (b *Breaker) changed(_ string, from, to gobreaker.State) {
	old, now := stateOf(from), stateOf(to)
	b.state.Store(uint32(now))
	b.room.Store(now == HalfOpen)
	switch now {
	case Closed:
		b.closed.Store(b.newPeriod())
	case Open:
		b.closed.Store(nil)
		// gobreaker is open up to and including its expiry.
		if wait := b.cfg.OpenFor + 1; b.timer == nil {
			b.timer = time.AfterFunc(wait, b.expire)
		} else {
			b.timer.Reset(wait)
		}
	}
	if b.onChange != nil {
		b.onChange(b.name, old, now)
	}
}

// expire makes gobreaker see that its open state is over. A breaker that was
// dropped meanwhile is kept alive by the timer until then, and no longer.
func (b *Breaker) expire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.core.State()
}

func stateOf(s gobreaker.State) State {
	switch s {
	case gobreaker.StateClosed:
		return Closed
	case gobreaker.StateHalfOpen:
		return HalfOpen
	default:
		return Open
	}
}
