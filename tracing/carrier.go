package tracing

// None reports that no field of a request says a trace.
func (p Propagators) None() bool { return !p.TraceContext && !p.B3 && !p.B3Multi }

// AnyB3 reports that some field of B3's does.
func (p Propagators) AnyB3() bool { return p.B3 || p.B3Multi }

// A Carried is what a request has of B3, each field's value, nil where it is
// not there.
type Carried struct{ B3, TraceID, SpanID, Sampled, Flags []byte }

// Take notes a field by its name, in lower case.
func (c *Carried) Take(name string, value []byte) {
	switch name {
	case B3:
		c.B3 = value
	case B3TraceID:
		c.TraceID = value
	case B3SpanID:
		c.SpanID = value
	case B3Sampled:
		c.Sampled = value
	case B3Flags:
		c.Flags = value
	}
}

// IsB3 reports whether a field, by its name in lower case, is one of B3's.
func IsB3(name string) bool {
	switch name {
	case B3, B3TraceID, B3SpanID, B3Sampled, B3Flags, B3Parent:
		return true
	}
	return false
}

// ParseB3 reads what there is of B3, one header before several, as B3's own
// specification has it.
func (p Propagators) ParseB3(c *Carried) (SpanContext, bool) {
	if p.B3 && c.B3 != nil {
		if sc, ok := ParseB3(c.B3); ok {
			return sc, true
		}
	}
	if p.B3Multi {
		return ParseB3Multi(c.TraceID, c.SpanID, c.Sampled, c.Flags)
	}
	return SpanContext{}, false
}

// AppendLines appends the lines of an HTTP/1.1 head that say sc: as many bytes
// for each span of a call, so that one can take another's place.
func (p Propagators) AppendLines(dst []byte, sc SpanContext) []byte {
	if p.TraceContext {
		dst = append(sc.AppendTraceparent(append(dst, "traceparent: "...)), "\r\n"...)
	}
	if p.B3 {
		dst = append(sc.AppendB3(append(dst, "b3: "...)), "\r\n"...)
	}
	if !p.B3Multi {
		return dst
	}
	dst = append(sc.AppendB3TraceID(append(dst, "X-B3-TraceId: "...)), "\r\n"...)
	dst = append(sc.AppendB3SpanID(append(dst, "X-B3-SpanId: "...)), "\r\n"...)
	value, debug := sc.B3Decision()
	name := "X-B3-Sampled: "
	if debug {
		name = "X-B3-Flags: "
	}
	return append(append(append(dst, name...), value...), "\r\n"...)
}

// B3Fields tells B3's fields that say sc, with names in lower case.
func (p Propagators) B3Fields(sc SpanContext, tell func(name, value string)) {
	var b [B3SingleLen]byte
	if p.B3 {
		tell(B3, string(sc.AppendB3(b[:0])))
	}
	if !p.B3Multi {
		return
	}
	tell(B3TraceID, string(sc.AppendB3TraceID(b[:0])))
	tell(B3SpanID, string(sc.AppendB3SpanID(b[:0])))
	if value, debug := sc.B3Decision(); debug {
		tell(B3Flags, value)
	} else {
		tell(B3Sampled, value)
	}
}
