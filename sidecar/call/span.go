package call

import (
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
)

// A record gathers the spans of a sampled call: one for the call, and on the
// client's side one child an attempt. It exists only while the call is sampled,
// and is used again: with all calls sampled, what it holds would otherwise be
// most of the garbage that there is.
type record struct {
	call       tracing.SpanContext
	parent     tracing.SpanContext
	method     string
	path       string
	query      string
	peer       string
	version    string // of HTTP, as the caller speaks it
	rpc        bool   // it is gRPC
	tcp        bool   // it is a connection: connection.go
	traceState string
	name       string // of its spans, once it has been made
	events     []tracing.Event
	grounds    []attribute.KeyValue // see grounds
}

var records = sync.Pool{New: func() any { return new(record) }}

// scratches are where the attributes of a span are put together. They are no
// part of a record, of which there is one for each call under way: a few that
// are used all the time stay in the processor's cache.
var scratches = sync.Pool{New: func() any { return new(tracing.Attributes) }}

func newRecord(call, parent tracing.SpanContext) *record {
	r := records.Get().(*record)
	*r = record{call: call, parent: parent, events: r.events[:0]}
	return r
}

func (r *record) free() {
	clear(r.events)
	records.Put(r)
}

// describe takes what only the protocol knows; the strings are copied.
func (r *record) describe(method, path, peer, state []byte) {
	// One string for all that has to be copied.
	var b [512]byte
	all := string(append(append(append(append(b[:0], method...), path...), peer...), state...))
	cut := func(n int) (s string) { s, all = all[:n], all[n:]; return s }
	r.method, r.path, r.peer, r.traceState = cut(len(method)), cut(len(path)), cut(len(peer)), cut(len(state))
	r.path, r.query, _ = strings.Cut(r.path, "?")
}

// attempt begins the span of an attempt and returns its context.
func (r *record) attempt(c *Call) {
	if c.Route.Server {
		return // one attempt, and the server span says it all
	}
	c.attempt.context = c.tracer.Sampler.Start(r.call, true, -1)
	c.Context = c.attempt.context
}

// attempted emits the spans of the attempts, when the call has ended, and begins
// the call's own: its kind, and the attributes that all of them have.
func (r *record) attempted(c *Call, attrs *tracing.Attributes) tracing.Kind {
	r.common(c, attrs)
	r.name = r.named(c.Route)
	if c.Route.Server {
		return tracing.KindServer // which says it all
	}
	for n := range c.attempts {
		r.attemptSpan(c, n, *attrs) // each writes behind them, and is done with it
	}
	return tracing.KindClient
}

func (r *record) attemptSpan(c *Call, n int, attrs tracing.Attributes) {
	t := c.log.try(n)
	context := r.call
	context.SpanID = t.span
	attrs.Join(peer(t.ep))
	attrs.Float64(tracing.MeshCost, t.cost/1e6)
	if n > 0 {
		if t.hedge {
			attrs.Add(tracing.MeshHedge.Bool(true))
		} else if t.again {
			attrs.String(tracing.MeshRetryReason, t.reason.String())
		}
		if !r.tcp {
			attrs.Int(tracing.HTTPResendCount, n)
		}
	}
	failed := outcome(&attrs, t.status, t.err, false)
	c.tracer.Emit(tracing.Span{
		Context: context, Parent: r.call, Kind: tracing.KindClient, TraceState: r.traceState,
		Name: r.name, Attributes: attrs, Failed: failed, Kept: c.keep.forcing(),
		Start: c.tracer.time(t.began), End: c.tracer.time(max(t.ended, t.began)),
	})
}

func (r *record) retry(c *Call, now int64, reason stats.RetryReason) {
	r.events = append(r.events, retryEvent(c.tracer.time(now), reason))
}

func retryEvent(at time.Time, reason stats.RetryReason) tracing.Event {
	return tracing.Event{
		Name: "retry", Time: at,
		Attributes: []attribute.KeyValue{tracing.MeshRetryReason.String(reason.String())},
	}
}

// end emits the spans of the call.
func (r *record) end(c *Call, now int64, status int, e stats.ErrorType, parts *[stats.Parts]int64) {
	attrs := scratches.Get().(*tracing.Attributes)
	defer scratches.Put(attrs)
	kind := r.attempted(c, attrs)
	if r.version != "" {
		attrs.String(tracing.NetworkVersion, r.version)
	}
	if r.peer != "" {
		attrs.String(tracing.ClientAddress, r.peer)
	}
	if c.attempts > 1 {
		attrs.Int(tracing.HTTPResendCount, c.attempts-1)
	}
	for i, ns := range parts {
		if ns > 0 {
			attrs.Float64(partKeys[i], float64(ns)/1e6)
		}
	}
	decided(attrs, c)
	if c.keep < kinds {
		attrs.String(tracing.MeshKept, c.keep.String())
	}
	attrs.Add(r.grounds...)
	failed := outcome(attrs, status, e, c.Route.Server)
	c.tracer.Emit(tracing.Span{
		Context: r.call, Parent: r.parent, RemoteParent: r.parent.Valid(), TraceState: r.traceState,
		Kind: kind, Name: r.name, Attributes: *attrs,
		Events: r.events, Failed: failed, Kept: c.keep.forcing(),
		Start: c.tracer.time(c.Start), End: c.tracer.time(now),
	})
}

// partKeys are the attributes for the parts of a call's time.
var partKeys = [stats.Parts]attribute.Key{
	stats.PartHeld: tracing.MeshHeld, stats.PartConnect: tracing.MeshConnect, stats.PartRetried: tracing.MeshRetried,
	stats.PartQueued: tracing.MeshQueued, stats.PartDownstream: tracing.MeshDownstream,
}

// decided adds what the sidecar has done with the call, as far as it did anything.
func decided(attrs *tracing.Attributes, c *Call) {
	if c.view != nil && !c.Route.Server {
		attrs.String(tracing.MeshBalancer, c.view.Balancer)
		if v := c.Route.Version; v != "" {
			attrs.String(tracing.MeshVersion, v)
		}
	}
	if c.ownPriority || c.priority != breaker.Critical {
		attrs.String(tracing.MeshPriority, c.priority.String())
	}
	if c.refusal.Detail != "" {
		attrs.String(tracing.MeshRefusal, c.refusal.Detail)
	}
}

// named makes the name of the call's spans.
func (r *record) named(to *Route) string {
	if r.rpc {
		return rpcName(r.path)
	}
	if r.tcp {
		return connectionName(to)
	}
	return tracing.SpanName(r.method, to.Name)
}

// spans are the attributes that spans have of their route.
func (r *Route) spans() *tracing.Attributes {
	if a := r.attributes.Load(); a != nil {
		return a
	}
	var a tracing.Attributes
	a.String(tracing.ServerAddress, r.Host)
	a.String(tracing.MeshService, r.Service.Name())
	if r.Port != 0 {
		a.Int(tracing.ServerPort, r.Port)
	}
	if r.Name != "" {
		a.String(tracing.MeshRoute, r.Name)
	}
	r.attributes.Store(&a) // whoever is second makes the same
	return &a
}

// common makes the attributes that the call's span and its attempts' share.
func (r *record) common(c *Call, attrs *tracing.Attributes) {
	attrs.Empty()
	attrs.Join(c.Route.spans())
	switch {
	case r.rpc:
		rpcAttributes(attrs, r.path)
	case r.tcp:
		attrs.String(tracing.NetworkTransport, "tcp")
	default:
		method, known := tracing.Method(r.method)
		attrs.Add(method)
		if !known {
			attrs.String(tracing.HTTPMethodOriginal, r.method)
		}
		r.url(attrs, c.Route)
	}
}

// url adds what was asked for, as the conventions have it: whole on a client's
// span, in parts on a server's.
func (r *record) url(attrs *tracing.Attributes, to *Route) {
	query := redact(r.query)
	if to.Server {
		attrs.String(tracing.URLScheme, "http")
		attrs.String(tracing.URLPath, r.path)
		if query != "" {
			attrs.String(tracing.URLQuery, query)
		}
		return
	}
	var b [512]byte
	full := append(b[:0], "http://"...)
	if strings.Contains(to.Host, ":") {
		full = append(append(append(full, '['), to.Host...), ']')
	} else {
		full = append(full, to.Host...)
	}
	if to.Port != 0 {
		full = strconv.AppendInt(append(full, ':'), int64(to.Port), 10)
	}
	if r.path != "*" { // OPTIONS of the whole server
		full = append(full, r.path...)
	}
	if query != "" {
		full = append(append(full, '?'), query...)
	}
	attrs.String(tracing.URLFull, string(full))
}

// redact hides the values of the parameters of a query that the conventions
// name as credentials.
func redact(query string) string {
	secret := [...]string{"AWSAccessKeyId=", "Signature=", "sig=", "X-Goog-Signature="}
	if !slices.ContainsFunc(secret[:], func(key string) bool { return strings.Contains(query, key) }) {
		return query
	}
	var out strings.Builder
	for i, pair := range strings.Split(query, "&") {
		if i > 0 {
			out.WriteByte('&')
		}
		for _, key := range secret {
			if strings.HasPrefix(pair, key) {
				pair = key + "REDACTED"
			}
		}
		out.WriteString(pair)
	}
	return out.String()
}

// peer are the attributes that the spans of attempts have of their endpoint.
func peer(ep *endpoint.Endpoint) *tracing.Attributes {
	if a, ok := ep.Spans.Load().(*tracing.Attributes); ok {
		return a
	}
	var a tracing.Attributes
	if i := strings.LastIndexByte(ep.Address, ':'); ep.Addr.IsValid() && i >= 0 {
		a.String(tracing.NetworkPeerAddress, strings.TrimSuffix(strings.TrimPrefix(ep.Address[:i], "["), "]"))
		a.Int(tracing.NetworkPeerPort, int(ep.Addr.Port()))
	} else {
		a.String(tracing.NetworkPeerAddress, ep.Address)
	}
	if ep.ID != "" {
		a.String(tracing.MeshEndpointID, ep.ID)
	}
	ep.Spans.Store(&a) // whoever is second makes the same
	return &a
}

// outcome adds status and error.type, and says whether the span failed: from
// 400 up on a client, from 500 up on a server (HTTP semantic conventions), or
// as gRPC's conventions have it.
func outcome(attrs *tracing.Attributes, status int, e stats.ErrorType, server bool) (failed bool) {
	code, rpc := stats.GRPCCode(status)
	if rpc {
		failed = rpcFailed(code, server)
		attrs.String(tracing.RPCStatus, stats.GRPCName(code))
	} else if status != 0 {
		failed = status >= 500 || status >= 400 && !server
		attrs.Int(tracing.HTTPStatus, status)
	}
	switch {
	case e != stats.ErrNone:
		attrs.String(tracing.ErrorType, e.String())
		return true
	case failed && rpc:
		attrs.String(tracing.ErrorType, stats.GRPCName(code))
	case failed:
		attrs.String(tracing.ErrorType, statusText(status))
	}
	return failed
}

func statusText(status int) string {
	return string([]byte{'0' + byte(status/100%10), '0' + byte(status/10%10), '0' + byte(status%10)})
}

// time is a moment of the engine's clock.
func (t *Tracer) time(ns int64) time.Time { return t.Epoch.Add(time.Duration(ns)) }
