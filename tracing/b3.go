package tracing

import "encoding/hex"

// Flags of a SpanContext that only B3 has. They never go into traceparent.
const (
	// FlagDebug is B3's debug: sampled, whatever anybody else thinks. It travels
	// on to who is told in B3.
	FlagDebug = 0x10
	// flagUndecided: the caller has a trace, and leaves to us whether it is sampled.
	flagUndecided = 0x20
	// flagAlone: the caller has decided, and names no trace: its ids are zero.
	flagAlone = 0x40
)

// The fields of B3 with several headers, and the one of B3 with one
// (github.com/openzipkin/b3-propagation), in lower case.
const (
	B3          = "b3"
	B3TraceID   = "x-b3-traceid"
	B3SpanID    = "x-b3-spanid"
	B3Parent    = "x-b3-parentspanid" // not read; what is told has none
	B3Sampled   = "x-b3-sampled"
	B3Flags     = "x-b3-flags"
	B3SingleLen = 32 + 1 + 16 + 1 + 1 // of what AppendB3 appends
)

// ParseB3 reads the value of a b3 field: TRACEID-SPANID[-STATE[-PARENT]], or a
// STATE alone. A trace id of 16 digits is one of 32 with zeros before it. The
// SpanContext is for Sampler.Start, with hasParent true; it is not Valid where
// there is a state alone. A caller that gets false starts a new trace.
func ParseB3(b []byte) (sc SpanContext, ok bool) {
	switch {
	case len(b) == 1:
		return b3State(sc, b)
	case len(b) < 16+1+16:
		return sc, false
	}
	at := 32
	if b[16] == '-' {
		at = 16
	}
	if len(b) < at+1+16 || b[at] != '-' || !b3IDs(&sc, b[:at], b[at+1:at+17]) {
		return SpanContext{}, false
	}
	rest := b[at+17:]
	switch {
	case len(rest) == 0:
		sc.Flags = flagUndecided
		return sc, true
	case len(rest) == 1+1, len(rest) == 1+1+1+16 && rest[2] == '-' && isHex(rest[3:]):
		if rest[0] == '-' {
			return b3State(sc, rest[1:2])
		}
	}
	return SpanContext{}, false
}

// ParseB3Multi reads B3's several fields, nil where one is not there. It means
// what ParseB3 does; X-B3-ParentSpanId says nothing that is needed.
func ParseB3Multi(traceID, spanID, sampled, flags []byte) (sc SpanContext, ok bool) {
	switch {
	case traceID == nil && spanID == nil:
	case len(traceID) != 16 && len(traceID) != 32, len(spanID) != 16, !b3IDs(&sc, traceID, spanID):
		return SpanContext{}, false
	}
	switch {
	case len(flags) == 1 && flags[0] == '1':
		return b3State(sc, []byte("d"))
	case len(sampled) != 0:
		switch string(sampled) {
		case "true": // as old ones wrote it
			sampled = []byte("1")
		case "false":
			sampled = []byte("0")
		case "d":
			return SpanContext{}, false
		}
		return b3State(sc, sampled)
	case !sc.Valid():
		return SpanContext{}, false // nothing was said
	}
	sc.Flags = flagUndecided
	return sc, true
}

func b3IDs(sc *SpanContext, traceID, spanID []byte) bool {
	bad := unhex(sc.TraceID[16-len(traceID)/2:], traceID)
	bad |= unhex(sc.SpanID[:], spanID)
	return bad < 16 && sc.Valid()
}

func b3State(sc SpanContext, state []byte) (SpanContext, bool) {
	if len(state) != 1 {
		return SpanContext{}, false
	}
	if !sc.Valid() {
		sc.Flags = flagAlone
	}
	switch state[0] {
	case '0':
	case '1':
		sc.Flags |= FlagSampled
	case 'd':
		sc.Flags |= FlagSampled | FlagDebug
	default:
		return SpanContext{}, false
	}
	return sc, true
}

func isHex(b []byte) bool {
	for _, c := range b {
		if hexDigit[c] >= 16 {
			return false
		}
	}
	return true
}

// AppendB3 appends the value of a b3 field, B3SingleLen bytes.
func (sc SpanContext) AppendB3(dst []byte) []byte {
	dst = sc.AppendB3TraceID(dst)
	dst = append(dst, '-')
	dst = sc.AppendB3SpanID(dst)
	return append(dst, '-', sc.b3State())
}

// AppendB3TraceID appends the value of X-B3-TraceId, 32 bytes.
func (sc SpanContext) AppendB3TraceID(dst []byte) []byte {
	return hex.AppendEncode(dst, sc.TraceID[:])
}

// AppendB3SpanID appends the value of X-B3-SpanId, 16 bytes.
func (sc SpanContext) AppendB3SpanID(dst []byte) []byte {
	return hex.AppendEncode(dst, sc.SpanID[:])
}

// B3Decision is the value of X-B3-Sampled, or with debug that of X-B3-Flags,
// which takes its place.
func (sc SpanContext) B3Decision() (value string, debug bool) {
	switch sc.b3State() {
	case 'd':
		return "1", true
	case '1':
		return "1", false
	}
	return "0", false
}

func (sc SpanContext) b3State() byte {
	switch {
	case sc.Flags&FlagDebug != 0 && sc.Sampled():
		return 'd'
	case sc.Sampled():
		return '1'
	}
	return '0'
}
