package tracing

import (
	"encoding/binary"
	"math"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"google.golang.org/protobuf/encoding/protowire"
)

// A span becomes bytes of OTLP where it ends, once, whoever gets it: the SDK's
// way, over objects that its exporter walks later, costs twenty times as much
// and keeps all of them alive until then. Field numbers are those of
// opentelemetry/proto/trace/v1/trace.proto.

const (
	spanTraceID           = 1
	spanID                = 2
	spanTraceState        = 3
	spanParentID          = 4
	spanName              = 5
	spanKind              = 6
	spanStart             = 7
	spanEnd               = 8
	spanAttributes        = 9
	spanDroppedAttributes = 10
	spanEvents            = 11
	spanDroppedEvents     = 12
	spanStatus            = 15
	spanFlags             = 16

	eventTime, eventName, eventAttributes, eventDropped = 1, 2, 3, 4
	statusMessage, statusCode, codeError                = 2, 3, 2

	// SpanFlags: whether a parent is remote is known, and it is.
	flagHasRemote, flagRemote = 0x100, 0x200
)

// scopeSpans is the field of ScopeSpans that holds its spans.
const scopeSpans = 2

// appendSpan appends s as one of a ScopeSpans' spans, as far as the limits go.
func appendSpan(b []byte, s *Span, l *limits) []byte {
	b, at := begin(b, scopeSpans)
	b = appendBytes(b, spanTraceID, s.Context.TraceID[:])
	b = appendBytes(b, spanID, s.Context.SpanID[:])
	flags := uint32(s.Context.Flags&(FlagSampled|FlagRandom)) | flagHasRemote
	if s.Parent.Valid() {
		b = appendBytes(b, spanParentID, s.Parent.SpanID[:])
		if s.RemoteParent {
			flags |= flagRemote
		}
	}
	if s.TraceState != "" {
		b = appendText(b, spanTraceState, s.TraceState)
	}
	b = appendText(b, spanName, s.Name)
	b = appendInt(b, spanKind, uint64(s.Kind))
	b = appendFixed64(b, spanStart, uint64(s.Start.UnixNano()))
	b = appendFixed64(b, spanEnd, uint64(s.End.UnixNano()))
	b = s.Attributes.append(b, l)
	events := s.Events
	if over := len(events) - l.events; over > 0 {
		events = events[:l.events]
		b = appendInt(b, spanDroppedEvents, uint64(over))
	}
	for i := range events {
		e := &events[i]
		var in int
		b, in = begin(b, spanEvents)
		b = appendFixed64(b, eventTime, uint64(e.Time.UnixNano()))
		b = appendText(b, eventName, e.Name)
		b = appendAttributes(b, eventAttributes, eventDropped, e.Attributes, l.eventAttributes, l.valueLength)
		end(b, in)
	}
	if s.Failed || s.Error != "" {
		var in int
		b, in = begin(b, spanStatus)
		if s.Error != "" {
			b = appendText(b, statusMessage, s.Error)
		}
		b = appendInt(b, statusCode, codeError)
		end(b, in)
	}
	// Field 16 is the one whose tag takes two bytes.
	b = append(b, spanFlags<<3&0x7f|wireFixed32|0x80, spanFlags>>4)
	b = binary.LittleEndian.AppendUint32(b, flags)
	end(b, at)
	return b
}

// appendAttributes appends as many as may be, and in the field dropped how many
// more there were.
func appendAttributes(b []byte, field, dropped byte, all []attribute.KeyValue, most, valueLength int) []byte {
	if over := len(all) - most; over > 0 {
		all = all[:most]
		b = appendInt(b, dropped, uint64(over))
	}
	for i := range all {
		b = appendAttribute(b, field, &all[i], valueLength)
	}
	return b
}

// appendAttribute appends a common.v1.KeyValue. Its key, a constant of ours for
// all but a resource's, is taken to be UTF-8.
func appendAttribute(b []byte, field byte, a *attribute.KeyValue, valueLength int) []byte {
	b, at := beginShort(b, field)
	b = appendValid(b, 1, string(a.Key))
	b = appendValue(b, 2, a.Value, valueLength)
	return endShort(b, at)
}

// appendValue appends a common.v1.AnyValue.
func appendValue(b []byte, field byte, v attribute.Value, most int) []byte {
	b, at := beginShort(b, field)
	switch v.Type() {
	case attribute.BOOL:
		b = appendInt(b, 2, protowire.EncodeBool(v.AsBool()))
	case attribute.INT64:
		b = appendInt(b, 3, uint64(v.AsInt64()))
	case attribute.FLOAT64:
		b = appendFixed64(b, 4, math.Float64bits(v.AsFloat64()))
	case attribute.STRING:
		b = appendText(b, 1, cut(v.AsString(), most))
	case attribute.STRINGSLICE:
		var in int
		b, in = begin(b, 5)
		for _, s := range v.AsStringSlice() {
			b = appendValue(b, 1, attribute.StringValue(s), most)
		}
		end(b, in)
	default: // of which we make none
		b = appendText(b, 1, cut(v.String(), most))
	}
	return endShort(b, at)
}

// begin begins a message whose length is not known yet; end fills it in. It
// takes three bytes whatever it is, which protobuf allows: up to 2 MB.
func begin(b []byte, field byte) (out []byte, at int) {
	return append(b, field<<3|wireBytes, 0, 0, 0), len(b) + 4
}

func end(b []byte, at int) {
	n := len(b) - at
	b[at-3], b[at-2], b[at-1] = byte(n)|0x80, byte(n>>7)|0x80, byte(n>>14)&0x7f
}

// beginShort and endShort do the same for a message that is likely to be
// shorter than 128 bytes: its length then takes one, and else it is moved.
func beginShort(b []byte, field byte) (out []byte, at int) {
	return append(b, field<<3|wireBytes, 0), len(b) + 2
}

func endShort(b []byte, at int) []byte {
	n := len(b) - at
	if n < 1<<7 {
		b[at-1] = byte(n)
		return b
	}
	more := protowire.SizeVarint(uint64(n)) - 1
	b = append(b, make([]byte, more)...)
	copy(b[at+more:], b[at:])
	binary.PutUvarint(b[at-1:], uint64(n))
	return b
}

// The wire types of protobuf. Fields below 16 have a tag of one byte.
const (
	wireVarint  = 0
	wireFixed64 = 1
	wireBytes   = 2
	wireFixed32 = 5
)

// appendText appends a string; what is no UTF-8, such as a path may have, would
// make the whole batch unreadable, and is replaced.
func appendText(b []byte, field byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "\uFFFD")
	}
	return appendValid(b, field, s)
}

func appendValid(b []byte, field byte, s string) []byte {
	if n := len(s); n < 1<<7 {
		b = append(b, field<<3|wireBytes, byte(n))
	} else {
		b = protowire.AppendVarint(append(b, field<<3|wireBytes), uint64(n))
	}
	return append(b, s...)
}

// appendBytes is for what is shorter than 128.
func appendBytes(b []byte, field byte, v []byte) []byte {
	return append(append(b, field<<3|wireBytes, byte(len(v))), v...)
}

func appendInt(b []byte, field byte, v uint64) []byte {
	return protowire.AppendVarint(append(b, field<<3|wireVarint), v)
}

func appendFixed64(b []byte, field byte, v uint64) []byte {
	return binary.LittleEndian.AppendUint64(append(b, field<<3|wireFixed64), v)
}
