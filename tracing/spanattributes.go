package tracing

import (
	"encoding/binary"
	"math"
	"slices"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Attributes are those of a span, bytes already: what a span takes from its
// route or its endpoint is copied, and no list of values is made only to be
// read again. The zero value has none. A copy may be added to as well as what
// it was copied from, but only one of the two is then of use, as with append.
type Attributes struct {
	bytes []byte // of a Span's field
	n     int
}

// AttributesOf are those of a list.
func AttributesOf(list ...attribute.KeyValue) (a Attributes) {
	a.Add(list...)
	return a
}

// Add adds those of a list.
func (a *Attributes) Add(list ...attribute.KeyValue) {
	for i := range list {
		a.bytes = appendAttribute(a.bytes, spanAttributes, &list[i], unlimited)
		a.n++
	}
}

// Join adds what others there are.
func (a *Attributes) Join(others *Attributes) {
	a.bytes = append(a.bytes, others.bytes...)
	a.n += others.n
}

// Clone is a copy with memory of its own.
func (a *Attributes) Clone() Attributes { return Attributes{slices.Clone(a.bytes), a.n} }

// Empty removes all, and keeps the memory.
func (a *Attributes) Empty() { a.bytes, a.n = a.bytes[:0], 0 }

// String adds a text.
func (a *Attributes) String(key attribute.Key, v string) {
	// What all lengths are below 128 of, each is a byte.
	n := len(key) + len(v) + 6
	if n >= 128 || !utf8.ValidString(v) {
		a.Add(key.String(v))
		return
	}
	b := append(a.bytes, spanAttributes<<3|wireBytes, byte(n), 1<<3|wireBytes, byte(len(key)))
	b = append(b, key...)
	b = append(b, 2<<3|wireBytes, byte(len(v)+2), 1<<3|wireBytes, byte(len(v)))
	a.bytes = append(b, v...)
	a.n++
}

// Float64 adds a number.
func (a *Attributes) Float64(key attribute.Key, v float64) {
	n := len(key) + 13
	if n >= 128 {
		a.Add(key.Float64(v))
		return
	}
	b := append(a.bytes, spanAttributes<<3|wireBytes, byte(n), 1<<3|wireBytes, byte(len(key)))
	b = append(b, key...)
	b = append(b, 2<<3|wireBytes, 9, 4<<3|wireFixed64)
	a.bytes = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	a.n++
}

// Int adds a number.
func (a *Attributes) Int(key attribute.Key, v int) { a.Add(key.Int(v)) }

// All are the attributes as a list.
func (a *Attributes) All() []attribute.KeyValue {
	var s tracepb.Span
	if err := proto.Unmarshal(a.bytes, &s); err != nil {
		panic("tracing: attributes that cannot be decoded: " + err.Error()) // not of any input: texts are mended
	}
	all := make([]attribute.KeyValue, 0, a.n)
	for _, kv := range s.Attributes {
		all = append(all, attribute.KeyValue{Key: attribute.Key(kv.Key), Value: valueOf(kv.Value)})
	}
	return all
}

// valueOf reads what appendValue makes.
func valueOf(v *commonpb.AnyValue) attribute.Value {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_BoolValue:
		return attribute.BoolValue(v.BoolValue)
	case *commonpb.AnyValue_IntValue:
		return attribute.Int64Value(v.IntValue)
	case *commonpb.AnyValue_DoubleValue:
		return attribute.Float64Value(v.DoubleValue)
	case *commonpb.AnyValue_ArrayValue:
		var texts []string
		for _, e := range v.ArrayValue.Values {
			texts = append(texts, e.GetStringValue())
		}
		return attribute.StringSliceValue(texts)
	default:
		return attribute.StringValue(v.(*commonpb.AnyValue_StringValue).StringValue)
	}
}

// append appends the attributes as far as the limits go.
func (a *Attributes) append(b []byte, l *limits) []byte {
	if a.n <= l.attributes && l.valueLength == unlimited {
		return append(b, a.bytes...)
	}
	return appendAttributes(b, spanAttributes, spanDroppedAttributes, a.All(), l.attributes, l.valueLength)
}
