package resource

import (
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// SharesType is the type URL of what Shares travel as: a Runtime whose layer
// has the fields requests and rates.
const SharesType = "type.googleapis.com/envoy.service.runtime.v3.Runtime"

// SharesName is the name of the Shares of the client whose node.id is nodeID.
// No other client may ask for it.
func SharesName(nodeID string) string { return MetadataKey + "/shares/" + nodeID }

var runtimeFields = message{"envoy.service.runtime.v3.Runtime", map[protowire.Number]field{
	1: {"name", text, ""}, 2: {"layer", msg, ""},
}}

// DecodeShares reads the parts of shared limits that a client has. The error
// names the field.
func DecodeShares(a *anypb.Any) (*Shares, error) {
	name, b, err := open(a, SharesType)
	if err == nil && name == "" {
		err = in("name", errMissing)
	}
	if err != nil {
		return nil, fmt.Errorf("runtime %q: %w", name, err)
	}
	s := &Shares{}
	err = runtimeFields.walk(b, func(n protowire.Number, v value) error {
		if n == 1 {
			return nil
		}
		var layer structpb.Struct
		if err := proto.Unmarshal(v.b, &layer); err != nil {
			return errMalformed
		}
		d := &dict{fields: layer.GetFields()}
		d.object("requests", func(d *dict) { s.Requests = d.shares() })
		d.object("rates", func(d *dict) { s.Rates = d.shares() })
		return d.done()
	})
	if err != nil {
		return nil, fmt.Errorf("runtime %q: %w", name, err)
	}
	return s, nil
}

// maxShare is more than any limit; it keeps sums finite.
const maxShare = 1e15

// shares reads a struct of numbers under any names.
func (d *dict) shares() map[string]float64 {
	all := make(map[string]float64, len(d.fields))
	for _, name := range slices.Sorted(maps.Keys(d.fields)) {
		var n float64
		d.number(name, &n, 0, maxShare)
		all[name] = n
	}
	d.fields = nil // whatever it is called, it was asked for
	return all
}

// Encode is the Runtime of that name that DecodeShares reads; equal Shares
// give equal bytes.
func (s *Shares) Encode(name string) (*anypb.Any, error) {
	layer := &structpb.Struct{Fields: map[string]*structpb.Value{
		"requests": numbers(s.Requests), "rates": numbers(s.Rates),
	}}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(layer)
	if err != nil {
		return nil, fmt.Errorf("runtime %q: %w", name, err)
	}
	body := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), name)
	body = protowire.AppendBytes(protowire.AppendTag(body, 2, protowire.BytesType), b)
	return &anypb.Any{TypeUrl: SharesType, Value: body}, nil
}

func numbers(all map[string]float64) *structpb.Value {
	f := make(map[string]*structpb.Value, len(all))
	for name, n := range all {
		f[name] = structpb.NewNumberValue(n)
	}
	return object(f)
}
