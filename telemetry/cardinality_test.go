package telemetry

import (
	"fmt"
	"testing"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"

	"github.com/meshd/meshd/internal/testkit/race"
)

// TestAMillionLabels is reporters that tell a million paths apart, or 25,000
// values of something else, in 50 s. What a person asks for is answered
// all the same, and memory stays where Config has it.
func TestAMillionLabels(t *testing.T) {
	if race.Enabled || testing.Short() {
		t.Skip("measures")
	}
	for _, tc := range []struct {
		name     string
		values   int
		metric   func(w *world, i int) *otlp.Metric
		reporter func(i int) (service, instance string)
	}{
		{"paths", 1_000_000, func(w *world, i int) *otlp.Metric {
			return histMetric(duration, w.start, w.now, 5, []float64{0.01}, "meshd.service", checkoutPort, "meshd.route", "default/checkout:8080", "url.path", fmt.Sprintf("/items/%d", i))
		}, nil},
		{"services", 25_000, func(w *world, i int) *otlp.Metric {
			return gaugeMetric("http.client.active_requests", w.now, 1, "meshd.service", fmt.Sprintf("default/service-%d:80", i))
		}, nil},
		{"ports", 25_000, func(w *world, i int) *otlp.Metric {
			return gaugeMetric("http.client.active_requests", w.now, 1, "meshd.service", fmt.Sprintf("default/checkout:%d", i%65536))
		}, nil},
		{"endpoints", 25_000, func(w *world, i int) *otlp.Metric {
			return counterMetric("meshd.endpoint.requests", w.start, w.now, 1, "meshd.service", checkoutPort, "meshd.endpoint.id", fmt.Sprintf("checkout-%d", i))
		}, nil},
		{"reporters", 25_000, func(w *world, i int) *otlp.Metric {
			return histMetric(serverDurationName, w.start, w.now, 5, []float64{0.01}, "meshd.service", checkoutPort)
		}, func(i int) (string, string) { return fmt.Sprintf("front-%d", i), fmt.Sprintf("front-%d-0", i) }},
		{"callers", 25_000, func(w *world, i int) *otlp.Metric {
			return histMetric(duration, w.start, w.now, 5, []float64{0.01}, "meshd.service", checkoutPort)
		}, func(i int) (string, string) { return fmt.Sprintf("front-%d", i), fmt.Sprintf("front-%d-0", i) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, Config{MaxSeries: 50_000, MaxReporters: 1_000, MaxServices: 100, MaxEdges: 500, MaxHistory: 16 << 20})
			before := heap()
			batch := tc.values / 50
			calls, refused := 0, int64(0)
			for i := 0; i < tc.values; i += batch {
				w.pass(time.Second)
				var rms []*otlp.ResourceMetrics
				one := func(service, instance string, ms ...*otlp.Metric) {
					rms = append(rms, &otlp.ResourceMetrics{
						Resource:     &resourcepb.Resource{Attributes: attrs("service.name", service, "service.instance.id", instance)},
						ScopeMetrics: []*otlp.ScopeMetrics{{Metrics: ms}},
					})
				}
				// What goes on beside it: it began first, so there is room for it.
				calls += 20
				one("steady", "steady-0", histMetric(duration, w.start, w.now, 5, repeat(0.050, calls), "meshd.service", checkoutPort, "http.response.status_code", "200"))
				var ms []*otlp.Metric
				for k := i; k < i+batch; k++ {
					m := tc.metric(w, k)
					if tc.reporter == nil {
						ms = append(ms, m)
						continue
					}
					service, instance := tc.reporter(k)
					one(service, instance, m)
				}
				if ms != nil {
					one("loud", "loud-0", ms...)
				}
				n, _, ok := w.store.ingest(must(&metricspb.ExportMetricsServiceRequest{ResourceMetrics: rms}))
				if !ok {
					t.Fatal("not read")
				}
				refused += n
			}
			w.pass(3 * time.Second)
			st := w.store.Stats()
			used := (heap() - before) >> 20
			t.Logf("%d MB in use; %d points refused; %+v", used, refused, st)
			if used > 64 {
				t.Errorf("%d MB in use, want at most 64", used)
			}
			if st.Series > 50_000 || st.Reporters > 1_000 || st.Services > 100 || st.Edges > 500 || st.Instances > 256 || st.HistoryBytes > 16<<20 {
				t.Errorf("bounds: %+v", st)
			}
			if st.Overflow() == 0 {
				t.Errorf("what did not fit is not counted: %d refused, %+v", refused, st)
			}
			edges := w.store.Edges(Span{From: w.now.Add(-30 * time.Second)})
			steady := 0.0
			for _, e := range edges {
				if e.From.Name == "steady" {
					steady = e.RPS
				}
			}
			about(t, "calls of who was there before", steady, 20, 1) // of the last second, nobody has said anything
			if got := w.store.Series(checkout, Selection{}, Span{From: w.now.Add(-30 * time.Second)}); len(got) < 25 || got[10].RPS < 20 {
				t.Errorf("%d samples of the service", len(got))
			}
		})
	}
}
