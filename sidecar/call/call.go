package call

import (
	"math/rand/v2"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/balancer"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/protocol/grpc"
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
	// Off says that spans go nowhere: no trace is started, continued or decided
	// on, and traceparent and tracestate are to go through as they came.
	Off bool
}

// A Call is one call from its route to its outcome. It is a value that its
// owner reuses; the owner's lock guards it. The order is
//
//	Begin  (Pick  Done | Cancel)*  End
//
// with Retry asked before a further Pick.
type Call struct {
	Route   *Route
	Context tracing.SpanContext // what the next hop is told, unless Tracer.Off; changes with each sampled attempt
	Start   int64               // ns on the engine's clock

	tracer   *Tracer
	view     *view
	admitted bool
	attempts int
	tried    [maxAttempts]*endpoint.Endpoint
	ticket   breaker.Ticket
	hash     uint64
	hashed   bool
	began    int64 // of the attempt
	picked   bool  // an attempt is under way
	waiting  bool  // and the head of its answer is not there
	open     bool  // the attempt is an open connection: connection.go
	judged   bool  // the breaker has had its verdict on that
	span     *record
}

// Begin starts a call on a route. A result other than stats.ErrNone says that
// it may not go on; End is due all the same.
func (c *Call) Begin(t *Tracer, r *Route, parent tracing.SpanContext, hasParent bool, now int64) stats.ErrorType {
	c.start(t, r, parent, hasParent, now)
	r.Service.Active.Add(1)
	return c.admit()
}

func (c *Call) start(t *Tracer, r *Route, parent tracing.SpanContext, hasParent bool, now int64) {
	*c = Call{Route: r, Start: now, tracer: t}
	if !t.Off {
		c.Context = t.Sampler.Start(parent, hasParent, r.TraceRatio)
	}
	if c.Context.Sampled() {
		c.span = &record{call: c.Context, parent: parent}
	}
}

// admit takes the call's place in its cluster.
func (c *Call) admit() stats.ErrorType {
	cl := c.Route.cluster()
	if cl == nil {
		return stats.ErrDestinationNotFound
	}
	c.view = cl.view.Load()
	c.view.budget.Deposit()
	if !c.view.requests.Acquire() {
		return stats.ErrConnectionLimitReached
	}
	c.admitted = true
	return stats.ErrNone
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

// Sampled reports whether the call leaves spans.
func (c *Call) Sampled() bool { return c.span != nil }

// Pick starts an attempt: an endpoint that was not tried yet, whose breaker
// lets it through. nil means that there is none.
func (c *Call) Pick(now int64) *endpoint.Endpoint {
	for range 4 {
		ep, forced := c.view.picker.Pick(balancer.Info{
			Tried: c.tried[:c.attempts], Now: now, Active: c.view.requests.InUse(), Hash: c.hash, Hashed: c.hashed,
		})
		if ep == nil {
			return nil
		}
		t, ok := ep.Breaker.Allow()
		if !ok && !forced {
			continue // opened, or its trials were taken, since the picker looked
		}
		c.ticket = t
		c.started(ep, now)
		return ep
	}
	return nil
}

func (c *Call) started(ep *endpoint.Endpoint, now int64) {
	c.tried[c.attempts] = ep
	c.attempts++
	c.began, c.picked, c.waiting = now, true, true
	ep.Load.Start(now)
	ep.Requests.Add(1)
	if c.span != nil {
		c.span.attempt(c)
	}
}

// Endpoint is the endpoint of the attempt that is under way or was last.
func (c *Call) Endpoint() *endpoint.Endpoint {
	if c.attempts == 0 {
		return nil
	}
	return c.tried[c.attempts-1]
}

// Attempts counts the attempts so far.
func (c *Call) Attempts() int { return c.attempts }

// Done ends the attempt: with a status (of HTTP, or as stats.GRPC has it), or with the error that took its place,
// latency after it began. It does nothing when no attempt is under way.
func (c *Call) Done(now int64, status int, errType stats.ErrorType, latency int64) {
	if !c.picked {
		return
	}
	c.Answered()
	c.picked = false
	ep := c.Endpoint()
	if shed(status) {
		ep.Load.Shed(now, 0)
	}
	failed := errType != stats.ErrNone || failure(status)
	ep.Load.Done(now, time.Duration(latency), failed)
	ep.Breaker.Done(c.ticket, !failed)
	if failed {
		ep.Failures.Add(1)
	}
	if c.span != nil {
		c.span.attemptDone(c, now, status, errType)
	}
}

// Answered says that the head of the attempt's answer is there: from now on the
// endpoint is not held to be stuck for the sake of this call, however long the
// rest takes. Done and Cancel say it where nobody has.
func (c *Call) Answered() {
	if c.picked && c.waiting {
		c.waiting = false
		c.Endpoint().Load.Answered(c.began)
	}
}

// Shed says that the attempt's endpoint asks to be left alone for a while, with
// Retry-After on a 429 or 503 (RFC 9110 section 10.2.3). Done is due all the same.
func (c *Call) Shed(now int64, after time.Duration) {
	if c.picked {
		c.Endpoint().Load.Shed(now, after)
	}
}

// RetryAfter is the time for which a Retry-After of so many seconds is taken.
func RetryAfter(seconds int64) time.Duration {
	const most = 300
	return time.Duration(min(seconds, most)) * time.Second
}

// shed reports whether a status says that the endpoint has too much to do, and
// not that it cannot serve: a breaker does not count it.
func shed(status int) bool {
	if code, ok := stats.GRPCCode(status); ok {
		return code == grpc.ResourceExhausted
	}
	return status == 429
}

// Began is when the attempt began.
func (c *Call) Began() int64 { return c.began }

// Cancel ends the attempt without a verdict on the endpoint: the client went away.
func (c *Call) Cancel(now int64) {
	if !c.picked {
		return
	}
	c.Answered()
	c.picked = false
	ep := c.Endpoint()
	ep.Load.Cancel()
	ep.Breaker.Cancel(c.ticket)
	if c.span != nil {
		c.span.attemptDone(c, now, 0, stats.ErrNone)
	}
}

// failure reports whether a status counts against the endpoint: it could not
// serve, as against a request that is not to be served.
func failure(status int) bool {
	if code, ok := stats.GRPCCode(status); ok {
		return grpc.Failure(code)
	}
	return status >= 500 && status != 501 && status != 505
}

// Retry decides whether the call is tried again for a reason, and after what
// delay. replayable says that the request can be sent again as far as the
// protocol goes: it is idempotent, or nothing of it was sent, and all of it is
// still at hand.
func (c *Call) Retry(now int64, reason stats.RetryReason, replayable bool) (time.Duration, bool) {
	p := &c.Route.Retry
	if !replayable || p.On&reasonBits[reason] == 0 || c.attempts > p.Attempts || c.attempts >= maxAttempts {
		return 0, false
	}
	if c.view == nil || !c.view.budget.Withdraw() {
		c.Route.Service.RetryDenied()
		return 0, false
	}
	c.Route.Service.Retry(reason)
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
	c.Route.Service.Active.Add(-1)
	c.Route.Stats.Record(status, errType, time.Duration(now-c.Start))
	if c.span != nil {
		c.span.end(c, now, status, errType)
	}
	c.release()
}

// release gives back what the call holds.
func (c *Call) release() {
	if c.admitted {
		c.view.requests.Release()
	}
	c.view, c.Route, c.span = nil, nil, nil
	clear(c.tried[:c.attempts])
	c.attempts = 0
}
