package telemetry

import (
	"encoding/binary"
	"errors"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// OTLP is read from the wire, field by field, and not into messages: most of
// what sidecars send each second are series that are known by the bytes of
// their attributes, and making objects of those costs more than all the rest.
// The numbers of the fields are those of opentelemetry-proto 1.x.

var errWire = errors.New("not a protobuf message of OTLP")

// fields walks through the fields of a message. After the last one next is
// false, and so it is, with bad set, where the bytes make no sense.
type fields struct {
	rest  []byte
	bad   bool
	tag   uint64 // number<<3 | wire type
	value uint64 // of varints and fixed numbers
	bytes []byte // of strings, bytes, messages and packed numbers
}

// The tags of fields by their wire type.
func varintTag(n uint64) uint64 { return n<<3 | uint64(protowire.VarintType) }
func fixedTag(n uint64) uint64  { return n<<3 | uint64(protowire.Fixed64Type) }
func bytesTag(n uint64) uint64  { return n<<3 | uint64(protowire.BytesType) }

func (f *fields) next() bool {
	b := f.rest
	if len(b) == 0 {
		return false
	}
	// Of nearly all fields the tag is one byte, and the length as well.
	if f.tag = uint64(b[0]); f.tag < 0x80 {
		b = b[1:]
	} else {
		tag, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return f.stop()
		}
		f.tag, b = tag, b[n:]
	}
	switch protowire.Type(f.tag & 7) {
	case protowire.VarintType:
		v, n := protowire.ConsumeVarint(b)
		if n < 0 {
			return f.stop()
		}
		f.value, f.rest = v, b[n:]
	case protowire.Fixed64Type:
		if len(b) < 8 {
			return f.stop()
		}
		f.value, f.rest = binary.LittleEndian.Uint64(b), b[8:]
	case protowire.BytesType:
		if len(b) > 0 && b[0] < 0x80 && int(b[0]) < len(b) {
			n := 1 + int(b[0])
			f.bytes, f.rest = b[1:n:n], b[n:]
			break
		}
		size, n := protowire.ConsumeVarint(b)
		if n < 0 || size > uint64(len(b)-n) {
			return f.stop()
		}
		b = b[n:]
		f.bytes, f.rest = b[:size:size], b[size:]
	case protowire.Fixed32Type:
		if len(b) < 4 {
			return f.stop()
		}
		f.value, f.rest = uint64(binary.LittleEndian.Uint32(b)), b[4:]
	default: // groups, which OTLP has none of
		return f.stop()
	}
	return true
}

func (f *fields) varint() (uint64, bool) {
	if len(f.rest) > 0 && f.rest[0] < 0x80 {
		v := uint64(f.rest[0])
		f.rest = f.rest[1:]
		return v, true
	}
	v, n := protowire.ConsumeVarint(f.rest)
	if n < 0 {
		return 0, false
	}
	f.rest = f.rest[n:]
	return v, true
}

func (f *fields) stop() bool {
	f.bad, f.rest = true, nil
	return false
}

func (f *fields) float() float64 { return math.Float64frombits(f.value) }

// keyValue reads a KeyValue: its key, and its value as bytes of an AnyValue.
func keyValue(b []byte) (key, value []byte, ok bool) {
	f := fields{rest: b}
	for f.next() {
		switch f.tag {
		case bytesTag(1):
			key = f.bytes
		case bytesTag(2):
			value = f.bytes
		}
	}
	return key, value, !f.bad
}

// text is the string of an AnyValue; nil if it is another kind.
func text(value []byte) []byte {
	f := fields{rest: value}
	var s []byte
	for f.next() {
		s = nil
		if f.tag == bytesTag(1) {
			s = f.bytes
		}
	}
	return s
}

// marshal is a message as bytes; nil is an empty one.
func marshal(m proto.Message) ([]byte, error) {
	b, err := proto.Marshal(m)
	if err != nil {
		return nil, errors.Join(errWire, err)
	}
	return b, nil
}
