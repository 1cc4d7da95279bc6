package tracing

import (
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/resource"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

func spanOf(attributes ...attribute.KeyValue) *Span {
	return &Span{
		Context: SpanContext{TraceID: [16]byte{1, 15: 2}, SpanID: [8]byte{3, 7: 4}, Flags: FlagSampled},
		Parent:  SpanContext{TraceID: [16]byte{1, 15: 2}, SpanID: [8]byte{5}}, RemoteParent: true, TraceState: "a=b",
		Kind: KindClient, Name: "GET /x", Start: time.Unix(1, 2), End: time.Unix(3, 4), Attributes: AttributesOf(attributes...),
		Events: []Event{{Name: "retry", Time: time.Unix(2, 5), Attributes: []attribute.KeyValue{attribute.String("why", "503")}}},
		Failed: true, Error: "no answer",
	}
}

func decode(t testing.TB, b []byte) []*tracepb.Span {
	t.Helper()
	var ss tracepb.ScopeSpans
	if err := proto.Unmarshal(b, &ss); err != nil {
		t.Fatal(err)
	}
	return ss.Spans
}

// What is encoded is what OTLP's own types read.
func TestEncode(t *testing.T) {
	long := strings.Repeat("x", 70_000)
	s := spanOf(attribute.String("s", long), attribute.Int("i", -7), attribute.Float64("f", 1.5), attribute.Bool("b", true),
		attribute.StringSlice("l", []string{"p", "q"}), attribute.String("", ""), attribute.String("u", "a\xffb"))
	b := appendSpan(appendSpan(nil, s, &generous), &Span{Context: s.Context, Name: "root", Kind: KindServer}, &generous)
	spans := decode(t, b)
	if len(spans) != 2 {
		t.Fatalf("%d spans", len(spans))
	}
	text := func(s string) *commonpb.AnyValue {
		return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
	}
	want := &tracepb.Span{
		TraceId: s.Context.TraceID[:], SpanId: s.Context.SpanID[:], ParentSpanId: s.Parent.SpanID[:], TraceState: "a=b",
		Name: "GET /x", Kind: tracepb.Span_SPAN_KIND_CLIENT, Flags: 0x301,
		StartTimeUnixNano: 1e9 + 2, EndTimeUnixNano: 3e9 + 4,
		Attributes: []*commonpb.KeyValue{
			{Key: "s", Value: text(long)},
			{Key: "i", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: -7}}},
			{Key: "f", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_DoubleValue{DoubleValue: 1.5}}},
			{Key: "b", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_BoolValue{BoolValue: true}}},
			{Key: "l", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: &commonpb.ArrayValue{Values: []*commonpb.AnyValue{text("p"), text("q")}}}}},
			{Key: "", Value: text("")},
			{Key: "u", Value: text("a\uFFFDb")},
		},
		Events: []*tracepb.Span_Event{{Name: "retry", TimeUnixNano: 2e9 + 5, Attributes: []*commonpb.KeyValue{{Key: "why", Value: text("503")}}}},
		Status: &tracepb.Status{Code: tracepb.Status_STATUS_CODE_ERROR, Message: "no answer"},
	}
	if !proto.Equal(spans[0], want) {
		t.Errorf("%v\nwant %v", spans[0], want)
	}
	if r := spans[1]; len(r.ParentSpanId) != 0 || r.Flags != 0x101 || r.Status != nil || r.Kind != tracepb.Span_SPAN_KIND_SERVER {
		t.Errorf("%v", r)
	}
}

// Lengths take one byte where they can, and more from 128 and 16384 on.
func TestEncodeLengths(t *testing.T) {
	for _, around := range []int{128, 16384} {
		for n := around - 16; n < around+2; n++ {
			want := strings.Repeat("v", n)
			spans := decode(t, appendSpan(nil, spanOf(attribute.String("k", want), attribute.StringSlice("l", []string{want})), &generous))
			if a := spans[0].Attributes; a[0].Value.GetStringValue() != want || a[1].Value.GetArrayValue().Values[0].GetStringValue() != want {
				t.Errorf("a text of %d bytes came out otherwise", n)
			}
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	s := spanOf(attribute.String("http.request.method", "GET"), attribute.Int("http.response.status_code", 200),
		attribute.String("url.full", "http://checkout.default:8080/items"), attribute.String("server.address", "checkout.default"),
		attribute.Int("server.port", 8080), attribute.String("meshd.service", "default/checkout:8080"),
		attribute.String("meshd.route", "r"), attribute.String("network.peer.address", "127.0.0.1"), attribute.Int("network.peer.port", 31006),
		attribute.String("meshd.endpoint.id", "checkout-0"), attribute.Float64("meshd.endpoint.cost", 1.5))
	s.Events = nil
	buf := make([]byte, 0, 4096)
	b.ReportAllocs()
	for b.Loop() {
		buf = appendSpan(buf[:0], s, &generous)
	}
	b.ReportMetric(float64(len(buf)), "B/span")
}

// However many spans there are, so many a second go, and those of one trace
// alike, also from a sidecar that has more to thin out.
func TestThinner(t *testing.T) {
	var few, many thinner
	went := map[byte]int{}
	const seconds, rate = 20, 10_000
	var lastFew, lastMany int
	for s := range seconds {
		lastFew, lastMany = 0, 0
		for i := range rate {
			trace := [16]byte{15: byte(i), 14: byte(i >> 8), 13: byte(s)}
			now := int64(s+1)*1e9 + int64(i)*1e5
			m := many.pass(trace, now)
			if m {
				lastMany++
			}
			if i%10 == 0 {
				f := few.pass(trace, now)
				if f {
					lastFew++
				}
				if m && !f && s > 5 {
					went[1]++
				}
			}
		}
	}
	if lastFew < thinRate/8 || lastFew > 2*thinRate || lastMany < thinRate/8 || lastMany > 2*thinRate {
		t.Errorf("%d of %d and %d of %d went in the last second", lastFew, rate/10, lastMany, rate)
	}
	if went[1] > 0 {
		t.Errorf("%d traces are kept where more is thinned out, and not where less is", went[1])
	}
	now := int64(seconds+100) * 1e9
	for i := range 30 {
		many.pass([16]byte{15: 1}, now+int64(i)*1e9)
	}
	if !many.pass([16]byte{15: 1}, now+40e9) {
		t.Error("when there is little again, not all goes")
	}
}

// A resource has keys that users write; what is no UTF-8 would make every batch unreadable.
func TestResourceKeys(t *testing.T) {
	got := protoResource(resource.NewSchemaless(attribute.String("team\xff", "a\xffb")))
	if len(got.Attributes) != 1 || got.Attributes[0].Key != "team\uFFFD" || got.Attributes[0].Value.GetStringValue() != "a\uFFFDb" {
		t.Errorf("%v", got)
	}
}
