package show

import (
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/meshd/meshd/ctl/api"
)

// threeHops is web, whose call to shop is held and tried again, and shop, which
// calls cart and waits for nearly all of the time.
func threeHops() api.Trace {
	at := func(ms float64) time.Time { return three.Add(time.Duration(ms * float64(time.Millisecond))) }
	span := func(id, parent, service, kind, name string, start, took float64, attributes map[string]any) api.TraceSpan {
		return api.TraceSpan{ID: id, Parent: parent, Service: service, Namespace: "default", Instance: service + "-0", Kind: kind, Name: name,
			Start: at(start), DurationMs: took, Attributes: attributes}
	}
	failed := span("3", "2", "web", "client", "GET", 20, 5, map[string]any{"meshd.endpoint.id": "shop-0", "meshd.service": "default/shop:80", "error.type": "connection_terminated"})
	failed.Failed = true
	return api.Trace{ID: "4bf92f3577b34da6a3ce929d0e0e4736", Dropped: 2, Spans: []api.TraceSpan{
		span("1", "", "web", "server", "GET", 0, 212, map[string]any{"http.response.status_code": 200.0, "meshd.queued_ms": 10.0, "meshd.downstream_ms": 195.0}),
		span("2", "1", "web", "client", "GET orders", 12, 195, map[string]any{"meshd.service": "default/shop:80", "meshd.balancer": "peak_ewma",
			"meshd.held_ms": 8.0, "meshd.retried_ms": 15.0, "meshd.priority": "sheddable", "http.request.resend_count": 1.0}),
		failed,
		span("4", "2", "web", "client", "GET", 35, 172, map[string]any{"meshd.endpoint.id": "shop-1", "meshd.service": "default/shop:80", "meshd.retry.reason": "reset"}),
		span("5", "4", "shop", "server", "GET", 37, 168, map[string]any{"meshd.downstream_ms": 150.0}),
		span("6", "5", "shop", "client", "shop.v1.Cart/Add", 40, 150, map[string]any{"meshd.service": "shop/cart:80", "rpc.response.status_code": "OK"}),
		span("7", "6", "shop", "client", "shop.v1.Cart/Add", 40, 150, map[string]any{"meshd.endpoint.id": "cart-0", "meshd.service": "shop/cart:80", "meshd.hedge": true}),
		span("8", "nobody", "cart", "internal", "SELECT \x1b[2J", 60, 20, nil),
	}}
}

func TestWaterfall(t *testing.T) {
	circle := api.Trace{ID: "c", Spans: []api.TraceSpan{
		{ID: "a", Parent: "b", Name: "a", Start: three, DurationMs: 1}, {ID: "b", Parent: "a", Name: "b", Start: three, DurationMs: 1},
		{ID: "b", Parent: "b", Name: "twice", Start: three},
	}}
	for name, tc := range map[string]struct {
		trace api.Trace
		size  Size
	}{
		"trace":        {threeHops(), Size{Width: 100}},
		"trace-narrow": {threeHops(), Size{Width: 60}},
		"trace-colour": {threeHops(), Size{Width: 80, Colour: true}},
		"trace-none":   {api.Trace{ID: "d"}, Size{Width: 80}},
		"trace-circle": {circle, Size{Width: 80}},
	} {
		t.Run(name, func(t *testing.T) {
			tc.size.Zone = time.UTC
			lines := Waterfall(tc.trace, tc.size)
			golden(t, name, lines)
			for _, line := range lines {
				if strings.Contains(line, "\x1b") && !tc.size.Colour {
					t.Errorf("not fit for a terminal: %q", line)
				}
				if n := utf8.RuneCountInString(line); strings.Contains(line, "█") && n > tc.size.Width && !tc.size.Colour {
					t.Errorf("%d columns: %s", n, line)
				}
			}
		})
	}
}

// A trace may have as many spans, as deep, as it likes.
func TestWaterfallIsBounded(t *testing.T) {
	var deep api.Trace
	for i := range 5000 {
		deep.Spans = append(deep.Spans, api.TraceSpan{ID: fmt.Sprint(i), Parent: fmt.Sprint(i - 1), Name: "s", Start: three, DurationMs: 1})
	}
	lines := Waterfall(deep, Size{Width: 80, Zone: time.UTC})
	if len(lines) > maxRows+20 || !strings.Contains(strings.Join(lines, "\n"), "and 3000 spans more") {
		t.Errorf("%d lines", len(lines))
	}
}

func TestTraces(t *testing.T) {
	golden(t, "traces", Traces([]api.TraceSummary{
		{ID: "4bf92f3577b34da6a3ce929d0e0e4736", Start: three, DurationMs: 212, Name: "GET orders", Service: api.ServiceName{Namespace: "default", Name: "web"}, Spans: 8},
		{ID: "00f067aa0ba902b74bf92f3577b34da6", Start: three, DurationMs: 300, ServiceMs: 12, Name: strings.Repeat("long ", 20), Failed: true,
			Message: "connection_terminated", Service: api.ServiceName{Namespace: "shop", Name: "cart"}, Spans: 3},
		{ID: "1", Failed: true},
	}, time.UTC))
}

func TestMap(t *testing.T) {
	name := func(n string) api.ServiceName { return api.ServiceName{Namespace: "default", Name: n} }
	edge := func(from, to string, rps float64) api.Edge {
		return api.Edge{From: name(from), To: name(to), RPS: rps, Success: 1, P50Ms: 5, P99Ms: 30}
	}
	bad := edge("shop", "cart", 40)
	bad.Success, bad.To.Namespace = 0.5, "shop"
	golden(t, "map", Map([]api.Edge{
		edge("web", "shop", 100), edge("web", "auth", 200), edge("shop", "auth", 50), bad, edge("auth", "users", 12.5), edge("mobile", "shop", 1),
		edge("ping", "pong", 1), edge("pong", "ping", 1), edge("self", "self", 2), edge("auth", "idle", 0),
	}))
}

func FuzzWaterfall(f *testing.F) {
	f.Add("1", "", "2", "1", int64(0), 5.0, 80)
	f.Add("1", "2", "2", "1", int64(-1e15), -5.0, 1)
	f.Fuzz(func(t *testing.T, id1, parent1, id2, parent2 string, ns int64, took float64, width int) {
		tr := threeHops()
		tr.Spans = append(tr.Spans,
			api.TraceSpan{ID: id1, Parent: parent1, Name: id1, Start: three, DurationMs: took, Kind: "client", Attributes: map[string]any{"meshd.held_ms": took}},
			api.TraceSpan{ID: id2, Parent: parent2, Name: id2, Start: three.Add(time.Duration(ns)), DurationMs: took, Kind: "server"})
		for _, line := range Waterfall(tr, Size{Width: width % 300, Zone: time.UTC}) {
			if strings.ContainsRune(line, '\x1b') {
				t.Errorf("%q", line)
			}
		}
	})
}
