package telemetry

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
)

// BenchmarkIngest is one second of a mesh of 500 sidecars that call 20
// services each: one operation is all of their reports.
func BenchmarkIngest(b *testing.B) {
	const reporters, services = 500, 20
	now := time.Unix(1_000_000, 0)
	start := now
	store := NewStore(Config{Clock: func() time.Time { return now }})
	var values []float64
	for i := range 200 {
		values = append(values, 0.001*math.Pow(1.022, float64(i)))
	}
	reqs := make([]*metricspb.ExportMetricsServiceRequest, reporters)
	for r := range reqs {
		var ms []*otlp.Metric
		for s := range services {
			svc := fmt.Sprintf("default/service-%d:8080", s)
			ms = append(ms,
				histMetric(duration, start, now, 5, values, "meshd.service", svc, "meshd.route", "default", "http.response.status_code", "200"),
				gaugeMetric("http.client.active_requests", now, 3, "meshd.service", svc),
				gaugeMetric("meshd.breaker.open", now, 0, "meshd.service", svc),
				counterMetric("meshd.client.retries", start, now, 3, "meshd.service", svc, "meshd.retry.reason", "reset"))
			for e := range 3 {
				ms = append(ms, counterMetric("meshd.endpoint.requests", start, now, 3, "meshd.service", svc,
					"meshd.endpoint", fmt.Sprintf("10.0.0.%d:80", e), "meshd.endpoint.id", fmt.Sprint(e)))
			}
		}
		reqs[r] = &metricspb.ExportMetricsServiceRequest{ResourceMetrics: []*otlp.ResourceMetrics{{
			Resource:     &resourcepb.Resource{Attributes: attrs("service.name", "s", "service.namespace", "default", "service.instance.id", fmt.Sprint(r))},
			ScopeMetrics: []*otlp.ScopeMetrics{{Metrics: ms}},
		}}}
	}
	later := func() {
		now = now.Add(time.Second)
		for _, req := range reqs {
			for _, m := range req.ResourceMetrics[0].ScopeMetrics[0].Metrics {
				switch d := m.Data.(type) {
				case *otlp.Metric_ExponentialHistogram:
					d.ExponentialHistogram.DataPoints[0].TimeUnixNano = uint64(now.UnixNano())
					for i := range d.ExponentialHistogram.DataPoints[0].Positive.BucketCounts {
						d.ExponentialHistogram.DataPoints[0].Positive.BucketCounts[i]++
					}
				case *otlp.Metric_Sum:
					d.Sum.DataPoints[0].TimeUnixNano = uint64(now.UnixNano())
					d.Sum.DataPoints[0].Value.(*otlp.NumberDataPoint_AsDouble).AsDouble++
				case *otlp.Metric_Gauge:
					d.Gauge.DataPoints[0].TimeUnixNano = uint64(now.UnixNano())
				}
			}
		}
	}
	rcv := &receiver{store: store}
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		later()
		b.StartTimer()
		for _, req := range reqs {
			if resp, err := rcv.Export(context.Background(), req); err != nil || resp.PartialSuccess != nil {
				b.Fatal(resp, err)
			}
		}
		store.tick()
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/reporters/services, "ns/reporter·service")
}
