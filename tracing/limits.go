package tracing

// limits bound what a span or a log record carries (OpenTelemetry, "Attribute
// Limits", "Span Limits", "LogRecord Limits"). What is beyond them is left out,
// and its number goes along.
type limits struct {
	valueLength     int // of a text, in characters; unlimited: any
	attributes      int // of a span or record
	events          int // of a span
	eventAttributes int
}

const unlimited = -1

// limits reads those of spans and of log records. A span's own variable counts
// before the common one. Spans here have no links.
func (e *env) limits() (spans, records limits) {
	spans = limits{
		valueLength:     e.limit(unlimited, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
		attributes:      e.limit(128, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"),
		events:          e.limit(128, "OTEL_SPAN_EVENT_COUNT_LIMIT"),
		eventAttributes: e.limit(128, "OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"),
	}
	e.limit(128, "OTEL_SPAN_LINK_COUNT_LIMIT")
	e.limit(128, "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT")
	return spans, limits{
		valueLength: e.limit(unlimited, "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
		attributes:  e.limit(128, "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"),
	}
}

// cut is a text of so many characters at most; negative: of any number.
func cut(s string, most int) string {
	if most < 0 || len(s) <= most {
		return s
	}
	for i := range s {
		if most == 0 {
			return s[:i]
		}
		most--
	}
	return s
}
