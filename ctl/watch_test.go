package ctl

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/ctltest"
)

// watched is a meshd that has measured something.
func watched(t *testing.T) *ctltest.Meshd {
	m := filled(t)
	at := func(s int) time.Time { return time.Date(2026, 11, 24, 3, 0, s, 0, time.UTC) }
	var samples []api.Sample
	for i := range 60 {
		samples = append(samples, api.Sample{Time: at(i), RPS: 200, Success: 0.995, P50Ms: 5, P90Ms: 9, P99Ms: 20 + float64(i), Instances: 1 + i/30,
			MeanMs: 6, OwnMs: 6})
	}
	checkout, web := api.ServiceName{Namespace: "default", Name: "checkout"}, api.ServiceName{Namespace: "default", Name: "web"}
	cart := api.ServiceName{Namespace: "shop", Name: "cart"}
	weight := 0.5
	m.Answers = map[string]any{
		"/api/v1/services/default/checkout/series": map[string]any{"samples": samples},
		"/api/v1/services/shop/cart/series":        map[string]any{"samples": []api.Sample{}},
		"/api/v1/services/default/checkout/events": map[string]any{"events": []api.Event{{Time: at(30), Service: checkout, Kind: "scaled", Text: "2 instances are wanted"}}},
		"/api/v1/services/shop/cart/events":        map[string]any{"events": []api.Event{}},
		"/api/v1/services/default/checkout/instances": map[string]any{"instances": []api.InstanceStat{
			{ID: "checkout-0", Address: "127.0.0.1:31006", RPS: 150, Share: 0.75, Success: 1, P50Ms: 5, P90Ms: 9, P99Ms: 30, InFlight: 2},
			{ID: "checkout-1", Address: "127.0.0.1:31016", RPS: 50, Share: 0.25, Success: 0.98, P50Ms: 4, P90Ms: 8, P99Ms: 20, Failures: 1, Attempts: 51, Weight: &weight},
			{ID: "checkout-2"},
		}},
		"/api/v1/map": map[string]any{"edges": []api.Edge{
			{From: web, To: checkout, RPS: 200, Success: 1, P50Ms: 5, P99Ms: 30}, {From: checkout, To: cart, RPS: 100, Success: 0.99, P50Ms: 2, P99Ms: 9},
		}},
		"/api/v1/traces": map[string]any{"traces": []api.TraceSummary{
			{ID: whyTrace, Start: at(1), DurationMs: 212, Name: "GET orders", Service: web, Spans: 2, Failed: true, Message: "502"},
			{ID: strings.Repeat("1", 32), Start: at(2), DurationMs: 100, Name: "GET", Service: web, Spans: 1},
		}},
		"/api/v1/traces/" + whyTrace: api.Trace{ID: whyTrace, Spans: []api.TraceSpan{
			{ID: "1", Name: "GET orders", Kind: "client", Service: "web", Namespace: "default", Start: at(1), DurationMs: 212, Failed: true, Message: "502",
				Attributes: map[string]any{"meshd.service": "default/checkout:8080", "meshd.retried_ms": 100, "error.type": "502"}},
			{ID: "2", Parent: "1", Name: "GET orders", Kind: "client", Service: "web", Namespace: "default", Start: at(1), DurationMs: 100, Failed: true,
				Attributes: map[string]any{"meshd.endpoint.id": "checkout-0"}},
		}},
	}
	return m
}

func TestWatching(t *testing.T) {
	for name, tc := range map[string]struct{ args, asked string }{
		"latency":         {"latency checkout --window 1m", "series?step=1s&window=1m0s events?window=1m0s"},
		"latency-json":    {"latency default/checkout --window 1h -o json", "series?step=20s&window=1h0m0s events?window=1h0m0s"},
		"latency-none":    {"latency shop/cart --once", "series?step=2s&window=5m0s events?window=5m0s"},
		"latency-unknown": {"latency payment", "series?step=2s&window=5m0s"},
		"latency-both":    {"latency checkout --watch --once", ""},
		"latency-window":  {"latency checkout --window 2h", ""},
		"latency-bad":     {"latency a/b/c", ""},
		"latency-help":    {"latency --help", ""},
		"map":             {"map", "map?window=1m0s"},
		"map-json":        {"map --window 5m -o json", "map?window=5m0s"},
		"trace":           {"trace " + strings.ToUpper(whyTrace), "traces/" + whyTrace},
		"trace-json":      {"trace " + whyTrace + " -o json", "traces/" + whyTrace},
		"trace-error":     {"trace --error --service checkout", "traces?kind=error&limit=10&service=default%2Fcheckout traces/" + whyTrace},
		"trace-slow":      {"trace --slow --min 100ms --limit 2 -o json", "traces?kind=slow&limit=2&min=100ms"},
		"trace-unknown":   {"trace " + strings.Repeat("0", 32), "traces/" + strings.Repeat("0", 32)},
		"trace-bad":       {"trace xyz", ""},
		"trace-two":       {"trace --slow --error", ""},
		"trace-help":      {"trace --help", ""},
		"top-instances":   {"top --instances checkout --once", "instances?window=10s"},
		"top-instances-2": {"top --instances checkout -o json", "instances?window=10s"},
		"top-both":        {"top --instances checkout --routes checkout", ""},
		"top-args":        {"top --instances checkout cart", ""},
		"top-help":        {"top --help", ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := watched(t)
			code, out, errOut := call(m.URL, "", strings.Fields(tc.args)...)
			got := fmt.Sprintf("$ meshctl %s\n%s", tc.args, out)
			if errOut != "" {
				got += "-- stderr\n" + errOut
			}
			got += fmt.Sprintf("-- exit %d\n", code)
			golden(t, name, strings.ReplaceAll(got, m.URL, "http://MESHD"))
			asked := slices.Clone(m.Asked)
			for i, a := range asked {
				asked[i] = a[strings.LastIndex(strings.TrimSuffix(a, "/"+whyTrace), "/")+1:]
				if strings.HasPrefix(a, "/api/v1/traces") {
					asked[i] = strings.TrimPrefix(a, "/api/v1/")
				}
			}
			if got := strings.Join(asked, " "); got != tc.asked {
				t.Errorf("asked %s, want %s", got, tc.asked)
			}
		})
	}
}

// A watch goes on until Ctrl-C, which is no failure.
func TestWatchEndsWithInterrupt(t *testing.T) {
	for _, args := range []string{"latency checkout --watch", "map --watch", "top --instances checkout"} {
		m := watched(t)
		interrupts := make(chan os.Signal, 1)
		var stderr buffer
		out := writerFunc(func([]byte) {
			select {
			case interrupts <- syscall.SIGINT:
			default:
			}
		})
		app := App{Out: out, Err: &stderr, Interrupts: interrupts, Getenv: func(string) string { return m.URL }}
		if code := app.Main(append(strings.Fields(args), "--interval", "1ms")); code != exitOK || stderr.String() != "" {
			t.Errorf("%s: exit %d, %s", args, code, stderr.String())
		}
	}
}

// A meshd that goes away is said once, and waited for.
func TestWatchOutlivesMeshd(t *testing.T) {
	m := watched(t)
	asked, drawn := 0, 0
	interrupts := make(chan os.Signal, 1)
	var out, errOut buffer
	app := App{Out: &out, Err: &errOut, Interrupts: interrupts, Getenv: func(string) string { return m.URL }}
	ctx, cancel := context.WithCancel(context.Background())
	err := app.watch(ctx, time.Millisecond, func() ([]string, error) {
		asked++
		if asked > 1 && asked < 5 {
			return nil, &api.Unreachable{URL: "http://x", Err: errors.New("gone")}
		}
		if drawn++; drawn == 3 {
			cancel()
		}
		return []string{fmt.Sprint("look ", asked)}, nil
	})
	if err != nil || out.String() != "look 1\nlook 5\n" || errOut.String() != "meshd at http://x cannot be reached: gone\n" {
		t.Errorf("%v, %q, %q", err, out.String(), errOut.String())
	}
	refused := &api.Refused{Code: 404, Message: "no"}
	if err := app.watch(context.Background(), time.Millisecond, func() ([]string, error) { return nil, refused }); !errors.Is(err, refused) {
		t.Errorf("%v", err)
	}
}
