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
	full       string // url.full, once it has been made
	name       string // of its spans, once it has been made
	events     []tracing.Event
	grounds    []attribute.KeyValue // see grounds
	attributes []attribute.KeyValue // of the span that is being made
}

var records = sync.Pool{New: func() any { return &record{attributes: make([]attribute.KeyValue, 0, 32)} }}

func newRecord(call, parent tracing.SpanContext) *record {
	r := records.Get().(*record)
	*r = record{call: call, parent: parent, events: r.events[:0], attributes: r.attributes[:0]}
	return r
}

func (r *record) free() {
	clear(r.events)
	clear(r.attributes)
	records.Put(r)
}

// used notes that attributes were written where the record's are.
func (r *record) used(attrs []attribute.KeyValue) {
	if len(attrs) > len(r.attributes) {
		r.attributes = attrs
	}
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
func (r *record) attempted(c *Call) (tracing.Kind, []attribute.KeyValue) {
	common := r.common(c)
	r.name = r.named(c.Route)
	if c.Route.Server {
		return tracing.KindServer, common // which says it all
	}
	for n := range c.attempts {
		r.attemptSpan(c, n, common) // each writes behind them, and is done with it
	}
	return tracing.KindClient, common
}

func (r *record) attemptSpan(c *Call, n int, common []attribute.KeyValue) {
	t := c.log.try(n)
	context := r.call
	context.SpanID = t.span
	attrs := append(common, tracing.MeshCost.Float64(t.cost/1e6))
	if n > 0 {
		if t.hedge {
			attrs = append(attrs, tracing.MeshHedge.Bool(true))
		} else if t.again {
			attrs = append(attrs, tracing.MeshRetryReason.String(t.reason.String()))
		}
		if !r.tcp {
			attrs = append(attrs, tracing.HTTPResendCount.Int(n))
		}
	}
	attrs, failed := outcome(attrs, t.status, t.err, false)
	r.used(attrs)
	c.tracer.Emit(tracing.Span{
		Context: context, Parent: r.call, Kind: tracing.KindClient, TraceState: r.traceState,
		Name: r.name, Shared: [3]*tracing.Shared{c.Route.spans(), peer(t.ep)}, Attributes: attrs, Failed: failed, Kept: c.keep.forcing(),
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
	kind, attrs := r.attempted(c)
	if r.version != "" {
		attrs = append(attrs, tracing.NetworkVersion.String(r.version))
	}
	if r.peer != "" {
		attrs = append(attrs, tracing.ClientAddress.String(r.peer))
	}
	if c.attempts > 1 {
		attrs = append(attrs, tracing.HTTPResendCount.Int(c.attempts-1))
	}
	for i, ns := range parts {
		if ns > 0 {
			attrs = append(attrs, partKeys[i].Float64(float64(ns)/1e6))
		}
	}
	attrs = append(decided(attrs, c), r.grounds...)
	attrs, failed := outcome(attrs, status, e, c.Route.Server)
	r.used(attrs)
	c.tracer.Emit(tracing.Span{
		Context: r.call, Parent: r.parent, RemoteParent: r.parent.Valid(), TraceState: r.traceState,
		Kind: kind, Name: r.name, Shared: c.shared(), Attributes: attrs,
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
func decided(attrs []attribute.KeyValue, c *Call) []attribute.KeyValue {
	if v := c.Route.Version; v != "" && c.view != nil && !c.Route.Server {
		attrs = append(attrs, tracing.MeshVersion.String(v))
	}
	if c.ownPriority || c.priority != breaker.Critical {
		attrs = append(attrs, tracing.MeshPriority.String(c.priority.String()))
	}
	if c.refusal.Detail != "" {
		attrs = append(attrs, tracing.MeshRefusal.String(c.refusal.Detail))
	}
	return attrs
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
func (r *Route) spans() *tracing.Shared {
	if s := r.shared.Load(); s != nil {
		return s
	}
	attrs := []attribute.KeyValue{tracing.ServerAddress.String(r.Host), tracing.MeshService.String(r.Service.Name())}
	if r.Port != 0 {
		attrs = append(attrs, tracing.ServerPort.Int(r.Port))
	}
	if r.Name != "" {
		attrs = append(attrs, tracing.MeshRoute.String(r.Name))
	}
	s := tracing.Share(attrs...)
	r.shared.Store(s) // whoever is second makes the same
	return s
}

// shared are the attributes of the call's span that other calls' have too.
func (c *Call) shared() (s [3]*tracing.Shared) {
	s[0] = c.Route.spans()
	if c.view != nil && !c.Route.Server {
		s[1] = c.view.spans
	}
	return s
}

// common are the attributes that the call's span and its attempts' share, and
// other calls' do not.
func (r *record) common(c *Call) []attribute.KeyValue {
	attrs := r.attributes[:0]
	if r.rpc {
		return rpcAttributes(attrs, r.path)
	}
	if r.tcp {
		return append(attrs, tracing.NetworkTransport.String("tcp"))
	}
	method, known := tracing.Method(r.method)
	attrs = append(attrs, method)
	if !known {
		attrs = append(attrs, tracing.HTTPMethodOriginal.String(r.method))
	}
	return r.url(attrs, c.Route)
}

// url adds what was asked for, as the conventions have it: whole on a client's
// span, in parts on a server's.
func (r *record) url(attrs []attribute.KeyValue, to *Route) []attribute.KeyValue {
	if to.Server {
		attrs = append(attrs, tracing.URLScheme.String("http"), tracing.URLPath.String(r.path))
		if query := redact(r.query); query != "" {
			attrs = append(attrs, tracing.URLQuery.String(query))
		}
		return attrs
	}
	if r.full == "" {
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
		if query := redact(r.query); query != "" {
			full = append(append(full, '?'), query...)
		}
		r.full = string(full)
	}
	return append(attrs, tracing.URLFull.String(r.full))
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
func peer(ep *endpoint.Endpoint) *tracing.Shared {
	if s, ok := ep.Spans.Load().(*tracing.Shared); ok {
		return s
	}
	attrs := make([]attribute.KeyValue, 0, 3)
	if i := strings.LastIndexByte(ep.Address, ':'); ep.Addr.IsValid() && i >= 0 {
		host := strings.TrimSuffix(strings.TrimPrefix(ep.Address[:i], "["), "]")
		attrs = append(attrs, tracing.NetworkPeerAddress.String(host), tracing.NetworkPeerPort.Int(int(ep.Addr.Port())))
	} else {
		attrs = append(attrs, tracing.NetworkPeerAddress.String(ep.Address))
	}
	if ep.ID != "" {
		attrs = append(attrs, tracing.MeshEndpointID.String(ep.ID))
	}
	s := tracing.Share(attrs...)
	ep.Spans.Store(s) // whoever is second makes the same
	return s
}

// outcome adds status and error.type, and says whether the span failed: from
// 400 up on a client, from 500 up on a server (HTTP semantic conventions), or
// as gRPC's conventions have it.
func outcome(attrs []attribute.KeyValue, status int, e stats.ErrorType, server bool) ([]attribute.KeyValue, bool) {
	code, rpc := stats.GRPCCode(status)
	failed := false
	if rpc {
		failed = rpcFailed(code, server)
		attrs = append(attrs, tracing.RPCStatus.String(stats.GRPCName(code)))
	} else if status != 0 {
		failed = status >= 500 || status >= 400 && !server
		attrs = append(attrs, tracing.HTTPStatus.Int(status))
	}
	switch {
	case e != stats.ErrNone:
		return append(attrs, tracing.ErrorType.String(e.String())), true
	case failed && rpc:
		return append(attrs, tracing.ErrorType.String(stats.GRPCName(code))), true
	case failed:
		return append(attrs, tracing.ErrorType.String(statusText(status))), true
	}
	return attrs, false
}

func statusText(status int) string {
	return string([]byte{'0' + byte(status/100%10), '0' + byte(status/10%10), '0' + byte(status%10)})
}

// time is a moment of the engine's clock.
func (t *Tracer) time(ns int64) time.Time { return t.Epoch.Add(time.Duration(ns)) }
