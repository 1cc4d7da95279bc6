package tracing

import (
	"testing"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// What is handed over is what protobuf's own marshalling makes, and it is the
// queue's again once gRPC has freed it, and not before.
func TestHandover(t *testing.T) {
	var some []byte
	for len(some) < leastHandedOver {
		some = appendSpan(some, spanOf(URLPath.String("/x")), &generous)
	}
	resource := &resourcepb.Resource{Attributes: []*commonpb.KeyValue{{Key: "service.name", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: "web"}}}}}
	for name, tc := range map[string]struct {
		spans  []byte
		schema string
		out    bool
	}{
		"many":        {some, "https://opentelemetry.io/schemas/1.43.0", true},
		"no schema":   {some, "", true},
		"few":         {appendSpan(nil, spanOf(), &generous), "", false},
		"none at all": {nil, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			scope := &tracepb.ScopeSpans{Scope: &commonpb.InstrumentationScope{Name: ScopeName, Version: "1"}}
			scope.ProtoReflect().SetUnknown(tc.spans)
			r := &coltracepb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
				Resource: resource, ScopeSpans: []*tracepb.ScopeSpans{scope}, SchemaUrl: tc.schema,
			}}}
			h := newHandover()
			got, err := h.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			if h.busy() != tc.out {
				t.Errorf("busy is %v", h.busy())
			}
			theirs, err := proto.Marshal(r)
			if err != nil {
				t.Fatal(err)
			}
			var want, read coltracepb.ExportTraceServiceRequest
			if err := proto.Unmarshal(theirs, &want); err != nil {
				t.Fatal(err)
			}
			if err := proto.Unmarshal(got.Materialize(), &read); err != nil {
				t.Fatal(err)
			}
			if !proto.Equal(&read, &want) {
				t.Errorf("%.500v\nwant %.500v", &read, &want)
			}
			got.Ref()
			got.Free()
			if h.busy() != tc.out {
				t.Error("no longer busy, and one has it still")
			}
			got.Free()
			if h.busy() {
				t.Error("still busy, and nobody has it")
			}
		})
	}
}
