package dashboard

import (
	"fmt"
	"strings"
	"time"

	"github.com/meshd/meshd/telemetry"
)

const slowTrace = "4bf92f3577b34da6a3ce929d0e0e4736"

// told is a Reader that says what a test wants it to, of default/checkout up
// to now, and remembers what it was asked.
type told struct {
	now   time.Time
	span  telemetry.Span
	query telemetry.TraceQuery
}

func (r *told) Series(id telemetry.Service, sel telemetry.Selection, span telemetry.Span) (out []telemetry.Sample) {
	r.span = span
	if id.Name != "checkout" || sel.Instance != "" && sel.Instance != "checkout-0" {
		return nil
	}
	from := span.From
	if kept := r.now.Add(-2 * time.Hour); from.Before(kept) && r.now.Year() > 2020 { // else a test's time begins in 2000
		from = kept
	}
	for at := from.Truncate(span.Step); at.Before(r.now); at = at.Add(span.Step) {
		s := telemetry.Sample{
			Time: at, RPS: 100, Success: 0.9, P50Ms: 10, P90Ms: 20, P99Ms: 30, InFlight: 3, Instances: 3, MeanMs: 12,
			OwnMs: 4, DownstreamMs: 3, QueuedMs: 2, NetworkMs: 1, ConnectMs: 1, RetriedMs: 0.5, HeldMs: 0.5,
		}
		if at.Second()%30 == 0 {
			s.Trace = slowTrace
		}
		if at.Second()%20 == 10 {
			s = telemetry.Sample{Time: at, Success: 1, Instances: 3}
		}
		out = append(out, s)
	}
	return out
}

func (r *told) Instances(telemetry.Service, telemetry.Span) []telemetry.InstanceStat {
	weights := []float64{0.4, 0}
	return []telemetry.InstanceStat{
		{ID: "checkout-0", Address: "127.0.0.1:31006", RPS: 50, Share: 0.5, Success: 1, P50Ms: 9, P90Ms: 12, P99Ms: 15, InFlight: 1, Attempts: 51, Failures: 1, Weight: &weights[0]},
		{ID: "checkout-1", Address: "127.0.0.1:31007", RPS: 30, Share: 0.3, Success: 0.5, P50Ms: 9, P90Ms: 12, P99Ms: 14, InFlight: 1, Attempts: 30},
		{ID: "checkout-2", RPS: 20, Share: 0.2, Success: 1, P50Ms: 20, P90Ms: 50, P99Ms: 80, InFlight: 1, Attempts: 20},
		{ID: "checkout-3", Success: 1, Weight: &weights[1]},
	}
}

func (r *told) Scatter(telemetry.Service, telemetry.Span) (out []telemetry.Dot) {
	for i := range 60 {
		load := float64(5 + i)
		out = append(out, telemetry.Dot{Time: r.now.Add(-time.Duration(i) * 10 * time.Second), Instance: fmt.Sprint("checkout-", i%3), RPS: load, P99Ms: 10 + max(0, load-45)*10})
	}
	return out
}

func (r *told) Edges(telemetry.Span) []telemetry.Edge {
	id := func(name string) telemetry.Service { return telemetry.Service{Namespace: "default", Name: name} }
	return []telemetry.Edge{
		{From: id("load"), To: id("checkout"), RPS: 100, Success: 0.9, P50Ms: 10, P99Ms: 30},
		{From: id("checkout"), To: telemetry.Service{Namespace: "shop", Name: "cart"}, RPS: 40, Success: 1, P50Ms: 1, P99Ms: 2},
	}
}

func (r *told) Events(telemetry.Service, telemetry.Span) []telemetry.Event {
	return []telemetry.Event{
		{Time: r.now.Add(-time.Minute), Kind: telemetry.EventScaled, Text: "from 2 to 3"},
		{Time: r.now.Add(-50 * time.Second), Kind: telemetry.EventJoined, Instance: "checkout-2", Text: "takes calls <now>"},
		{Time: r.now.Add(-40 * time.Second), Kind: telemetry.EventEjected, Instance: "checkout-1", Text: "checkout-1 is ejected by web-0: latency"},
		{Time: r.now.Add(-2 * time.Second), Kind: "unheard-of", Text: "who knows"},
	}
}

func (r *told) Traces(q telemetry.TraceQuery) []telemetry.TraceSummary {
	r.query = q
	if q.Kind == telemetry.TraceSlow && q.Min > time.Second {
		return nil
	}
	return []telemetry.TraceSummary{{
		ID: slowTrace, Start: r.now.Add(-3 * time.Second), DurationMs: 120, ServiceMs: 100, Name: "GET /<b>", Service: telemetry.Service{Namespace: "default", Name: "load"},
		Services: 2, Spans: 4, Failed: true, Message: "503",
	}}
}

func (r *told) Trace(id string) (telemetry.Trace, bool) {
	begin := r.now.Add(-3 * time.Second)
	span := func(id, parent, name, kind, instance string, after, took float64, attributes map[string]any) telemetry.TraceSpan {
		return telemetry.TraceSpan{
			ID: id, Parent: parent, Name: name, Kind: kind, Service: strings.TrimRight(instance, "-0123456789"), Namespace: "default", Instance: instance,
			Start: begin.Add(time.Duration(after * float64(time.Millisecond))), DurationMs: took, Attributes: attributes,
		}
	}
	first := span("a1", "c0", "GET", "client", "load-0", 11, 9, map[string]any{
		"network.peer.address": "127.0.0.1", "meshd.endpoint.id": "checkout-1", "error.type": "503"})
	first.Failed = true
	call := span("c0", "", "GET", "client", "load-0", 0, 120, map[string]any{
		"meshd.held_ms": 10.0, "meshd.retried_ms": 9.5, "http.request.resend_count": int64(1), "meshd.balancer": "peak_ewma"})
	call.Events = []telemetry.TraceEvent{{Name: "retry", Time: begin.Add(20 * time.Millisecond), Attributes: map[string]any{"meshd.retry.reason": "503"}}}
	second := span("a2", "c0", "GET", "client", "load-0", 21, 99, map[string]any{
		"network.peer.address": "127.0.0.1", "meshd.endpoint.id": "checkout-0", "http.request.resend_count": int64(1), "meshd.retry.reason": "503"})
	server := span("s2", "a2", "GET", "server", "checkout-0", 22, 97, map[string]any{"meshd.queued_ms": 30.0, "url.path": "/<b>"})
	// Two that are each other's parents, and one whose parent is elsewhere.
	x, y := span("x", "y", "x", "internal", "z-1", 1, 1, nil), span("y", "x", "y", "internal", "z-1", 1, 1, nil)
	lost := span("l", "nowhere", "lost", "server", "z-1", 50, 0, nil)
	return telemetry.Trace{ID: slowTrace, Dropped: 2, Spans: []telemetry.TraceSpan{call, x, y, first, second, server, lost}}, id == slowTrace
}
