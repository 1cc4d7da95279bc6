package e2e

import (
	"context"
	"io"
	"net/http"
	"sync"
	"testing"

	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// A sink is an OTLP backend for traces, over gRPC and over HTTP, that keeps
// what it gets.
type sink struct {
	coltracepb.UnimplementedTraceServiceServer

	mu    sync.Mutex
	spans []*span
}

// A span is one of the sink's, with its attributes and its resource's looked up.
type span struct {
	*tracepb.Span
	attrs, resource map[string]any
}

func (s *sink) Export(_ context.Context, r *coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rs := range r.ResourceSpans {
		for _, ss := range rs.ScopeSpans {
			for _, sp := range ss.Spans {
				s.spans = append(s.spans, &span{sp, values(sp.Attributes), values(rs.Resource.Attributes)})
			}
		}
	}
	return &coltracepb.ExportTraceServiceResponse{}, nil
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var req coltracepb.ExportTraceServiceRequest
	b, err := io.ReadAll(r.Body)
	if err == nil {
		err = proto.Unmarshal(b, &req)
	}
	if err != nil || r.URL.Path != "/v1/traces" {
		http.Error(w, "want OTLP traces", http.StatusBadRequest)
		return
	}
	_, _ = s.Export(r.Context(), &req)
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// all is what the sink has got so far.
func (s *sink) all() []*span {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*span(nil), s.spans...)
}

// environment serves the sink until the test ends and returns what makes a
// sidecar export to it.
func (s *sink) environment(t *testing.T, protocol string) []string {
	t.Helper()
	var addr string
	if protocol == "grpc" {
		l := listen(t, nil, "127.0.0.1:0")
		addr = l.Addr().String()
		server := grpc.NewServer()
		coltracepb.RegisterTraceServiceServer(server, s)
		var work sync.WaitGroup
		work.Go(func() { _ = server.Serve(l) })
		t.Cleanup(func() { server.Stop(); work.Wait() })
	} else {
		addr = serve(t, nil, "127.0.0.1:0", s)
	}
	return []string{
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://" + addr + map[string]string{"http/protobuf": "/v1/traces"}[protocol],
		"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL=" + protocol,
		"OTEL_BSP_SCHEDULE_DELAY=50",
	}
}

func values(kvs []*commonpb.KeyValue) map[string]any {
	m := map[string]any{}
	for _, kv := range kvs {
		switch v := kv.Value.Value.(type) {
		case *commonpb.AnyValue_StringValue:
			m[kv.Key] = v.StringValue
		case *commonpb.AnyValue_IntValue:
			m[kv.Key] = v.IntValue
		default:
			m[kv.Key] = kv.Value.String()
		}
	}
	return m
}
