package call

import (
	"time"

	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
)

// A connection whose bytes nobody looks at is a call too. Its order is
//
//	BeginConnection  (Pick  Done | Cancel)*  (Pick  Connected  Judge*)?  EndConnection
//
// with Retry before a further Pick, as for any call. Its attempts are the
// endpoints dialled; what came of a dial that failed is Done's.

// BeginConnection is Begin for a connection from peer, an address for its
// span. The service's TCP counts it, and no metric of HTTP.
func (c *Call) BeginConnection(t *Tracer, r *Route, peer string, owner Owner, now int64) Step {
	c.start(t, r, tracing.SpanContext{}, false, now)
	if c.span != nil {
		c.span.tcp, c.span.peer = true, peer
	}
	r.Service.TCP().Begin()
	c.owner, c.priority = owner, r.priority
	c.choose()
	return c.admit(now)
}

// Connected says that the endpoint has taken the connection. That is the
// attempt's outcome: the endpoint is priced by the time that it took to
// connect, and has one more in flight until EndConnection.
func (c *Call) Connected(now int64) {
	if !c.picked {
		return
	}
	c.Answered()
	c.picked, c.open = false, true
	c.ep.Load.Observe(now, time.Duration(now-c.began), false)
	c.log.end(c, now, 0, stats.ErrNone)
}

// Judge tells the breaker what an open connection says of its endpoint. Only
// the first verdict counts: an endpoint whose kernel, or whose sidecar, takes
// connections for a process that is not there gives itself away a moment later.
func (c *Call) Judge(now int64, failed bool) {
	if !c.open || c.judged {
		return
	}
	c.judged = true
	ep := c.Endpoint()
	ep.Breaker.Done(c.ticket, !failed)
	ep.Outcome(now, failed, 0)
	if failed {
		ep.Failures.Add(1)
		ep.Load.Observe(now, time.Duration(now-c.began), true)
	}
}

// Crowded reports whether the attempt's endpoint has more connections than the
// cluster allows it (max_connections of per_host_thresholds).
func (c *Call) Crowded() bool {
	limit := c.view.Limits.Connections
	return limit > 0 && c.Endpoint().Load.InFlight() > int64(limit)
}

// EndConnection records the outcome: why the connection ended, if not because
// both sides had said all. sent and received are in bytes, as seen from the
// application that this sidecar belongs to.
func (c *Call) EndConnection(now int64, errType stats.ErrorType, sent, received int64) {
	c.unwait()
	c.Cancel(now)
	if c.open {
		c.Judge(now, false)
		c.Endpoint().Load.Cancel()
	}
	c.Route.Service.TCP().End(errType, time.Duration(now-c.Start))
	if c.span != nil {
		c.span.endConnection(c, now, errType, sent, received)
	}
	c.tell(now, 0, errType, &[stats.Parts]int64{}, &bytesMoved{sent, received})
	c.open, c.judged = false, false
	c.release(errType == stats.ErrNone)
}

func (r *record) endConnection(c *Call, now int64, e stats.ErrorType, sent, received int64) {
	var attrs tracing.Attributes
	kind := r.attempted(c, &attrs)
	attrs.Add(tracing.MeshSent.Int64(sent), tracing.MeshReceived.Int64(received))
	if r.peer != "" {
		attrs.String(tracing.ClientAddress, r.peer)
	}
	decided(&attrs, c)
	failed := outcome(&attrs, 0, e, c.Route.Server)
	c.tracer.Emit(tracing.Span{
		Context: r.call, Kind: kind, Name: r.name, Attributes: attrs, Events: r.events, Failed: failed,
		Start: c.tracer.time(c.Start), End: c.tracer.time(now),
	})
}

// connectionName is the name of a connection's spans.
func connectionName(to *Route) string { return "TCP " + to.Host }
