package resource

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

var metadataFields = message{"envoy.config.core.v3.Metadata", map[protowire.Number]field{
	1: {"filter_metadata", msgs, ""},
	2: {"typed_filter_metadata", skip, ""}, // of other people's filters
}}

// A dict reads one struct of our metadata, field by field, and refuses what
// it was not asked for. The first error stays; done returns it.
type dict struct {
	fields map[string]*structpb.Value
	known  []string
	err    error
}

// metadata returns our struct in a Metadata message; other keys belong to
// other people's filters.
func metadata(b []byte) (*dict, error) {
	d := &dict{}
	err := metadataFields.walk(b, func(_ protowire.Number, v value) error {
		key, content, err := entry(v.b)
		if err != nil || key != MetadataKey {
			return err
		}
		var s structpb.Struct
		if err := proto.Unmarshal(content, &s); err != nil {
			return fmt.Errorf("%s: %w", MetadataKey, errMalformed)
		}
		d.fields = s.GetFields()
		return nil
	})
	return d, err
}

// take returns a field that is present and not null.
func (d *dict) take(name string) (*structpb.Value, bool) {
	d.known = append(d.known, name)
	v, ok := d.fields[name]
	if _, null := v.GetKind().(*structpb.Value_NullValue); !ok || null || d.err != nil {
		return nil, false
	}
	return v, true
}

func (d *dict) fail(name string, v *structpb.Value, want string) {
	s := v.String()
	if b, err := v.MarshalJSON(); err == nil {
		s = string(b)
	}
	d.err = in(name, fmt.Errorf("%s is not valid, want %s", s, want))
}

func (d *dict) text(name string, to *string, oneOf ...string) {
	v, ok := d.take(name)
	if !ok {
		return
	}
	s, ok := v.GetKind().(*structpb.Value_StringValue)
	switch {
	case !ok:
		d.fail(name, v, "a string")
	case len(oneOf) > 0 && !slices.Contains(oneOf, s.StringValue):
		d.fail(name, v, strings.Join(oneOf, ", "))
	default:
		*to = s.StringValue
	}
}

func (d *dict) boolean(name string, to *bool) {
	v, ok := d.take(name)
	if !ok {
		return
	}
	if b, ok := v.GetKind().(*structpb.Value_BoolValue); ok {
		*to = b.BoolValue
	} else {
		d.fail(name, v, "true or false")
	}
}

// number reads a number of lo..hi.
func (d *dict) number(name string, to *float64, lo, hi float64) {
	v, ok := d.take(name)
	if !ok {
		return
	}
	n, ok := v.GetKind().(*structpb.Value_NumberValue)
	if !ok || !(n.NumberValue >= lo && n.NumberValue <= hi) {
		d.fail(name, v, fmt.Sprintf("a number of %v to %v", lo, hi))
		return
	}
	*to = n.NumberValue
}

// integer reads a whole number of 0..hi.
func (d *dict) integer(name string, to *uint32, hi uint32) {
	v, ok := d.take(name)
	if !ok {
		return
	}
	n, ok := v.GetKind().(*structpb.Value_NumberValue)
	if !ok || !(n.NumberValue >= 0 && n.NumberValue <= float64(hi)) || n.NumberValue != math.Trunc(n.NumberValue) {
		d.fail(name, v, fmt.Sprintf("a whole number of 0 to %d", hi))
		return
	}
	*to = uint32(n.NumberValue)
}

func (d *dict) duration(name string, to *time.Duration) {
	v, ok := d.take(name)
	if !ok {
		return
	}
	t, err := time.ParseDuration(v.GetStringValue())
	if err != nil || t < 0 {
		d.fail(name, v, `a duration such as "250ms"`)
		return
	}
	*to = t
}

// moment reads a time, in ms since 1970.
func (d *dict) moment(name string, to *int64) {
	v, ok := d.take(name)
	if !ok {
		return
	}
	t, err := time.Parse(time.RFC3339, v.GetStringValue())
	if err != nil || t.UnixMilli() < 0 {
		d.fail(name, v, `a time such as "2026-01-02T15:04:05Z"`)
		return
	}
	*to = t.UnixMilli()
}

// object reads a nested struct with f; absent, f is not called.
func (d *dict) object(name string, f func(*dict)) {
	v, ok := d.take(name)
	if !ok {
		return
	}
	s, ok := v.GetKind().(*structpb.Value_StructValue)
	if !ok {
		d.fail(name, v, "an object")
		return
	}
	sub := &dict{fields: s.StructValue.GetFields()}
	f(sub)
	if err := sub.done(); err != nil {
		d.err = in(name, err)
	}
}

// done returns the first error: a bad value, or a field that nobody asked for.
func (d *dict) done() error {
	if d.err != nil {
		return d.err
	}
	if len(d.fields) == 0 {
		return nil
	}
	for _, name := range slices.Sorted(maps.Keys(d.fields)) {
		if !slices.Contains(d.known, name) {
			return in(name, errors.New("not known, want one of "+strings.Join(d.known, ", ")))
		}
	}
	return nil
}

// ours completes the path of an error in our metadata.
func ours(err error) error {
	if err == nil {
		return nil
	}
	return in("filter_metadata["+MetadataKey+"]", err)
}
