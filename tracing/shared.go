package tracing

import (
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
)

// Shared are attributes that many spans have alike, such as those of their
// route. They become bytes once, and a span copies those.
type Shared struct {
	of      []attribute.KeyValue
	encoded atomic.Pointer[encodedShared]
}

type encodedShared struct {
	valueLength int // limits.valueLength that it was made with
	bytes       []byte
}

// Share makes Shared of attributes, which are not to change any more.
func Share(of ...attribute.KeyValue) *Shared { return &Shared{of: of} }

// encode is what appendAttributes would append to a span.
func (s *Shared) encode(valueLength int) []byte {
	if e := s.encoded.Load(); e != nil && e.valueLength == valueLength {
		return e.bytes
	}
	e := &encodedShared{valueLength: valueLength}
	for i := range s.of {
		e.bytes = appendAttribute(e.bytes, spanAttributes, &s.of[i], valueLength)
	}
	s.encoded.Store(e) // whoever is second makes the same
	return e.bytes
}

// appendAttributes appends all that the span has, the shared ones first.
func (s *Span) appendAttributes(b []byte, l *limits) []byte {
	n := len(s.Attributes)
	for _, of := range s.Shared {
		if of != nil {
			n += len(of.of)
		}
	}
	if n > l.attributes {
		return appendAttributes(b, spanAttributes, spanDroppedAttributes, s.AllAttributes(), l.attributes, l.valueLength)
	}
	for _, of := range s.Shared {
		if of != nil {
			b = append(b, of.encode(l.valueLength)...)
		}
	}
	return appendAttributes(b, spanAttributes, spanDroppedAttributes, s.Attributes, l.attributes, l.valueLength)
}

// AllAttributes are those of Shared and Attributes, in a slice of their own.
func (s *Span) AllAttributes() (all []attribute.KeyValue) {
	for _, of := range s.Shared {
		if of != nil {
			all = append(all, of.of...)
		}
	}
	return append(all, s.Attributes...)
}
