package tracing

import (
	"context"
	"encoding/json"
	"io"
	"sync"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// console writes every span, and every export of metrics, as a line of JSON;
// it is for a person who looks, its form is no interface.
type console struct {
	mu sync.Mutex // guards out
	// out is where lines go.
	out io.Writer
}

type consoleLine struct {
	Trace      string         `json:"trace"`
	Span       string         `json:"span"`
	Parent     string         `json:"parent,omitempty"`
	Kind       string         `json:"kind"`
	Name       string         `json:"name"`
	Start      time.Time      `json:"start"`
	Ms         float64        `json:"ms"`
	Status     string         `json:"status,omitempty"`
	Error      string         `json:"error,omitempty"`
	Attributes map[string]any `json:"attributes,omitempty"`
}

func (c *console) line(v any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return json.NewEncoder(c.out).Encode(v)
}

type consoleSpans struct{ *console }

func (c consoleSpans) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	for _, s := range spans {
		l := consoleLine{
			Trace: s.SpanContext().TraceID().String(),
			Span:  s.SpanContext().SpanID().String(),
			Kind:  s.SpanKind().String(),
			Name:  s.Name(),
			Start: s.StartTime(),
			Ms:    float64(s.EndTime().Sub(s.StartTime())) / float64(time.Millisecond),
			Error: s.Status().Description,
		}
		if parent := s.Parent(); parent.IsValid() {
			l.Parent = parent.SpanID().String()
		}
		if code := s.Status().Code; code != 0 {
			l.Status = code.String()
		}
		for _, kv := range s.Attributes() {
			if l.Attributes == nil {
				l.Attributes = map[string]any{}
			}
			l.Attributes[string(kv.Key)] = kv.Value.AsInterface()
		}
		if err := c.line(l); err != nil {
			return err
		}
	}
	return nil
}

func (consoleSpans) Shutdown(context.Context) error { return nil }

type consoleMetrics struct{ *console }

func (c consoleMetrics) Export(_ context.Context, rm *metricdata.ResourceMetrics) error {
	return c.line(rm)
}

func (consoleMetrics) Temporality(metric.InstrumentKind) metricdata.Temporality {
	return metricdata.CumulativeTemporality
}

func (consoleMetrics) Aggregation(kind metric.InstrumentKind) metric.Aggregation {
	return metric.DefaultAggregationSelector(kind)
}

func (consoleMetrics) ForceFlush(context.Context) error { return nil }
func (consoleMetrics) Shutdown(context.Context) error   { return nil }
