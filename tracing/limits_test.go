package tracing

import (
	"strings"
	"testing"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// generous limits nothing that tests have.
var generous = limits{valueLength: unlimited, attributes: 128, events: 128, eventAttributes: 128}

func TestLimits(t *testing.T) {
	s := &Span{
		Context: SpanContext{TraceID: [16]byte{1}, SpanID: [8]byte{1}}, Name: "GET",
		Attributes: AttributesOf(URLPath.String("/äöü"), HTTPStatus.Int(200), attribute.StringSlice("x", []string{"abcdef"}), URLQuery.String("gone")),
		Events: []Event{
			{Name: "retry", Attributes: []attribute.KeyValue{MeshRetryReason.String("reset"), HTTPStatus.Int(1)}},
			{Name: "gone"},
		},
	}
	var got tracepb.ScopeSpans
	if err := proto.Unmarshal(appendSpan(nil, s, &limits{valueLength: 3, attributes: 3, events: 1, eventAttributes: 1}), &got); err != nil {
		t.Fatal(err)
	}
	span := got.Spans[0]
	if len(span.Attributes) != 3 || span.DroppedAttributesCount != 1 || span.Attributes[0].Value.GetStringValue() != "/äö" ||
		span.Attributes[1].Value.GetIntValue() != 200 || span.Attributes[2].Value.GetArrayValue().Values[0].GetStringValue() != "abc" {
		t.Errorf("attributes %v, %d dropped", span.Attributes, span.DroppedAttributesCount)
	}
	if len(span.Events) != 1 || span.DroppedEventsCount != 1 || len(span.Events[0].Attributes) != 1 || span.Events[0].DroppedAttributesCount != 1 ||
		span.Events[0].Attributes[0].Value.GetStringValue() != "res" {
		t.Errorf("events %v, %d dropped", span.Events, span.DroppedEventsCount)
	}
}

func FuzzCut(f *testing.F) {
	f.Add("äöü", 2)
	f.Add("\xffabc", 1)
	f.Fuzz(func(t *testing.T, s string, most int) {
		got := cut(s, most)
		if !strings.HasPrefix(s, got) || most >= 0 && utf8.RuneCountInString(got) > most {
			t.Fatalf("%q of %q, at most %d", got, s, most)
		}
		if most < 0 && got != s || most >= 0 && got != s && utf8.RuneCountInString(got) != most {
			t.Fatalf("%q is all of %q that may be, at most %d", got, s, most)
		}
	})
}
