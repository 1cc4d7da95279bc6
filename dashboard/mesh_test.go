package dashboard

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/grpc"

	"github.com/meshd/meshd/telemetry"
)

// receiver catches the OTLP service that a store registers.
type receiver struct{ metricspb.MetricsServiceServer }

func (r *receiver) RegisterService(_ *grpc.ServiceDesc, impl any) {
	if metrics, ok := impl.(metricspb.MetricsServiceServer); ok {
		r.MetricsServiceServer = metrics
	}
}

// report sends n calls (cumulative) of 10 ms, failed of them with status 503.
func (r *receiver) report(t *testing.T, start time.Time, service string, n, failed uint64) {
	t.Helper()
	attr := func(k, v string) *commonpb.KeyValue {
		return &commonpb.KeyValue{Key: k, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: v}}}
	}
	now := uint64(time.Now().UnixNano())
	begin := uint64(start.UnixNano())
	calls := func(status string, n uint64) *otlp.ExponentialHistogramDataPoint {
		return &otlp.ExponentialHistogramDataPoint{
			Attributes:        []*commonpb.KeyValue{attr("meshd.service", service), attr("http.response.status_code", status)},
			StartTimeUnixNano: begin, TimeUnixNano: now, Scale: 5,
			Positive: &otlp.ExponentialHistogramDataPoint_Buckets{Offset: -213, BucketCounts: []uint64{n}},
		}
	}
	const cumulative = otlp.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
	resp, err := r.Export(context.Background(), &metricspb.ExportMetricsServiceRequest{ResourceMetrics: []*otlp.ResourceMetrics{{
		Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{attr("service.instance.id", "load-0")}},
		ScopeMetrics: []*otlp.ScopeMetrics{{Metrics: []*otlp.Metric{
			{Name: "http.client.request.duration", Data: &otlp.Metric_ExponentialHistogram{ExponentialHistogram: &otlp.ExponentialHistogram{
				AggregationTemporality: cumulative,
				DataPoints:             []*otlp.ExponentialHistogramDataPoint{calls("200", n-failed), calls("503", failed)},
			}}},
			{Name: "meshd.endpoint.requests", Data: &otlp.Metric_Sum{Sum: &otlp.Sum{
				AggregationTemporality: cumulative, IsMonotonic: true,
				DataPoints: []*otlp.NumberDataPoint{{
					Attributes:        []*commonpb.KeyValue{attr("meshd.service", service), attr("meshd.endpoint", "127.0.0.1:31006"), attr("meshd.endpoint.id", "checkout-0")},
					StartTimeUnixNano: begin, TimeUnixNano: now, Value: &otlp.NumberDataPoint_AsInt{AsInt: int64(n)},
				}},
			}}},
		}}},
	}}})
	if err != nil || resp.PartialSuccess != nil {
		t.Fatal(resp, err)
	}
}

// mesh runs a store with ten seconds of calls to default/checkout, 100 a
// second of which 10 fail, inside a synctest bubble.
func mesh(t *testing.T, cfg Config, then func(d *Dashboard, rcv *receiver)) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(context.Background())
		defer stop()
		store := telemetry.NewStore(telemetry.Config{Instances: func() map[telemetry.Service]int {
			return map[telemetry.Service]int{{Namespace: "default", Name: "checkout"}: 3}
		}})
		rcv := &receiver{}
		store.Register(rcv)
		done := make(chan struct{})
		go func() { store.Run(ctx); close(done) }()
		start := time.Now()
		time.Sleep(10 * time.Millisecond) // between two ticks
		for i := range 10 {
			time.Sleep(time.Second)
			rcv.report(t, start, "default/checkout:8080", uint64(100*(i+1)), uint64(10*(i+1)))
		}
		cfg.Store = store
		d, err := New(cfg)
		if err != nil {
			t.Fatal(err)
		}
		then(d, rcv)
		stop()
		<-done
	})
}
