package tracing

import (
	"context"

	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// A spanQueue holds finished spans for one exporter, which gets them in
// batches. Each exporter has its own, so that one that is slow or gone costs
// the others nothing.
type spanQueue struct {
	name      string // of the SDK's component, in the metrics about it
	processor sdktrace.SpanProcessor
	capacity  int64
	counts    counts
	resource  *resource.Resource
	scope     instrumentation.Scope
}

// startQueue makes the queue before an exporter; free closes the exporter's
// connections.
func (t *Telemetry) startQueue(q *spanQueue, exporter sdktrace.SpanExporter, g *guard, b batchSettings, free func()) {
	guarded := newGuardedSpans(exporter, g, &q.counts)
	q.scope = t.scope
	q.capacity = int64(b.queue)
	q.processor = sdktrace.NewBatchSpanProcessor(guarded,
		sdktrace.WithBatchTimeout(b.delay),
		sdktrace.WithExportTimeout(b.timeout),
		sdktrace.WithMaxQueueSize(b.queue),
		sdktrace.WithMaxExportBatchSize(b.perBatch))
	t.queues = append(t.queues, q)
	t.stop = append(t.stop, func(ctx context.Context) error {
		err := q.processor.Shutdown(ctx)
		guarded.abort() // what ctx left no time for
		free()
		return err
	})
}

// add hands a span over, or drops and counts it. It never blocks.
func (q *spanQueue) add(s *Span, stopped bool) {
	if stopped {
		q.counts.dropped.Add(1)
		return
	}
	if q.counts.pending.Add(1) > q.capacity {
		q.counts.pending.Add(-1)
		q.counts.dropped.Add(1)
		return
	}
	q.processor.OnEnd(&finished{span: s, queue: q})
}
