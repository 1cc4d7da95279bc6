package tracing

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

func (t *Telemetry) startTraces(ctx context.Context, s settings, o Options, out *console) error {
	var exporter sdktrace.SpanExporter
	free := func() {}
	switch s.traces {
	case exporterNone:
		return nil
	case exporterConsole:
		exporter = consoleSpans{out}
	default:
		var err error
		if exporter, free, err = newSpanExporter(ctx, s.tracesOTLP); err != nil {
			return fmt.Errorf("tracing: traces: %w", err)
		}
	}
	t.startQueue(&spanQueue{name: "otel", resource: t.resource}, exporter, newGuard(o.Logger, "traces"), s.batch, free)
	return nil
}

func (t *Telemetry) startMetrics(ctx context.Context, s settings, o Options, out *console) error {
	var exporter metric.Exporter
	free := func() {}
	switch s.metrics {
	case exporterNone:
		return nil
	case exporterConsole:
		exporter = consoleMetrics{out}
	default:
		var err error
		if exporter, free, err = newMetricExporter(ctx, s.metricsOTLP); err != nil {
			return fmt.Errorf("tracing: metrics: %w", err)
		}
	}
	t.startReader(reader{
		exporter:  &guardedMetrics{exporter, newGuard(o.Logger, "metrics")},
		free:      free,
		resource:  t.resource,
		producers: append([]metric.Producer{t}, o.Producers...),
		interval:  s.interval,
		timeout:   s.timeout,
	})
	return nil
}

// A reader sends the producers' metrics to one exporter.
type reader struct {
	exporter          metric.Exporter
	free              func() // closes the exporter's connections
	resource          *resource.Resource
	producers         []metric.Producer
	interval, timeout time.Duration
}

func (t *Telemetry) startReader(r reader) {
	options := []metric.PeriodicReaderOption{metric.WithInterval(r.interval), metric.WithTimeout(r.timeout)}
	for _, p := range r.producers {
		options = append(options, metric.WithProducer(p))
	}
	provider := metric.NewMeterProvider(
		metric.WithResource(r.resource),
		metric.WithReader(metric.NewPeriodicReader(r.exporter, options...)))
	t.stop = append(t.stop, func(ctx context.Context) error {
		err := provider.Shutdown(ctx)
		r.free()
		return err
	})
}
