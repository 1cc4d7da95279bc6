package tracing

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
)

// ScopeName is the instrumentation scope of every span.
const ScopeName = "github.com/meshd/meshd/tracing"

// Kind is the role of a span in its trace.
type Kind = trace.SpanKind

// The kinds that a proxy has.
const (
	KindInternal = trace.SpanKindInternal
	KindServer   = trace.SpanKindServer
	KindClient   = trace.SpanKindClient
)

// A Span is a finished piece of a call. Its ids, times and the decision to
// sample it were taken on the way.
type Span struct {
	Context SpanContext
	// Parent is the zero SpanContext for the first span of a trace.
	Parent SpanContext
	// RemoteParent says that Parent came with the request.
	RemoteParent bool
	// TraceState is the request's tracestate, possibly empty.
	TraceState string

	Kind       Kind
	Name       string // see SpanName
	Start, End time.Time
	Attributes Attributes
	Events     []Event

	// Kept says that its call was kept for what became of it, and not only
	// because the trace is sampled: meshd gets it however many there are.
	Kept bool

	// Failed sets the status to Error; a message, where the attributes do not
	// say why, does so too.
	Failed bool
	Error  string
}

// An Event is something that happened within a span, such as a retry.
type Event struct {
	Name       string
	Time       time.Time
	Attributes []attribute.KeyValue
}
