package tracing

import (
	"slices"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
)

// What is added one by one is what a list has, and comes back as that.
func TestAttributes(t *testing.T) {
	for _, n := range []int{0, 1, 110, 111, 112, 113, 114, 115, 116, 117, 118, 119, 120, 121, 122, 123, 127, 128, 1000} {
		key, long := attribute.Key("k"), strings.Repeat("v", n)
		far := attribute.Key(strings.Repeat("k", n))
		list := []attribute.KeyValue{
			key.String(long), far.String("v"), far.Float64(1.5), key.Float64(-2), key.Int(-n), key.Bool(true), key.StringSlice([]string{"a", long}),
		}
		want := AttributesOf(list...)
		var got Attributes
		got.String("gone", "gone")
		got.Empty()
		got.String(key, long)
		got.String(far, "v")
		got.Float64(far, 1.5)
		var others Attributes
		others.Float64(key, -2)
		others.Int(key, -n)
		others.Add(key.Bool(true), key.StringSlice([]string{"a", long}))
		got.Join(&others)
		if string(got.bytes) != string(want.bytes) || got.n != len(list) || want.n != len(list) {
			t.Errorf("%d: %d are %q\nwant %q", n, got.n, got.bytes, want.bytes)
		}
		if all := got.All(); !slices.EqualFunc(all, list, func(a, b attribute.KeyValue) bool { return a.Key == b.Key && a.Value.String() == b.Value.String() }) {
			t.Errorf("%d: %v came back as %v", n, list, all)
		}
	}
	var mended Attributes
	mended.String("k", "a\xffb")
	if all := mended.All(); len(all) != 1 || all[0].Value.AsString() != "a\uFFFDb" {
		t.Errorf("%v", all)
	}
}
