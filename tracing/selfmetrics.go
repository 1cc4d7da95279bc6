package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// SpanCounts says what became of the spans emitted so far.
type SpanCounts struct {
	Pending  int64  `json:"pending"`  // waiting or being exported
	Exported uint64 `json:"exported"` // the backend has them
	Failed   uint64 `json:"failed"`   // the backend refused or did not answer
	Dropped  uint64 `json:"dropped"`  // too many waited, or after Shutdown
}

// Counts reads the counts.
func (t *Telemetry) Counts() SpanCounts {
	return SpanCounts{
		Pending:  t.counts.pending.Load(),
		Exported: t.counts.exported.Load(),
		Failed:   t.counts.failed.Load(),
		Dropped:  t.counts.dropped.Load(),
	}
}

// Produce implements metric.Producer for the backend that the OTEL_ variables
// name: the counts, under the names that OpenTelemetry's semantic conventions
// give an SDK's own metrics.
func (t *Telemetry) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	if !t.Tracing() {
		return nil, nil
	}
	counts, now := t.Counts(), time.Now()
	point := func(n uint64, attrs ...attribute.KeyValue) metricdata.DataPoint[int64] {
		return metricdata.DataPoint[int64]{Attributes: attribute.NewSet(attrs...), StartTime: t.start, Time: now, Value: int64(n)}
	}
	sum := func(name, description string, points ...metricdata.DataPoint[int64]) metricdata.Metrics {
		return metricdata.Metrics{
			Name: name, Description: description, Unit: "{span}",
			Data: metricdata.Sum[int64]{DataPoints: points, Temporality: metricdata.CumulativeTemporality, IsMonotonic: true},
		}
	}
	return []metricdata.ScopeMetrics{{
		Scope: t.scope,
		Metrics: []metricdata.Metrics{
			sum("otel.sdk.processor.span.processed", "Spans taken from the queue, or dropped because it was full.",
				point(counts.Exported+counts.Failed),
				point(counts.Dropped, ErrorType.String("queue_full"))),
			sum("otel.sdk.exporter.span.exported", "Spans exported, or lost because the export failed.",
				point(counts.Exported),
				point(counts.Failed, ErrorType.String("_OTHER"))),
		},
	}}, nil
}
