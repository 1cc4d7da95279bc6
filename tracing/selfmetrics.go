package tracing

import (
	"context"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// counts bounds and counts what goes to one exporter: pending are those between
// their hand-over and the end of their export, and never more than the batch
// processor's queue holds, so that it need not drop any uncounted.
type counts struct {
	pending                   atomic.Int64
	exported, failed, dropped atomic.Uint64
	thinned                   atomic.Uint64
}

// Counts says what became of what was handed over for one exporter so far.
type Counts struct {
	Pending  int64  `json:"pending"`  // waiting or being exported
	Exported uint64 `json:"exported"` // the backend has them
	Failed   uint64 `json:"failed"`   // the backend refused or did not answer
	Dropped  uint64 `json:"dropped"`  // too many waited, or after Shutdown
	Thinned  uint64 `json:"thinned"`  // sampled ones that meshd has no use for, since there are so many
}

func (c *counts) read() Counts {
	return Counts{Pending: c.pending.Load(), Exported: c.exported.Load(), Failed: c.failed.Load(), Dropped: c.dropped.Load(), Thinned: c.thinned.Load()}
}

// done counts n whose export has ended.
func (c *counts) done(n int, err error) {
	if err != nil {
		c.failed.Add(uint64(n))
	} else {
		c.exported.Add(uint64(n))
	}
	c.pending.Add(-int64(n))
}

// Counts reads the counts of an exporter: "otel" and "otel_logs", those of spans
// and of logs that go to OTLP by the OTEL_ variables, "console" and
// "console_logs", or "meshd", of spans. They are zero where there is none.
func (t *Telemetry) Counts(exporter string) Counts {
	for _, q := range t.allQueues() {
		if q.name == exporter {
			return q.counts.read()
		}
	}
	return Counts{}
}

// Produce implements metric.Producer for the backend that the OTEL_ variables
// name: the counts, under the names that OpenTelemetry's semantic conventions
// give an SDK's own metrics, with otel.component.name saying of which exporter.
func (t *Telemetry) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	if len(t.queues)+len(t.logs) == 0 {
		return nil, nil
	}
	now := time.Now()
	sum := func(name, description, unit string, points []metricdata.DataPoint[int64]) metricdata.Metrics {
		return metricdata.Metrics{
			Name: name, Description: description, Unit: unit,
			Data: metricdata.Sum[int64]{DataPoints: points, Temporality: metricdata.CumulativeTemporality, IsMonotonic: true},
		}
	}
	var metrics []metricdata.Metrics
	add := func(item, plural, unit string, of []*queue) {
		var processed, exported []metricdata.DataPoint[int64]
		for _, q := range of {
			c, name := q.counts.read(), semconv.OTelComponentName(q.name)
			point := func(n uint64, attrs ...attribute.KeyValue) metricdata.DataPoint[int64] {
				return metricdata.DataPoint[int64]{Attributes: attribute.NewSet(append(attrs, name)...), StartTime: t.start, Time: now, Value: int64(n)}
			}
			processed = append(processed, point(c.Exported+c.Failed), point(c.Dropped, ErrorType.String("queue_full")))
			exported = append(exported, point(c.Exported), point(c.Failed, ErrorType.String("_OTHER")))
		}
		metrics = append(metrics,
			sum("otel.sdk.processor."+item+".processed", plural+" taken from the queue, or dropped because it was full.", unit, processed),
			sum("otel.sdk.exporter."+item+".exported", plural+" exported, or lost because the export failed.", unit, exported))
	}
	if len(t.queues) > 0 {
		add("span", "Spans", "{span}", t.queues)
	}
	if len(t.logs) > 0 {
		add("log", "Log records", "{log_record}", t.logs)
	}
	return []metricdata.ScopeMetrics{{Scope: t.scope, Metrics: metrics}}, nil
}

// ExporterCounts are the counts of one exporter.
type ExporterCounts struct {
	Name string // as in Telemetry.Counts
	Counts
}

// Exporters lists the exporters whose items are counted.
func (t *Telemetry) Exporters() []ExporterCounts {
	var out []ExporterCounts
	for _, q := range t.allQueues() {
		out = append(out, ExporterCounts{q.name, q.counts.read()})
	}
	return out
}

func (t *Telemetry) allQueues() []*queue {
	return append(t.queues[:len(t.queues):len(t.queues)], t.logs...)
}
