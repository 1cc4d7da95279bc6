package tracing

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

func (t *Telemetry) startTraces(ctx context.Context, s settings, o Options, out *console) error {
	for _, exporter := range s.traces {
		q := &queue{name: queueNames[exporter], limits: s.batch, guard: newGuard(o.Logger, "traces")}
		var client otlptrace.Client = consoleSpans{out}
		free := func() {}
		if exporter == exporterOTLP {
			h := newHandover()
			q.busy = h.busy
			var err error
			if client, free, err = newSpanClient(s.tracesOTLP, h); err != nil {
				return fmt.Errorf("tracing: traces: %w", err)
			}
		}
		if err := t.startQueue(q, t.resource, client, free); err != nil {
			return err
		}
	}
	return nil
}

// queueNames are those of the queues before the exporters that the variables
// name.
var queueNames = map[string]string{exporterOTLP: "otel", exporterConsole: "console"}

// startQueue starts a queue before a backend; free closes that's connections.
func (t *Telemetry) startQueue(q *queue, res *resource.Resource, client otlptrace.Client, free func()) error {
	from := protoResource(res)
	// It only makes ready: nothing is dialled.
	if err := client.Start(context.Background()); err != nil {
		free()
		return fmt.Errorf("tracing: %s: %w", q.guard.what, err)
	}
	q.upload = func(ctx context.Context, items []byte) error {
		// The spans are what protobuf calls unknown fields, which it writes as they
		// are: so they need not be made objects of.
		of := &tracepb.ScopeSpans{Scope: t.protoScope()}
		of.ProtoReflect().SetUnknown(items)
		return client.UploadTraces(ctx, []*tracepb.ResourceSpans{{Resource: from, ScopeSpans: []*tracepb.ScopeSpans{of}, SchemaUrl: res.SchemaURL()}})
	}
	t.queues = append(t.queues, q)
	t.runQueue(q, func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel() // nothing is on its way any more
		_ = client.Stop(ended)
		free()
	})
	return nil
}

// runQueue runs a queue until Shutdown, which calls free when it has ended.
func (t *Telemetry) runQueue(q *queue, free func()) {
	q.start()
	t.stop = append(t.stop, func(ctx context.Context) error {
		err := q.close(ctx)
		free()
		return err
	})
}

func (t *Telemetry) protoScope() *commonpb.InstrumentationScope {
	return &commonpb.InstrumentationScope{Name: t.scope.Name, Version: t.scope.Version}
}

// protoResource is a resource as OTLP has it.
func protoResource(res *resource.Resource) *resourcepb.Resource {
	var b []byte
	for it := res.Iter(); it.Next(); {
		kv := it.Attribute()
		kv.Key = attribute.Key(strings.ToValidUTF8(string(kv.Key), "\uFFFD")) // of OTEL_RESOURCE_ATTRIBUTES, say
		b = appendAttribute(b, 1, &kv, unlimited)
	}
	out := &resourcepb.Resource{}
	if err := proto.Unmarshal(b, out); err != nil {
		panic("tracing: a resource that cannot be encoded: " + err.Error()) // not of any input: appendText mends text
	}
	return out
}

func (t *Telemetry) startMetrics(ctx context.Context, s settings, o Options, out *console) error {
	for _, name := range s.metrics {
		var exporter metric.Exporter = consoleMetrics{out}
		free := func() {}
		if name == exporterOTLP {
			var err error
			if exporter, free, err = newMetricExporter(ctx, s.metricsOTLP); err != nil {
				return fmt.Errorf("tracing: metrics: %w", err)
			}
		}
		t.startReader(reader{
			exporter:  &guardedMetrics{exporter, newGuard(o.Logger, "metrics")},
			free:      free,
			resource:  t.resource,
			producers: s.shape.of(append([]metric.Producer{t}, o.Producers...)),
			interval:  s.interval,
			timeout:   s.timeout,
		})
	}
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
