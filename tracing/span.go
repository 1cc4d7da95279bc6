package tracing

import (
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
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
	Attributes []attribute.KeyValue
	Events     []Event

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

// A finished span as the SDK's batch processor and exporters take it. No
// TracerProvider stands between: it would choose ids, take times and decide,
// all of which has been done. The embedded nil interface supplies its private
// method, as in the SDK's own tracetest.
type finished struct {
	sdktrace.ReadOnlySpan
	span  *Span // all exporters share it
	queue *spanQueue
}

func (f *finished) Name() string                     { return f.span.Name }
func (f *finished) SpanKind() trace.SpanKind         { return f.span.Kind }
func (f *finished) StartTime() time.Time             { return f.span.Start }
func (f *finished) EndTime() time.Time               { return f.span.End }
func (f *finished) Attributes() []attribute.KeyValue { return f.span.Attributes }
func (f *finished) Links() []sdktrace.Link           { return nil }
func (f *finished) DroppedAttributes() int           { return 0 }
func (f *finished) DroppedLinks() int                { return 0 }
func (f *finished) DroppedEvents() int               { return 0 }
func (f *finished) ChildSpanCount() int              { return 0 }
func (f *finished) Resource() *resource.Resource     { return f.queue.resource }

func (f *finished) InstrumentationScope() instrumentation.Scope { return f.queue.scope }

// InstrumentationLibrary is InstrumentationScope by its former name, which the
// interface still asks for.
//
//lint:ignore SA1019 the interface is the SDK's
func (f *finished) InstrumentationLibrary() instrumentation.Library { return f.queue.scope }

func (f *finished) SpanContext() trace.SpanContext {
	return f.context(f.span.Context, false)
}

func (f *finished) Parent() trace.SpanContext {
	return f.context(f.span.Parent, f.span.RemoteParent)
}

func (f *finished) context(sc SpanContext, remote bool) trace.SpanContext {
	config := trace.SpanContextConfig{
		TraceID:    sc.TraceID,
		SpanID:     sc.SpanID,
		TraceFlags: trace.TraceFlags(sc.Flags),
		Remote:     remote,
	}
	if f.span.TraceState != "" {
		// A tracestate that cannot be parsed is dropped: W3C Trace Context, 3.3.
		config.TraceState, _ = trace.ParseTraceState(f.span.TraceState)
	}
	return trace.NewSpanContext(config)
}

func (f *finished) Events() []sdktrace.Event {
	if len(f.span.Events) == 0 {
		return nil
	}
	events := make([]sdktrace.Event, len(f.span.Events))
	for i, e := range f.span.Events {
		events[i] = sdktrace.Event{Name: e.Name, Time: e.Time, Attributes: e.Attributes}
	}
	return events
}

func (f *finished) Status() sdktrace.Status {
	if f.span.Failed || f.span.Error != "" {
		return sdktrace.Status{Code: codes.Error, Description: f.span.Error}
	}
	return sdktrace.Status{}
}
