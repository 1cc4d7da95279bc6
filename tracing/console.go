package tracing

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
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

// consoleSpans is an otlptrace.Client.
type consoleSpans struct{ *console }

func (consoleSpans) Start(context.Context) error { return nil }
func (consoleSpans) Stop(context.Context) error  { return nil }

func (c consoleSpans) UploadTraces(_ context.Context, batch []*tracepb.ResourceSpans) error {
	for _, rs := range batch {
		b, err := proto.Marshal(rs)
		if err != nil {
			return err
		}
		all := &tracepb.ResourceSpans{} // with the spans as such, and not as bytes
		if err := proto.Unmarshal(b, all); err != nil {
			return err
		}
		for _, ss := range all.ScopeSpans {
			for _, s := range ss.Spans {
				if err := c.line(consoleLineOf(s)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func consoleLineOf(s *tracepb.Span) consoleLine {
	l := consoleLine{
		Trace: hex.EncodeToString(s.TraceId), Span: hex.EncodeToString(s.SpanId), Parent: hex.EncodeToString(s.ParentSpanId),
		Kind: strings.ToLower(strings.TrimPrefix(s.Kind.String(), "SPAN_KIND_")), Name: s.Name,
		Start: time.Unix(0, int64(s.StartTimeUnixNano)), Ms: float64(s.EndTimeUnixNano-s.StartTimeUnixNano) / 1e6,
		Error: s.Status.GetMessage(),
	}
	if s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR {
		l.Status = "Error"
	}
	l.Attributes = consoleAttributes(s.Attributes)
	return l
}

func consoleAttributes(all []*commonpb.KeyValue) map[string]any {
	if len(all) == 0 {
		return nil
	}
	out := map[string]any{}
	for _, kv := range all {
		switch v := kv.Value.GetValue().(type) {
		case *commonpb.AnyValue_StringValue:
			out[kv.Key] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			out[kv.Key] = v.IntValue
		case *commonpb.AnyValue_DoubleValue:
			out[kv.Key] = v.DoubleValue
		case *commonpb.AnyValue_BoolValue:
			out[kv.Key] = v.BoolValue
		default:
			out[kv.Key] = kv.Value.String()
		}
	}
	return out
}

type consoleRecord struct {
	Time       time.Time      `json:"time"`
	Severity   string         `json:"severity"`
	Event      string         `json:"event,omitempty"`
	Body       string         `json:"body,omitempty"`
	Trace      string         `json:"trace,omitempty"`
	Span       string         `json:"span,omitempty"`
	Attributes map[string]any `json:"attributes,omitempty"`
}

// logs writes records.
func (c *console) logs(_ context.Context, batch *logspb.ResourceLogs) error {
	b, err := proto.Marshal(batch)
	if err != nil {
		return err
	}
	all := &logspb.ResourceLogs{}
	if err := proto.Unmarshal(b, all); err != nil {
		return err
	}
	for _, sl := range all.ScopeLogs {
		for _, r := range sl.LogRecords {
			if err := c.line(consoleRecord{
				Time: time.Unix(0, int64(r.TimeUnixNano)), Severity: r.SeverityText, Event: r.EventName, Body: r.Body.GetStringValue(),
				Trace: hex.EncodeToString(r.TraceId), Span: hex.EncodeToString(r.SpanId), Attributes: consoleAttributes(r.Attributes),
			}); err != nil {
				return err
			}
		}
	}
	return nil
}

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
