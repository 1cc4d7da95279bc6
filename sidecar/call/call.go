package call

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
	"github.com/meshd/meshd/xds/resource"
)

// maxAttempts bounds the attempts of a call, whatever a policy says.
const maxAttempts = 8

// Tracer is where sampled calls leave their spans, and who decides on them.
type Tracer struct {
	Sampler *tracing.Sampler
	Emit    func(tracing.Span) // never blocks
	Epoch   time.Time          // what the engine's clock counts from
	// Propagate are the fields that say a trace; nil: traceparent and tracestate.
	Propagate *tracing.Propagators
	// Off says that spans go nowhere: no trace is continued or decided on, and
	// traceparent and tracestate are to go through as they came; where there are
	// none, a call within the mesh gets a trace that nobody samples.
	Off bool
	// Joins lets calls out of the application go on from those that it serves;
	// nil: they do not. Records keeps what there is to say of calls worth it;
	// nil: nothing is kept.
	Joins   *Joins
	Records *Records
	// Tap is who looks at calls now: nil, nearly always.
	Tap atomic.Pointer[Tap]
	// Log gets the calls that LogOnly says, as a Tap's End does; nil: nobody
	// keeps a log.
	Log     func(*Entry)
	LogOnly LogFilter
}

// Propagators are the fields that say a trace.
func (t *Tracer) Propagators() tracing.Propagators {
	if t.Propagate == nil {
		return tracing.Propagators{TraceContext: true}
	}
	return *t.Propagate
}

// A Call is one call from its route to its outcome. It is a value that its
// owner reuses; the owner's lock guards it. The order is
//
//	Begin  (Pick  Done | Cancel)*  End
//
// with Retry asked before a further Pick, and NoEndpoint after one without a
// result. Where one of these says Wait, Resumed comes before what is next. A
// second attempt beside the first is in hedge.go.
type Call struct {
	Route   *Route
	Context tracing.SpanContext // what the next hop is told, if Told; changes with each attempt but the first, and that too of sampled calls
	Start   int64               // ns on the engine's clock

	tracer  *Tracer
	parent  tracing.SpanContext // as the request has it
	keep    keeping
	asked   bool // whoever answered has kept it
	begun   bool // a trace that is not collected
	owner   Owner
	cluster *Cluster
	view    *view
	slot    *breaker.Limit // what admitted the call and gets a place back
	wait    *Waiter        // what it waits for
	refusal Refusal
	heldFor stats.ErrorType
	delayed bool // by a fault
	aborts  bool // and is to be failed

	attempts int
	tried    [maxAttempts]*endpoint.Endpoint
	attempt
	beside    attempt // a hedge, or what it was made beside
	hedged    bool
	hedgeable bool // a success pays for hedges
	measured  bool // Route.hedge counts on what the first attempt takes

	hash   uint64
	hashed bool
	session

	// What travels with the call: see travel.go.
	until       int64 // ns; 0: no deadline is known
	priority    breaker.Priority
	ownPriority bool // said by the request itself
	earlier     int  // the attempts that led to this call
	final       bool // whoever failed has tried again already
	denied      bool // a retry, by the budget
	turns       int  // attempts that were Turned
	joined      *Joined

	// The stay with the application, inbound: see gateway.go.
	entered int64
	queued  int64 // ns before that
	heldNs  int64 // ns in a hold, outbound
	inside  bool
	door    *door
	gauged  bool
	met     int64 // of Gateway.gauge

	headers []Header // that a Tap asks for

	open   bool // the attempt is an open connection: connection.go
	judged bool // the breaker has had its verdict on that
	span   *record
	log    decisions
}

func (c *Call) start(t *Tracer, r *Route, parent tracing.SpanContext, hasParent bool, now int64) {
	*c = Call{Route: r, Start: now, tracer: t, keep: notYet}
	switch {
	case !t.Off:
		if hasParent {
			c.parent = parent
		}
		c.Context = t.Sampler.Start(parent, hasParent, r.TraceRatio)
	case hasParent || !r.Mesh:
		c.Context = parent
	default:
		// Nobody collects it; but by the trace, deadlines and all that travels
		// cross the application at the other end (travel.go).
		c.Context = t.Sampler.Start(tracing.SpanContext{}, false, 0)
		c.begun = true
	}
	if c.Context.Sampled() && !t.Off {
		c.span = newRecord(c.Context, parent)
	}
}

// Told reports whether the next hop is told Context, in place of what the
// request itself says in traceparent.
func (c *Call) Told() bool {
	return (!c.tracer.Off || c.begun) && (c.tracer.Propagate == nil || !c.tracer.Propagate.None())
}

// Describe gives a sampled call's span what only the protocol knows. It costs
// nothing when the call is not sampled.
func (c *Call) Describe(method, path, peer, traceState []byte) {
	if c.span != nil {
		c.span.describe(method, path, peer, traceState)
	}
}

// DescribeProtocol gives a sampled call's span the version of HTTP that the
// caller speaks ("1.1", "2") and whether the call is gRPC: its span is then
// that of an RPC. Like Describe, which it goes with in either order.
func (c *Call) DescribeProtocol(version string, rpc bool) {
	if c.span != nil {
		c.span.version, c.span.rpc = version, rpc
	}
}

// Sampled reports whether the call leaves spans, whatever becomes of it.
func (c *Call) Sampled() bool { return c.span != nil }

// Retold reports whether what the newest attempt is told in traceparent differs
// from what Begin has left in Context.
func (c *Call) Retold() bool { return c.span != nil || c.attempts > 1 && c.Told() }

// Retry decides whether the call is tried again for a reason, and after what
// delay. replayable says that the request can be sent again as far as the
// protocol goes: it is idempotent, or nothing of it was sent, and all of it is
// still at hand.
func (c *Call) Retry(now int64, reason stats.RetryReason, replayable bool) (time.Duration, bool) {
	p := &c.Route.Retry
	switch {
	case !replayable, p.On&reasonBits[reason] == 0, c.attempts-c.extra() > p.Attempts, c.attempts >= maxAttempts,
		c.turns > 1: // a third endpoint has no more to spare than two
		c.giveUp()
		return 0, false
	case c.earlier > 1 && reason != stats.RetryConnectFailure && reason != stats.RetryRefused, c.final:
		// Another tier tries again: two that do multiply.
		c.log.note(noteOtherTier)
		c.giveUp()
		return 0, false
	}
	if c.view == nil || !c.view.budget.Withdraw() {
		c.Route.Service.RetryDenied()
		c.log.note(noteBudget)
		c.denied = true
		c.giveUp()
		return 0, false
	}
	c.Route.Service.Retry(reason)
	c.log.again(reason)
	if c.span != nil {
		c.span.retry(c, now, reason)
	}
	return c.backoff(), true
}

// reasonBits are the policy's words for the reasons. An attempt that timed out
// is a reset of ours (Envoy: per_try_timeout under reset).
var reasonBits = [...]resource.RetryOn{
	stats.RetryConnectFailure: resource.RetryConnectFailure,
	stats.RetryReset:          resource.RetryReset,
	stats.Retry502:            resource.Retry502,
	stats.Retry503:            resource.Retry503,
	stats.Retry504:            resource.Retry504,
	stats.RetryTimeout:        resource.RetryReset,

	stats.RetryRefused:           resource.RetryRefused,
	stats.RetryCancelled:         resource.RetryCancelled,
	stats.RetryDeadlineExceeded:  resource.RetryDeadlineExceeded,
	stats.RetryInternal:          resource.RetryInternal,
	stats.RetryResourceExhausted: resource.RetryResourceExhausted,
	stats.RetryUnavailable:       resource.RetryUnavailable,

	stats.RetryIdleReset: 0,
}

// backoff is full jitter: anything up to base × 2^(retries so far), capped.
func (c *Call) backoff() time.Duration {
	p := &c.Route.Retry
	if p.BackoffBase <= 0 {
		return 0
	}
	top := p.BackoffBase << min(c.attempts-1, 16)
	if p.BackoffMax > 0 && top > p.BackoffMax {
		top = p.BackoffMax
	}
	return time.Duration(rand.Int64N(int64(top) + 1))
}

// Protocol is what the endpoints of the call's cluster speak.
func (c *Call) Protocol() resource.Protocol { return c.view.Protocol }

// Pending asks for a place among those who wait for a connection; Unpend
// gives it back.
func (c *Call) Pending() bool { return c.view.pending.Acquire() }

// Unpend gives the place back.
func (c *Call) Unpend() { c.view.pending.Release() }

// ConnectTimeout bounds a dial.
func (c *Call) ConnectTimeout() time.Duration {
	if d := c.view.ConnectTimeout; d > 0 {
		return d
	}
	return DefaultConnectTimeout
}

// End records the call's outcome: the status that the client got (of HTTP, or
// as stats.GRPC has it where it got a grpc-status), and why the proxy answered by itself when it did, or ErrClientClosed.
func (c *Call) End(now int64, status int, errType stats.ErrorType) {
	c.unwait()
	c.Unhedge(now)
	c.leave(now, errType == stats.ErrNone)
	ok := errType == stats.ErrNone && !failure(status)
	if ok && !c.Route.Server && c.view != nil {
		// A success pays for retries: in an outage nothing does.
		c.view.budget.DepositAt(now)
		if c.hedgeable {
			c.Route.hedge.Credit(now)
		}
	}
	kept := c.worth(now, status, errType)
	parts := c.parts(now, c.part(now, ok))
	c.spent(&parts)
	c.Route.Service.Active.Add(-1)
	if took := time.Duration(now - c.Start); kept && !c.tracer.Off {
		c.Route.Stats.RecordKept(status, errType, took, c.exemplar(now))
	} else {
		c.Route.Stats.Record(status, errType, took)
	}
	if kept {
		c.remember(now, status, errType, &parts)
	}
	c.tell(now, status, errType, &parts, nil)
	if c.span != nil {
		c.span.end(c, now, status, errType, &parts)
	}
	c.release(ok)
}

// release gives back what the call holds.
func (c *Call) release(ok bool) {
	if c.slot != nil {
		c.slot.Release()
		c.slot = nil
	}
	if c.cluster != nil {
		if h := c.cluster.held.Load(); h != nil && h.hold.Waiting() > 0 {
			n := 1
			if ok {
				n = 2
			}
			h.letGo(n)
		}
	}
	if c.span != nil {
		c.span.free()
	}
	c.view, c.cluster, c.Route, c.span, c.owner, c.headers = nil, nil, nil, nil, nil, nil
	clear(c.tried[:c.attempts])
	c.log.first.ep, c.log.more = nil, nil // an idle owner is not to keep endpoints that are gone
	c.attempts = 0
	c.attempt, c.beside, c.door = attempt{}, attempt{}, nil
}
