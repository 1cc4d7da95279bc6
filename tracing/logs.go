package tracing

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
)

// Severity is how bad it is, by OpenTelemetry's logs data model.
type Severity uint8

// The severities that a proxy has for calls.
const (
	SeverityInfo  Severity = 9
	SeverityError Severity = 17
)

func (s Severity) text() string {
	if s >= SeverityError {
		return "ERROR"
	}
	return "INFO"
}

// A LogRecord is something that has happened.
type LogRecord struct {
	Time       time.Time
	Severity   Severity
	Event      string // the name of what happens like that
	Body       string
	Context    SpanContext // the span within which it happened; zero: none
	Attributes []attribute.KeyValue
}

// Logging says whether records go anywhere.
func (t *Telemetry) Logging() bool { return len(t.logs) > 0 }

// Log hands a record over for export, as Emit does with a span. What it points
// to is the caller's again when it returns.
func (t *Telemetry) Log(r *LogRecord) {
	if len(t.logs) == 0 {
		return
	}
	b := encoded.Get().(*[]byte)
	*b = appendRecord((*b)[:0], r, &t.logLimits)
	for _, q := range t.logs {
		q.add(*b)
	}
	encoded.Put(b)
}

// The fields of opentelemetry/proto/logs/v1/logs.proto.
const (
	scopeRecords            = 2
	recordTime              = 1
	recordSeverity          = 2
	recordSeverityText      = 3
	recordBody              = 5
	recordAttributes        = 6
	recordDroppedAttributes = 7
	recordFlags             = 8
	recordTraceID           = 9
	recordSpanID            = 10
	recordObserved          = 11
	recordEvent             = 12
)

// appendRecord appends r as one of a ScopeLogs' records.
func appendRecord(b []byte, r *LogRecord, l *limits) []byte {
	b, at := begin(b, scopeRecords)
	when := uint64(r.Time.UnixNano())
	b = appendFixed64(b, recordTime, when)
	b = appendFixed64(b, recordObserved, when)
	b = appendInt(b, recordSeverity, uint64(r.Severity))
	b = appendText(b, recordSeverityText, r.Severity.text())
	if r.Body != "" {
		var in int
		b, in = begin(b, recordBody)
		b = appendText(b, 1, r.Body)
		end(b, in)
	}
	b = appendAttributes(b, recordAttributes, recordDroppedAttributes, r.Attributes, l.attributes, l.valueLength)
	if r.Context.Valid() {
		b = append(b, recordFlags<<3|wireFixed32)
		b = binary.LittleEndian.AppendUint32(b, uint32(r.Context.Flags&(FlagSampled|FlagRandom)))
		b = appendBytes(b, recordTraceID, r.Context.TraceID[:])
		b = appendBytes(b, recordSpanID, r.Context.SpanID[:])
	}
	if r.Event != "" {
		b = appendText(b, recordEvent, r.Event)
	}
	end(b, at)
	return b
}

func (t *Telemetry) startLogs(s settings, o Options, out *console) error {
	from := protoResource(t.resource)
	for _, exporter := range s.logs {
		send, free := out.logs, func() {}
		if exporter == exporterOTLP {
			var err error
			if send, free, err = newLogSender(s.logsOTLP); err != nil {
				return fmt.Errorf("tracing: logs: %w", err)
			}
		}
		q := &queue{name: queueNames[exporter] + "_logs", limits: s.logBatch, guard: newGuard(o.Logger, "logs"),
			upload: func(ctx context.Context, items []byte) error {
				of := &logspb.ScopeLogs{Scope: t.protoScope()}
				of.ProtoReflect().SetUnknown(items) // as startQueue does
				return send(ctx, &logspb.ResourceLogs{Resource: from, ScopeLogs: []*logspb.ScopeLogs{of}, SchemaUrl: t.resource.SchemaURL()})
			}}
		t.logs = append(t.logs, q)
		t.runQueue(q, free)
	}
	return nil
}
