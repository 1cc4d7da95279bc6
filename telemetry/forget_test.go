package telemetry

import (
	"testing"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
)

// A series may speak again of what made room while it was silent.
func TestForgottenMeanwhile(t *testing.T) {
	w := newWorld(t, Config{MaxServices: 1, MaxEndpoints: 1, MaxEdges: 1})
	tell := func(instance, service, id string, n int) *metricspb.ExportMetricsServiceRequest {
		return &metricspb.ExportMetricsServiceRequest{ResourceMetrics: []*otlp.ResourceMetrics{{
			Resource: &resourcepb.Resource{Attributes: attrs("service.name", instance, "service.instance.id", instance)},
			ScopeMetrics: []*otlp.ScopeMetrics{{Metrics: []*otlp.Metric{
				histMetric(duration, w.start, w.now, 5, repeat(0.01, n), "meshd.service", service),
				counterMetric("meshd.endpoint.requests", w.start, w.now, float64(n), "meshd.service", service, "meshd.endpoint.id", id),
			}}},
		}}}
	}
	send := func(instance, service, id string, n int) int64 {
		refused, _, ok := w.store.ingest(must(tell(instance, service, id, n)))
		if !ok {
			t.Fatal("not read")
		}
		return refused
	}
	w.now = w.now.Add(time.Second)
	send("a", "default/a:1", "a-0", 10)
	w.now = w.now.Add(200 * time.Second) // without a tick: the process was stopped
	send("b", "default/b:1", "b-0", 10)
	if n := send("a", "default/a:1", "a-0", 20); n != 2 {
		t.Errorf("%d points of a service that does not fit were refused, want 2", n)
	}
	w.now = w.now.Add(200 * time.Second)
	if n := send("a", "default/a:1", "a-0", 30); n != 0 {
		t.Errorf("%d points were refused", n)
	}
	st := w.store.Stats()
	if st.Services != 1 || st.Instances != 1 || st.Edges != 1 || w.store.services[Service{"default", "a"}] == nil {
		t.Errorf("%+v", st)
	}
	w.store.tick()
	w.pass(3 * time.Second)
	if got := w.store.Instances(Service{"default", "a"}, Span{}); len(got) != 1 || got[0].ID != "a-0" || got[0].Attempts == 0 {
		t.Errorf("%+v", got)
	}
	if got := w.store.Edges(Span{}); len(got) != 1 || got[0].From.Name != "a" {
		t.Errorf("%+v", got)
	}
}
