package telemetry

import (
	"strings"
	"testing"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"
)

// FuzzIngest feeds arbitrary OTLP requests: no panic, bounds hold, and what is
// read back is a number.
func FuzzIngest(f *testing.F) {
	start := time.Unix(1_000_000, 0)
	const svc = "default/checkout:8080"
	for _, ms := range [][]*otlp.Metric{
		{histMetric(duration, start, start.Add(time.Second), 5, []float64{0.01, 0.2}, "meshd.service", svc, "http.response.status_code", "503")},
		{histMetric(duration, start, start.Add(time.Second), 5, []float64{0.01, 0.2}, "meshd.service", svc, "rpc.response.status_code", "UNAVAILABLE")},
		{counterMetric("meshd.endpoint.requests", start, start.Add(time.Second), 4, "meshd.service", svc, "meshd.endpoint", "10.0.0.1:80")},
		{gaugeMetric("meshd.breaker.open", start, 2, "meshd.service", svc)},
	} {
		seed, err := proto.Marshal(&metricspb.ExportMetricsServiceRequest{ResourceMetrics: []*otlp.ResourceMetrics{{
			Resource:     &resourcepb.Resource{Attributes: attrs("service.instance.id", "a")},
			ScopeMetrics: []*otlp.ScopeMetrics{{Metrics: ms}},
		}}})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(seed, seed)
	}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		now := start
		s := NewStore(Config{Clock: func() time.Time { return now }, MaxServices: 2, MaxSeries: 8, MaxEndpoints: 2})
		for _, data := range [][]byte{first, second} {
			now = now.Add(time.Second)
			s.ingest(data)
			s.tick()
		}
		now = now.Add(3 * time.Second)
		s.tick()
		if st := s.Stats(); st.Series > 8 || st.Services > 2 {
			t.Fatalf("bounds: %+v", st)
		}
		for _, svc := range s.Snapshot(MaxWindow).Services {
			if !(svc.RPS >= 0) || !(svc.P99Ms >= 0) || !(svc.Success >= 0 && svc.Success <= 1) || len(svc.Endpoints) > 2 {
				t.Fatalf("%+v", svc)
			}
		}
	})
}

// FuzzParseService: what is accepted comes back the same.
func FuzzParseService(f *testing.F) {
	for _, seed := range []string{"default/checkout:8080", "a/b", "a/b:", "/", "a/b/c:1", "a/:80", "a/b:65536"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseService(text)
		if err != nil {
			return
		}
		if again, err := ParseService(s.String()); err != nil || again != s || !strings.HasPrefix(text, s.String()) {
			t.Fatalf("%q → %v → %v, %v", text, s, again, err)
		}
	})
}
