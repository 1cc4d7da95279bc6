package resource

import (
	"maps"
	"testing"

	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

func aRuntime(t testing.TB, name string, layer map[string]any) *runtimev3.Runtime {
	t.Helper()
	s, err := structpb.NewStruct(layer)
	if err != nil {
		t.Fatal(err)
	}
	return &runtimev3.Runtime{Name: name, Layer: s}
}

func sameShares(a, b *Shares) bool {
	return maps.Equal(a.Requests, b.Requests) && maps.Equal(a.Rates, b.Rates)
}

func TestShares(t *testing.T) {
	name := SharesName("front.default/front-0")
	want := &Shares{
		Requests: map[string]float64{"default/checkout:8080": 12, "requests": 0},
		Rates:    map[string]float64{"default/checkout:8080": 33.3},
	}
	a, err := want.Encode(name)
	if err != nil {
		t.Fatal(err)
	}
	if got := NameOf(a.Value); got != name {
		t.Errorf("named %q", got)
	}
	got, err := DecodeShares(a)
	if err != nil || !sameShares(got, want) {
		t.Errorf("%+v came back as %+v, %v", want, got, err)
	}
	var generated runtimev3.Runtime // what others would read
	if err := a.UnmarshalTo(&generated); err != nil {
		t.Fatal(err)
	}
	requests := generated.Layer.Fields["requests"].GetStructValue().Fields
	if generated.Name != name || requests["default/checkout:8080"].GetNumberValue() != 12 {
		t.Errorf("%v", &generated)
	}
	again, _ := want.Encode(name)
	if !proto.Equal(a, again) {
		t.Error("equal Shares gave other bytes")
	}
}

func TestSharesRefused(t *testing.T) {
	for name, c := range map[string]struct {
		layer map[string]any
		want  string
	}{
		"negative": {map[string]any{"rates": map[string]any{"s": -1}}, `runtime "n": layer.rates.s: -1 is not valid, want a number of 0 to 1e+15`},
		"text":     {map[string]any{"requests": map[string]any{"s": "1"}}, `runtime "n": layer.requests.s: "1" is not valid, want a number of 0 to 1e+15`},
		"a list":   {map[string]any{"requests": []any{}}, `runtime "n": layer.requests: [] is not valid, want an object`},
		"more":     {map[string]any{"other": 1}, `runtime "n": layer.other: not known, want one of requests, rates`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeShares(packed(t, aRuntime(t, "n", c.layer)))
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
	if _, err := DecodeShares(packed(t, aRuntime(t, "", nil))); err == nil {
		t.Error("a nameless one was taken")
	}
	if _, err := DecodeShares(&anypb.Any{TypeUrl: ClusterType}); err == nil {
		t.Error("a Cluster was taken")
	}
}

func FuzzShares(f *testing.F) {
	for _, m := range []*runtimev3.Runtime{
		aRuntime(f, "", nil), aRuntime(f, "n", nil),
		aRuntime(f, "n", map[string]any{"requests": map[string]any{"a": 1}, "rates": map[string]any{"b": 0.5}}),
	} {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeShares(&anypb.Any{TypeUrl: SharesType, Value: b})
		if err != nil {
			return
		}
		a, err := s.Encode(NameOf(b))
		if err != nil {
			t.Fatal(err)
		}
		if again, err := DecodeShares(a); err != nil || !sameShares(again, s) {
			t.Errorf("%+v came back as %+v, %v", s, again, err)
		}
	})
}
