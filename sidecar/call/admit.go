package call

import (
	"math/rand/v2"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
)

// A Step is how a call goes on.
type Step uint8

// The steps.
const (
	Go      Step = iota // with Pick
	Wait                // Owner.Resume says when
	Refused             // Refusal says why; End is due
	Stale               // what was resumed is not this call: nothing is to be done
)

// A Refusal is the answer to a call that may not go on.
type Refusal struct {
	Err    stats.ErrorType
	Status int    // of HTTP, or as stats.GRPC has it; 0: as Err has it
	Detail string // empty: as Err has it
	// RetryAfter is when the caller may try again; 0: nothing is said of that.
	RetryAfter time.Duration
}

// Said is what a request says of the call beside where it goes. The zero Said
// says nothing.
type Said struct {
	Parent    tracing.SpanContext
	HasParent bool
	Priority  []byte        // the value of breaker.PriorityHeader; nil: none
	Attempt   int           // of AttemptHeader; 0: none
	Timeout   time.Duration // what is left to the caller, of TimeoutHeader or grpc-timeout; 0: not said
	Request   Request       // nil unless the route Looks
	// Partial says that not all of the request is at hand. Such a call is let
	// in uncounted: what its client keeps back must not take an application's
	// place from others.
	Partial bool
}

// The headers in which sidecars tell each other of a call's earlier attempts
// and of its deadline are Envoy's.
const (
	AttemptHeader = "x-envoy-attempt-count"
	TimeoutHeader = "x-envoy-expected-rq-timeout-ms"
)

// Begin starts a call on a route. owner is resumed where that says Wait; nil:
// the call cannot wait. End is due whatever it says.
func (c *Call) Begin(t *Tracer, r *Route, said *Said, owner Owner, now int64) Step {
	c.start(t, r, said.Parent, said.HasParent, now)
	c.owner = owner
	r.Service.Active.Add(1)
	c.earlier = said.Attempt
	if said.Timeout > 0 {
		c.until = now + int64(said.Timeout)
	}
	c.priority = r.priority
	c.ownPriority = said.Priority != nil
	if c.ownPriority {
		if p, err := breaker.ParsePriority(string(said.Priority)); err == nil {
			c.priority = p
		}
	}
	if said.Request != nil {
		c.heads(said.Request)
	}
	c.join(said)
	if c.until != 0 && c.until <= now {
		return c.refuse(Refusal{Err: stats.ErrHTTPResponseTimeout, Detail: "the deadline of the call that caused this one has passed"})
	}
	c.choose()
	if r.Server {
		if said.Partial {
			return Go
		}
		return c.knock(now)
	}
	if said.Request != nil {
		c.look(said.Request, now)
	}
	if r.Fault.DelayShare > 0 || r.Fault.AbortShare > 0 {
		if step := c.fault(said.Request, now); step != Go {
			return step
		}
	}
	return c.admit(now)
}

// choose takes one of the route's clusters.
func (c *Call) choose() {
	if c.cluster = c.Route.cluster(); c.cluster != nil {
		c.view = c.cluster.view.Load()
	}
}

// admit takes the call's place in its cluster.
func (c *Call) admit(now int64) Step {
	if b := c.Route.Bucket; b != nil {
		if ok, wait := b.Take(now); !ok {
			return c.refuse(Refusal{
				Err: stats.ErrRateLimited, Detail: c.Route.Service.Name() + " is called more often than its rateLimit allows",
				RetryAfter: time.Duration(wait),
			})
		}
	}
	if c.view == nil || c.view.EDSName == "" && c.Route.Unknown != 0 {
		return c.refuse(Refusal{Err: stats.ErrDestinationNotFound, Status: c.Route.Unknown, Detail: "the route leads to a service that does not exist"})
	}
	v := c.view
	if h := c.cluster.held.Load(); h != nil && h.hold.Waiting() > 0 && c.mayWait() {
		return c.await(now, stats.ErrDestinationUnavailable) // behind those who have waited
	}
	if !v.requests.Acquire() {
		if scaled(&v.Hold) {
			return c.await(now, stats.ErrConnectionLimitReached)
		}
		return c.refuse(Refusal{Err: stats.ErrConnectionLimitReached})
	}
	c.slot = v.requests
	return Go
}

// fault does to the call what the route's policy wants done.
func (c *Call) fault(req Request, now int64) Step {
	f := &c.Route.Fault
	if len(f.Headers) > 0 && (req == nil || !matchHeaders(f.Headers, req)) {
		return Go
	}
	c.aborts = f.AbortShare > 0 && rand.Float64() < f.AbortShare
	if f.DelayShare > 0 && f.Delay > 0 && c.owner != nil && rand.Float64() < f.DelayShare {
		w := newWaiter(c.owner, c.priority, 0, 0, now)
		c.wait, c.delayed = w, true
		w.timer = time.AfterFunc(f.Delay, func() { w.owner.Resume(w) })
		return Wait
	}
	return c.abort()
}

func (c *Call) abort() Step {
	if !c.aborts {
		return Go
	}
	return c.refuse(Refusal{Err: stats.ErrFaultInjected, Status: c.Route.Fault.Abort, Detail: "fault injected by the route's policy"})
}

func (c *Call) refuse(r Refusal) Step {
	c.refusal = r
	return Refused
}

// Refusal says why the call was refused.
func (c *Call) Refusal() Refusal { return c.refusal }

// Resumed follows Owner.Resume, with the owner's lock held.
func (c *Call) Resumed(w *Waiter, now int64) Step {
	if c.wait != w {
		if w.line != nil && w.Verdict == breaker.Admitted {
			w.line.unwanted(w)
		}
		return Stale
	}
	c.wait = nil
	switch {
	case w.line == nil: // a fault's delay is over
		if step := c.abort(); step != Go {
			return step
		}
		if c.cluster != nil {
			c.view = c.cluster.view.Load()
		}
		return c.admit(now)
	case c.Route.Server:
		if w.Verdict != breaker.Admitted {
			c.queued = max(now-w.since, 0)
			return c.shed(now, w, w.Verdict)
		}
		c.enter(now)
		return Go
	}
	c.heldNs += max(now-w.since, 0)
	if w.Verdict != breaker.Admitted {
		return c.refuseHeld(w.Verdict, c.heldFor)
	}
	c.slot = w.slot
	c.view = c.cluster.view.Load()
	return Go
}

// Waiting reports whether the call waits to be resumed.
func (c *Call) Waiting() bool { return c.wait != nil }

// unwait takes a call that is over out of its line.
func (c *Call) unwait() {
	w := c.wait
	if w == nil {
		return
	}
	c.wait = nil
	if w.line == nil {
		w.timer.Stop()
	} else {
		w.line.Abandon(&w.Waiter)
	} // or it is on its way, and will be found Stale
}

// Until is when the call's answer is of no more use to who made it, on the
// engine's clock; 0: not known.
func (c *Call) Until() int64 { return c.until }
