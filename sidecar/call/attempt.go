package call

import (
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/balancer"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/protocol/grpc"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
)

// An attempt is one request to one endpoint.
type attempt struct {
	ep      *endpoint.Endpoint
	ticket  breaker.Ticket
	began   int64
	context tracing.SpanContext // of its span, where the call is sampled
	nth     int                 // place in tried
	picked  bool                // it is under way
	waiting bool                // and the head of its answer is not there
	turned  bool                // the endpoint had too much to do and did not serve it
	alone   time.Duration       // for how long it asks to be left alone; 0: it does not
}

// Pick starts an attempt: an endpoint that was not tried yet, whose breaker
// lets it through; the one that the caller's session is with, if that can be.
// nil means that there is none.
func (c *Call) Pick(now int64) *endpoint.Endpoint {
	if ep := c.kept(now); ep != nil {
		return ep
	}
	return c.pick(now, nil)
}

// pick is Pick for an attempt beside another one, at an endpoint that is not to
// be chosen again; nil: beside none.
func (c *Call) pick(now int64, beside *endpoint.Endpoint) *endpoint.Endpoint {
	for range 4 {
		ep, forced := c.view.picker.Pick(balancer.Info{
			Tried: c.tried[:c.attempts], Now: now, Active: c.view.requests.InUse(), Hash: c.hash, Hashed: c.hashed,
		})
		if ep == nil || beside != nil && ep.State == beside.State {
			return nil
		}
		t, ok := ep.Breaker.Allow()
		if !ok && !forced {
			continue // opened, or its trials were taken, since the picker looked
		}
		c.started(ep, t, now)
		return ep
	}
	return nil
}

func (c *Call) started(ep *endpoint.Endpoint, t breaker.Ticket, now int64) {
	c.attempt = attempt{ep: ep, ticket: t, began: now, nth: c.attempts, picked: true, waiting: true}
	c.log.begin(c, now)
	if c.span == nil && c.nth > 0 && c.Told() {
		// Should the call be kept in the end, each attempt is a span of its own,
		// and what is below it goes on from that.
		c.attempt.context = c.Context
		c.attempt.context.SpanID = tracing.NewSpanID()
		c.Context = c.attempt.context
	}
	c.tried[c.attempts] = ep
	c.attempts++
	ep.Load.Start(now)
	ep.Requests.Add(1)
	if c.span != nil {
		c.span.attempt(c)
	}
	c.log.try(c.nth).span = c.Context.SpanID
}

// Endpoint is the endpoint of the attempt that is under way or was last.
func (c *Call) Endpoint() *endpoint.Endpoint { return c.attempt.ep }

// Attempts counts the attempts so far, hedges included.
func (c *Call) Attempts() int { return c.attempts }

// Done ends the attempt: with a status (of HTTP, or as stats.GRPC has it), or with the error that took its place,
// latency after it began. It does nothing when no attempt is under way.
func (c *Call) Done(now int64, status int, errType stats.ErrorType, latency int64) {
	if !c.picked {
		return
	}
	c.Answered()
	c.picked = false
	c.measure(now, latency)
	c.log.end(c, now, status, errType)
	ep := c.ep
	if c.turned {
		// An endpoint that says no in a millisecond is well. Its sidecar says so
		// to as many calls as are too many, so that it need not be left alone by
		// all: the share of them is what prices it.
		ep.Load.Turned(now)
		ep.Breaker.Cancel(c.ticket)
	} else {
		if c.alone > 0 || shed(status) {
			ep.Load.Shed(now, c.alone)
		}
		failed := errType != stats.ErrNone || failure(status)
		ep.Load.Done(now, time.Duration(latency), failed)
		ep.Breaker.Done(c.ticket, !failed)
		ep.Outcome(now, failed, latency)
		if failed {
			ep.Failures.Add(1)
		}
	}
}

// Answered says that the head of the attempt's answer is there: from now on the
// endpoint is not held to be stuck for the sake of this call, however long the
// rest takes. Done and Cancel say it where nobody has.
func (c *Call) Answered() {
	if c.picked && c.waiting {
		c.waiting = false
		c.ep.Load.Answered(c.began)
	}
}

// Shed says that the attempt's endpoint asks to be left alone for a while, with
// Retry-After on a 429 or 503 (RFC 9110 section 10.2.3). Done is due all the same,
// and takes no notice of it where the attempt was Turned.
func (c *Call) Shed(after time.Duration) {
	if c.picked {
		c.alone = max(c.alone, after, 1)
	}
}

// Turned says that the attempt's answer is that of a sidecar which has shed the
// call (ProxyStatusShed): nothing counts against the endpoint, and Retry lets the
// call be tried once more and no further. Done is due all the same.
func (c *Call) Turned() {
	if c.picked && !c.turned {
		c.turned = true
		c.turns++
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
	c.log.end(c, now, 0, stats.ErrNone)
	c.ep.Load.Cancel()
	c.ep.Breaker.Cancel(c.ticket)
}

// failure reports whether a status counts against the endpoint: it could not
// serve, as against a request that is not to be served.
func failure(status int) bool {
	if code, ok := stats.GRPCCode(status); ok {
		return grpc.Failure(code)
	}
	return status >= 500 && status != 501 && status != 505
}
