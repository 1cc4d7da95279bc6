package call

import (
	"sync"
	"sync/atomic"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/stats"
)

// What a call that comes in says of itself — how important it is, until when
// its answer is of use, how often it was tried before — holds for the calls
// that the application makes for its sake. The sidecar joins the two by the
// trace, so that the application has to do no more than to forward traceparent.
// An application that does not is not joined: its calls begin anew.

// Joins are the traces of the inbound calls under way. It may be used from any
// goroutine.
type Joins struct {
	// Calls out of here, while some call is served: those that were joined with
	// one, and those that were not, most likely because the application does
	// not forward traceparent.
	Joined, Strangers stats.Counter

	n      atomic.Int64
	shards [16]joinShard
}

type joinShard struct {
	mu sync.Mutex
	of map[[16]byte]*Joined
}

// maxJoins bounds the traces of a shard; calls beyond it are not joined.
const maxJoins = 8192

// NewJoins makes an empty table.
func NewJoins() *Joins {
	j := &Joins{}
	for i := range j.shards {
		j.shards[i].of = map[[16]byte]*Joined{}
	}
	return j
}

// A Joined is what the inbound calls of one trace say. Where there are several
// at a time it is what harms none of them: the latest deadline, the highest
// priority, the fewest attempts.
type Joined struct {
	calls    int // guarded by the shard's mu, like the next eight
	until    int64
	priority breaker.Priority // of those calls that say one
	said     bool             // some do
	unsaid   bool             // some do not
	attempts int
	outside  int   // calls out of here that are under way, those of all tiers below
	since    int64 // when the first of these began
	busy     int64 // ns for which there was one, but for those under way
	// retried counts the attempts of the calls out of here that failed in the
	// end: whoever made the inbound call need not try it again.
	retried atomic.Int32
	kept    atomic.Bool // one of those calls is
}

func (j *Joins) shard(trace *[16]byte) *joinShard { return &j.shards[trace[15]&15] }

// put adds an inbound call.
func (j *Joins) put(trace [16]byte, c *Call) *Joined {
	s := j.shard(&trace)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.of[trace]
	if e == nil {
		if len(s.of) >= maxJoins {
			return nil
		}
		e = &Joined{until: c.until, priority: breaker.Sheddable, attempts: c.earlier}
		s.of[trace] = e
		j.n.Add(1)
	} else {
		if c.until == 0 || e.until != 0 && c.until > e.until {
			e.until = c.until
		}
		e.attempts = min(e.attempts, c.earlier)
	}
	if c.ownPriority {
		e.said, e.priority = true, max(e.priority, c.priority)
	} else {
		e.unsaid = true
	}
	e.calls++
	return e
}

// take gives an outbound call what its trace says.
func (j *Joins) take(trace [16]byte, c *Call) {
	s := j.shard(&trace)
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.of[trace]
	if e == nil {
		j.Strangers.Add(1)
		return
	}
	j.Joined.Add(1)
	c.joined = e
	e.out(c.Start)
	if e.until != 0 && (c.until == 0 || e.until < c.until) {
		c.until = e.until
	}
	c.earlier = max(c.earlier, e.attempts)
	if e.said && !c.ownPriority {
		if e.unsaid {
			c.priority = max(c.priority, e.priority)
		} else {
			c.priority = e.priority
		}
	}
}

// remove takes an inbound call away, and returns how long there were calls below it.
func (j *Joins) remove(trace [16]byte, e *Joined, now int64) (below int64) {
	s := j.shard(&trace)
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.calls--; e.calls == 0 {
		delete(s.of, trace)
		j.n.Add(-1)
	}
	return e.below(now)
}

// join finds what the call has to do with those of the other direction.
func (c *Call) join(said *Said) {
	j := c.tracer.Joins
	switch {
	case j == nil:
	case c.Route.Server:
		if c.Context.TraceID != [16]byte{} {
			c.joined = j.put(c.Context.TraceID, c)
		}
	case j.n.Load() == 0: // nothing is served that this call could be for
	case said.HasParent:
		j.take(said.Parent.TraceID, c)
	default:
		j.Strangers.Add(1)
	}
}

// part ends what join began, and returns for how long calls that an inbound
// one has caused were under way, in ns.
func (c *Call) part(now int64, ok bool) (below int64) {
	e := c.joined
	if e == nil {
		return 0
	}
	c.joined = nil
	if c.Route.Server {
		return c.tracer.Joins.remove(c.Context.TraceID, e, now)
	}
	s := c.tracer.Joins.shard(&c.Context.TraceID)
	s.mu.Lock()
	e.back(now)
	s.mu.Unlock()
	if !ok {
		e.give(c)
	}
	return 0
}

// giveUp says, before the failure goes to the application, that whoever called
// that need not try again.
func (c *Call) giveUp() {
	if e := c.joined; e != nil && !c.Route.Server {
		e.give(c)
	}
}

// give notes a call that was tried again, here or below, and failed; or that
// would have been, had the budget not been spent: a tier above has no reason to
// spend its own on the same outage.
func (e *Joined) give(c *Call) {
	if c.attempts > 1 || c.final || c.denied {
		e.retried.Store(int32(max(c.attempts, 2)))
	}
}

// Final says that the answer of an attempt, a failure, comes from where it was
// tried again already (AttemptHeader on an answer): it is not tried again here.
func (c *Call) Final() { c.final = true }

// TriedBelow is how many attempts a failed answer of the application stands
// for, to be said in AttemptHeader; 0: nothing is said.
func (c *Call) TriedBelow(status int) int {
	if c.joined == nil || !c.Route.Server || !failure(status) {
		return 0
	}
	return int(c.joined.retried.Load())
}

// A Tell is what an attempt's request tells the next hop. Zero values are not told.
type Tell struct {
	Priority string // PriorityHeader; empty: as the request itself has it, if it does
	Attempt  int    // AttemptHeader
	Timeout  int64  // TimeoutHeader, ms: what is left for this attempt
}

// Tell is what the newest attempt has to tell, or the first before it is
// picked. It replaces what the request itself says in AttemptHeader and
// TimeoutHeader, if the route Tells.
func (c *Call) Tell(now int64) (t Tell) {
	if !c.ownPriority && c.priority != breaker.Critical {
		t.Priority = c.priority.String()
	}
	if n := max(c.earlier, 1) + max(c.attempts, 1) - 1; n > 1 {
		t.Attempt = n
	}
	end := c.until
	if d := int64(c.Route.Timeout); d > 0 && (end == 0 || c.Start+d < end) {
		end = c.Start + d
	}
	if d := int64(c.Route.AttemptTimeout); d > 0 && (end == 0 || now+d < end) {
		end = now + d
	}
	if end > 0 {
		t.Timeout = max((end-now)/1e6, 1)
	}
	return t
}

// Tells reports whether calls of the route carry what Tell has: those within
// the mesh do.
func (r *Route) Tells() bool { return r.Mesh }
