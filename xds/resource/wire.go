package resource

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// The protobufs are read straight from their bytes, by tables that name every
// field of every message that we look into and say what becomes of it. The
// generated Go packages would cost each sidecar 5 MB of memory for messages
// that it never sees, and would drop what they do not know without a word;
// here a field that is in no table is refused like one that is not supported.
// The tests compare the tables with the generated descriptors.

// A verdict is what becomes of a field.
type verdict uint8

const (
	deny     verdict = iota // changes what a call does and is not supported: refused by name
	denyText                // the same, and its value is text worth quoting
	skip                    // changes nothing that a sidecar does: passed over
	off                     // bool or BoolValue: accepted when false
	zero                    // enum or number: accepted when 0
	num                     // used: a varint
	nums                    // used: repeated varints, packed or not
	float                   // used: a double; n is its bits
	text                    // used: a string
	texts                   // used: repeated strings
	msg                     // used: a message or bytes
	msgs                    // used: repeated messages, or a map's entries
)

// A field is one row of a table; want completes a refusal with what would be
// accepted.
type field struct {
	name string
	verdict
	want string
}

// A message is the table of one protobuf message.
type message struct {
	name   string // full protobuf name
	fields map[protowire.Number]field
}

// A value is a field's content: n of a varint or a double, b of everything else. b aliases
// the message's bytes.
type value struct {
	n uint64
	b []byte
}

// A fieldError says which field of a resource is at fault; its path grows
// outwards as it is returned.
type fieldError struct {
	path string
	err  error
}

func (e *fieldError) Error() string { return e.path + ": " + e.err.Error() }
func (e *fieldError) Unwrap() error { return e.err }

// in adds a level to the path of err.
func in(path string, err error) error {
	if fe, ok := err.(*fieldError); ok {
		return &fieldError{path + "." + fe.path, fe.err}
	}
	return &fieldError{path, err}
}

var (
	errMalformed = errors.New("not a well-formed protobuf")
	errMissing   = errors.New("missing")
)

// walk reads b as m and calls visit for each field that is used, in the order
// of the wire. It fails on a field that is refused, unknown, or given twice
// without being repeated. The error names the field.
func (m *message) walk(b []byte, visit func(protowire.Number, value) error) error {
	var seen [2]uint64
	for rest := b; len(rest) > 0; {
		n, typ, tagLen := protowire.ConsumeTag(rest)
		if tagLen < 0 {
			return errMalformed
		}
		size := protowire.ConsumeFieldValue(n, typ, rest[tagLen:])
		if size < 0 {
			return errMalformed
		}
		at := len(b) - len(rest)
		body := rest[tagLen : tagLen+size]
		rest = rest[tagLen+size:]

		f, ok := m.fields[n]
		if !ok {
			return in(fmt.Sprintf("field %d of %s", n, m.name), errors.New("not known to this version, so not supported"))
		}
		if f.verdict == skip {
			continue
		}
		var v value
		switch typ {
		case protowire.VarintType:
			v.n, _ = protowire.ConsumeVarint(body)
		case protowire.Fixed64Type:
			v.n, _ = protowire.ConsumeFixed64(body)
		case protowire.BytesType:
			v.b, _ = protowire.ConsumeBytes(body)
		}
		if err := f.check(typ, v); err != nil {
			return in(f.name, err)
		}
		switch f.verdict {
		case off, zero:
			continue
		case texts, msgs:
			if err := visit(n, v); err != nil {
				return in(fmt.Sprintf("%s[%d]", f.name, count(b[:at], n)), err)
			}
			continue
		case nums:
			if err := eachNumber(typ, v, func(x uint64) error { return visit(n, value{n: x}) }); err != nil {
				return in(f.name, err)
			}
			continue
		}
		if bit := uint64(1) << (n % 64); seen[n/64%2]&bit != 0 {
			return in(f.name, errors.New("given twice"))
		} else {
			seen[n/64%2] |= bit
		}
		if err := visit(n, v); err != nil {
			return in(f.name, err)
		}
	}
	return nil
}

// check compares a field's wire type with its verdict and refuses what is to
// be refused.
func (f field) check(typ protowire.Type, v value) error {
	var fits bool
	switch f.verdict {
	case deny, denyText:
		return f.refusal(typ, v)
	case off:
		if typ == protowire.BytesType { // BoolValue
			var err error
			if v.n, err = wrapped(v.b); err != nil {
				return err
			}
		}
		if v.n != 0 {
			return f.refusal(protowire.VarintType, v)
		}
		return nil
	case zero:
		if v.n != 0 {
			return f.refusal(typ, v)
		}
		fits = typ == protowire.VarintType
	case num:
		fits = typ == protowire.VarintType
	case float:
		fits = typ == protowire.Fixed64Type
	case nums:
		fits = typ == protowire.VarintType || typ == protowire.BytesType
	case text, texts:
		if !utf8.Valid(v.b) {
			return fmt.Errorf("%q is not UTF-8", v.b)
		}
		fits = typ == protowire.BytesType
	default:
		fits = typ == protowire.BytesType
	}
	if !fits {
		return fmt.Errorf("%w: wire type %d", errMalformed, typ)
	}
	return nil
}

func (f field) refusal(typ protowire.Type, v value) error {
	s := "not supported"
	switch {
	case f.verdict == denyText:
		s = fmt.Sprintf("%q is not supported", v.b)
	case f.verdict == off:
		s = "true is not supported, want false"
	case typ == protowire.VarintType:
		s = fmt.Sprintf("%d is not supported", v.n)
	}
	if f.want != "" {
		s += ", want " + f.want
	}
	return errors.New(s)
}

// count says how often field n occurs in b, which is well-formed.
func count(b []byte, n protowire.Number) (c int) {
	for len(b) > 0 {
		got, _, size := protowire.ConsumeField(b)
		if size < 0 {
			return c
		}
		if got == n {
			c++
		}
		b = b[size:]
	}
	return c
}

func eachNumber(typ protowire.Type, v value, f func(uint64) error) error {
	if typ == protowire.VarintType {
		return f(v.n)
	}
	for b := v.b; len(b) > 0; {
		x, size := protowire.ConsumeVarint(b)
		if size < 0 {
			return errMalformed
		}
		if err := f(x); err != nil {
			return err
		}
		b = b[size:]
	}
	return nil
}

// uint32Of refuses what does not fit, where protobuf would cut it off.
func uint32Of(n uint64) (uint32, error) {
	if n > math.MaxUint32 {
		return 0, fmt.Errorf("%d is out of range, want 0..%d", n, uint32(math.MaxUint32))
	}
	return uint32(n), nil
}
