package tracing

import (
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	colmetricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// A sink is an OTLP backend that keeps what it gets.
type sink struct {
	coltracepb.UnimplementedTraceServiceServer

	mu      sync.Mutex
	spans   []*tracepb.ResourceSpans
	metrics []*metricspb.ResourceMetrics
	logs    []*logspb.ResourceLogs
	headers []string // authorization of every request
	paths   []string

	gotMetrics chan struct{} // has room for one
}

func newSink() *sink { return &sink{gotMetrics: make(chan struct{}, 1)} }

func (s *sink) addSpans(r *coltracepb.ExportTraceServiceRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spans = append(s.spans, r.ResourceSpans...)
}

func (s *sink) addMetrics(r *colmetricspb.ExportMetricsServiceRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.metrics = append(s.metrics, r.ResourceMetrics...)
	select {
	case s.gotMetrics <- struct{}{}:
	default:
	}
}

func (s *sink) addLogs(r *collogspb.ExportLogsServiceRequest) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logs = append(s.logs, r.ResourceLogs...)
}

func (s *sink) sawHeader(h string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.headers = append(s.headers, h)
}

// flat lists all spans received, with their resource's attributes.
func (s *sink) flat() (spans []*tracepb.Span, resource map[string]any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rs := range s.spans {
		resource = attrs(rs.Resource.Attributes)
		for _, ss := range rs.ScopeSpans {
			spans = append(spans, ss.Spans...)
		}
	}
	return spans, resource
}

func (s *sink) Export(ctx context.Context, r *coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) {
	s.sawHeader(authorization(ctx))
	s.addSpans(r)
	return &coltracepb.ExportTraceServiceResponse{}, nil
}

// metricsSink is the sink's other gRPC service.
type metricsSink struct {
	colmetricspb.UnimplementedMetricsServiceServer
	*sink
}

func (s metricsSink) Export(ctx context.Context, r *colmetricspb.ExportMetricsServiceRequest) (*colmetricspb.ExportMetricsServiceResponse, error) {
	s.sawHeader(authorization(ctx))
	s.addMetrics(r)
	return &colmetricspb.ExportMetricsServiceResponse{}, nil
}

// logsSink is the sink's third gRPC service.
type logsSink struct {
	collogspb.UnimplementedLogsServiceServer
	*sink
}

func (s logsSink) Export(ctx context.Context, r *collogspb.ExportLogsServiceRequest) (*collogspb.ExportLogsServiceResponse, error) {
	s.sawHeader(authorization(ctx))
	s.addLogs(r)
	return &collogspb.ExportLogsServiceResponse{}, nil
}

func authorization(ctx context.Context) string {
	md, _ := metadata.FromIncomingContext(ctx)
	if v := md.Get("authorization"); len(v) > 0 {
		return v[0]
	}
	return ""
}

// grpc serves the sink until the test ends and returns its address.
func (s *sink) grpc(t *testing.T) string { return s.serveGRPC(t) }

func (s *sink) serveGRPC(t *testing.T, options ...grpc.ServerOption) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(options...)
	coltracepb.RegisterTraceServiceServer(server, s)
	colmetricspb.RegisterMetricsServiceServer(server, metricsSink{sink: s})
	collogspb.RegisterLogsServiceServer(server, logsSink{sink: s})
	var wg sync.WaitGroup
	wg.Go(func() { server.Serve(l) })
	t.Cleanup(func() { server.Stop(); wg.Wait() })
	return l.Addr().String()
}

// http serves the sink until the test ends and returns its URL.
func (s *sink) http(t *testing.T) string {
	server := httptest.NewServer(s)
	t.Cleanup(server.Close)
	return server.URL
}

// serve serves the sink over a protocol until the test ends and returns its
// URL, the one for all signals.
func (s *sink) serve(t *testing.T, protocol string) string {
	if protocol == protocolGRPC {
		return "http://" + s.grpc(t)
	}
	return s.http(t)
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.sawHeader(r.Header.Get("Authorization"))
	s.mu.Lock()
	s.paths = append(s.paths, r.URL.Path)
	s.mu.Unlock()
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		zr, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = zr
	}
	b, err := io.ReadAll(body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	var spans coltracepb.ExportTraceServiceRequest
	var metrics colmetricspb.ExportMetricsServiceRequest
	var logs collogspb.ExportLogsServiceRequest
	switch r.URL.Path {
	case "/v1/traces":
		err = proto.Unmarshal(b, &spans)
		s.addSpans(&spans)
	case "/v1/metrics":
		err = proto.Unmarshal(b, &metrics)
		s.addMetrics(&metrics)
	case "/v1/logs":
		err = proto.Unmarshal(b, &logs)
		s.addLogs(&logs)
	default:
		http.NotFound(w, r)
		return
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func textLogger(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }

func attrs(kvs []*commonpb.KeyValue) map[string]any {
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
