package telemetry

import (
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	oteltrace "go.opentelemetry.io/otel/trace"
)

// An application's own OpenTelemetry SDK: delta temporality, an exponential
// histogram of the SDK's own scale, exemplars, compressed.
func TestSDK(t *testing.T) {
	ctx := t.Context()
	store := NewStore(Config{})
	addr, stop := serve(t, store)
	defer stop()
	app := resource.NewSchemaless(attribute.String("service.name", "shop"), attribute.String("service.instance.id", "shop-7"))

	spans, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpoint(addr), otlptracegrpc.WithInsecure(), otlptracegrpc.WithCompressor("gzip"))
	if err != nil {
		t.Fatal(err)
	}
	tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans), sdktrace.WithResource(app))
	delta := func(sdkmetric.InstrumentKind) metricdata.Temporality { return metricdata.DeltaTemporality }
	metrics, err := otlpmetricgrpc.New(ctx, otlpmetricgrpc.WithEndpoint(addr), otlpmetricgrpc.WithInsecure(),
		otlpmetricgrpc.WithCompressor("gzip"), otlpmetricgrpc.WithTemporalitySelector(delta))
	if err != nil {
		t.Fatal(err)
	}
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metrics, sdkmetric.WithInterval(time.Hour))), sdkmetric.WithResource(app),
		sdkmetric.WithView(sdkmetric.NewView(sdkmetric.Instrument{Kind: sdkmetric.InstrumentKindHistogram},
			sdkmetric.Stream{Aggregation: sdkmetric.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 20}})))
	defer tracers.Shutdown(ctx)
	defer meters.Shutdown(ctx)

	latency, err := meters.Meter("test").Float64Histogram("http.server.request.duration")
	if err != nil {
		t.Fatal(err)
	}
	spanCtx, span := tracers.Tracer("test").Start(ctx, "checkout", oteltrace.WithSpanKind(oteltrace.SpanKindServer), oteltrace.WithAttributes(attribute.Int("items", 3)))
	calls := 0
	for range 3 {
		for i := range 100 {
			latency.Record(spanCtx, 0.010+float64(i)/1000, metric.WithAttributes(attribute.String("meshd.service", checkoutPort)))
			calls++
		}
		if err := meters.ForceFlush(ctx); err != nil {
			t.Fatal(err)
		}
	}
	span.End()
	if err := tracers.ForceFlush(ctx); err != nil {
		t.Fatal(err)
	}
	if st := store.Stats(); st.Invalid != 0 || st.Points != 3 || st.Spans != 1 {
		t.Fatalf("%+v", st)
	}

	// What has come is of the second that is under way.
	store.mu.Lock()
	svc := store.services[checkout]
	var all Histogram
	var sum sums
	svc.each(svc.born, store.cur, store.cur, func(_ int64, f *figures, l latencies) {
		l.into(&all)
		sum.requests += f.server.requests
		sum.seconds += f.server.seconds
		if f.server.slowest > sum.slowest {
			sum.slowest, sum.trace = f.server.slowest, f.server.trace
		}
	})
	store.mu.Unlock()
	about(t, "calls", float64(sum.requests), float64(calls), 0.01)
	about(t, "their seconds", float64(sum.seconds), 300*0.0595, 0.01)
	about(t, "p50", all.Quantile(0.5), 0.060, 0.060*0.022)
	about(t, "p99", all.Quantile(0.99), 0.109, 0.109*0.022)
	if want := span.SpanContext().TraceID(); sum.trace != want {
		t.Errorf("the exemplar names %x, want %s", sum.trace, want)
	}
	tr, ok := store.Trace(span.SpanContext().TraceID().String())
	if !ok || len(tr.Spans) != 1 || tr.Spans[0].Service != "shop" || tr.Spans[0].Kind != "server" || tr.Spans[0].Attributes["items"] != int64(3) {
		t.Errorf("%+v", tr)
	}
}
