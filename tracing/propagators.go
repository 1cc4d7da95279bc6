package tracing

import "strings"

// Propagators are the fields of a request by which a trace crosses processes
// (OTEL_PROPAGATORS). All others go through as they are, Baggage among them
// whether it is named or not.
type Propagators struct {
	TraceContext bool // traceparent and tracestate (W3C Trace Context)
	B3           bool // b3
	B3Multi      bool // X-B3-TraceId, X-B3-SpanId, X-B3-Sampled, X-B3-Flags
}

// propagators reads the list. A proxy has nothing to add to baggage.
func (e *env) propagators() (p Propagators) {
	name, list := e.first("OTEL_PROPAGATORS")
	if list == "" {
		return Propagators{TraceContext: true}
	}
	none, some := false, false
	for word := range strings.SplitSeq(list, ",") {
		switch strings.ToLower(strings.TrimSpace(word)) {
		case "tracecontext":
			p.TraceContext, some = true, true
		case "b3":
			p.B3, some = true, true
		case "b3multi":
			p.B3Multi, some = true, true
		case "baggage":
			some = true
		case "none":
			none = true
		default:
			none, some = true, true
		}
	}
	if none && some {
		e.refuse(name, list, "tracecontext, baggage, b3 and b3multi, with commas between them, or none")
	}
	return p
}

// Propagators are those that OTEL_PROPAGATORS names.
func (t *Telemetry) Propagators() Propagators { return t.propagators }
