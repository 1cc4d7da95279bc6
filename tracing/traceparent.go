// Package tracing propagates W3C Trace Context, decides what is sampled, and
// sends finished spans and metrics away over OpenTelemetry.
//
// The request path uses SpanContext and Sampler only: values, no allocation,
// no lock. A Span is put together for sampled calls alone, when they are over.
package tracing

import (
	"encoding/binary"
	"encoding/hex"
)

// TraceparentLen is the length of the traceparent that this package writes.
const TraceparentLen = 55

// The flags of W3C Trace Context Level 2, section 2.2.5; others are dropped,
// as it asks.
const (
	FlagSampled = 0x01
	// FlagRandom says that the last seven bytes of the trace id are random. It
	// travels on but is not set on new traces, though theirs are: OpenTelemetry
	// libraries older than Level 2 refuse a traceparent with flags above 02.
	FlagRandom = 0x02
)

// A SpanContext names a span within its trace. The zero value is no span.
type SpanContext struct {
	TraceID [16]byte
	SpanID  [8]byte
	Flags   byte
}

// Valid says whether both ids are other than zero.
func (sc SpanContext) Valid() bool {
	return sc.TraceID != [16]byte{} && sc.SpanID != [8]byte{}
}

// Sampled says whether the span is recorded.
func (sc SpanContext) Sampled() bool { return sc.Flags&FlagSampled != 0 }

// ParseTraceparent reads the value of a traceparent field as W3C Trace Context
// Level 2, section 2.2, says: lower-case hexadecimal only, no surrounding
// space, version ff and zero ids refused, version 00 exactly 55 bytes long. A
// higher version is read by its first 55 bytes if a dash or nothing follows.
// A caller that gets false starts a new trace and drops tracestate.
func ParseTraceparent(b []byte) (SpanContext, bool) {
	if len(b) < TraceparentLen || b[2] != '-' || b[35] != '-' || b[52] != '-' {
		return SpanContext{}, false
	}
	var version, flags [1]byte
	var sc SpanContext
	bad := unhex(version[:], b[0:2])
	bad |= unhex(sc.TraceID[:], b[3:35])
	bad |= unhex(sc.SpanID[:], b[36:52])
	bad |= unhex(flags[:], b[53:55])
	if bad >= 16 || version[0] == 0xff {
		return SpanContext{}, false
	}
	if len(b) > TraceparentLen && (version[0] == 0 || b[TraceparentLen] != '-') {
		return SpanContext{}, false
	}
	if !sc.Valid() {
		return SpanContext{}, false
	}
	sc.Flags = flags[0] & (FlagSampled | FlagRandom)
	return sc, true
}

// AppendTraceparent appends the value of a traceparent field, version 00,
// TraceparentLen bytes.
func (sc SpanContext) AppendTraceparent(dst []byte) []byte {
	dst = append(dst, '0', '0', '-')
	dst = hex.AppendEncode(dst, sc.TraceID[:])
	dst = append(dst, '-')
	dst = hex.AppendEncode(dst, sc.SpanID[:])
	return append(dst, '-', '0', '0'+sc.Flags&(FlagSampled|FlagRandom))
}

// String is the traceparent, for logs and tests.
func (sc SpanContext) String() string { return string(sc.AppendTraceparent(nil)) }

// unhex decodes src, twice as long as dst. It returns a number of 16 or above
// if a byte of src is no lower-case hexadecimal digit.
func unhex(dst, src []byte) (bad byte) {
	for i := range dst {
		hi, lo := hexDigit[src[2*i]], hexDigit[src[2*i+1]]
		dst[i] = hi<<4 | lo&15
		bad |= hi | lo
	}
	return bad
}

// hexDigit maps a lower-case digit to its value and all else to 255.
var hexDigit = func() (t [256]byte) {
	for i := range t {
		t[i] = 0xff
	}
	for i, c := range []byte("0123456789abcdef") {
		t[c] = byte(i)
	}
	return t
}()

// NewSpanID makes a span's id.
func NewSpanID() (id [8]byte) {
	binary.NativeEndian.PutUint64(id[:], nonZero())
	return id
}
