package tracing

import "slices"

// Propagators are the fields of a request by which a trace crosses processes
// (OTEL_PROPAGATORS). All others go through as they are, Baggage among them
// whether it is named or not.
type Propagators struct {
	TraceContext bool // traceparent and tracestate (W3C Trace Context)
	B3           bool // b3
	B3Multi      bool // X-B3-TraceId, X-B3-SpanId, X-B3-Sampled, X-B3-Flags
}

// propagators reads the list. A proxy has nothing to add to baggage.
func (e *env) propagators() Propagators {
	words, said := e.words("OTEL_PROPAGATORS", []string{"tracecontext", "baggage", "b3", "b3multi"})
	return Propagators{
		TraceContext: !said || slices.Contains(words, "tracecontext"),
		B3:           slices.Contains(words, "b3"),
		B3Multi:      slices.Contains(words, "b3multi"),
	}
}

// Propagators are those that OTEL_PROPAGATORS names.
func (t *Telemetry) Propagators() Propagators { return t.propagators }
