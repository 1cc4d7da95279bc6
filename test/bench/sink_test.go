package main

import (
	"context"
	"testing"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// The sink counts what OpenTelemetry's own client sends.
func TestSink(t *testing.T) {
	s, err := startSink()
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	conn, err := grpc.NewClient(s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	span := &tracepb.Span{Name: "GET", TraceId: make([]byte, 16)}
	of := &tracepb.ResourceSpans{SchemaUrl: "x", ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{span, span}}, {Spans: []*tracepb.Span{span}}}}
	if _, err := collector.NewTraceServiceClient(conn).Export(context.Background(), &collector.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{of, of}}); err != nil {
		t.Fatal(err)
	}
	if n := s.spans.Load(); n != 6 {
		t.Errorf("%d spans, want 6", n)
	}
	if _, err := countSpans([]byte{10, 200}); err == nil {
		t.Error("half a message is counted")
	}
}
