package tracing

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
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

// Batches are of so many items, whole ones, and what is in use still is not
// written to.
func TestQueueLeavesAlone(t *testing.T) {
	for _, busy := range []bool{false, true} {
		t.Run(fmt.Sprint(busy), func(t *testing.T) {
			var got [][]byte
			q := &queue{
				limits: batchSettings{queue: 100, perBatch: 2, timeout: time.Second}, guard: newGuard(slog.New(slog.DiscardHandler), "spans"),
				upload: func(_ context.Context, items []byte) error { got = append(got, items); return nil },
				busy:   func() bool { return busy },
				base:   t.Context(), enough: make(chan struct{}, 1),
			}
			put := func(items ...string) {
				for _, s := range items {
					q.add([]byte(s))
				}
				q.flush()
			}
			texts := func() string {
				var all []string
				for _, b := range got {
					all = append(all, string(b))
				}
				return fmt.Sprint(all)
			}
			put("aa", "b", "cc", "d", "e")
			if want := "[aab ccd e]"; texts() != want {
				t.Fatalf("%s, want %s", texts(), want)
			}
			put("ff", "g")
			put("hh", "i", "jj", "k", "l") // where the first were, if they may be written over
			want := "[aab ccd e ffg hhi jjk l]"
			if !busy {
				want = "[hhi jjk l ffg hhi jjk l]"
			}
			if texts() != want {
				t.Errorf("%s, want %s", texts(), want)
			}
			if n := q.counts.pending.Load(); n != 0 {
				t.Errorf("%d are pending", n)
			}
		})
	}
}

// Of many spans each arrives once and as it was, while others are made.
func TestManySpansArrive(t *testing.T) {
	for _, protocol := range []string{protocolGRPC, protocolHTTP} {
		for _, compression := range []string{"none", "gzip"} {
			t.Run(protocol+"/"+compression, func(t *testing.T) {
				backend := newSink()
				telemetry := setup(t, Options{Getenv: getenv(map[string]string{
					"OTEL_EXPORTER_OTLP_ENDPOINT": backend.serve(t, protocol), "OTEL_EXPORTER_OTLP_PROTOCOL": protocol, "OTEL_METRICS_EXPORTER": "none",
					"OTEL_EXPORTER_OTLP_COMPRESSION": compression, "OTEL_BSP_MAX_QUEUE_SIZE": "100000",
				})})
				const n = 6000
				for i := range n {
					s := spanOf(attribute.Int("i", i), attribute.String("text", strings.Repeat(string(rune('a'+i%26)), i%200)))
					telemetry.Emit(*s)
				}
				if err := shutdown(t, telemetry); err != nil {
					t.Fatal(err)
				}
				spans, _ := backend.flat()
				if len(spans) != n {
					t.Fatalf("%d spans of %d", len(spans), n)
				}
				for i, s := range spans {
					of := attrs(s.Attributes)
					if of["i"] != int64(i) || of["text"] != strings.Repeat(string(rune('a'+i%26)), i%200) {
						t.Fatalf("span %d is %v", i, of)
					}
				}
			})
		}
	}
}
