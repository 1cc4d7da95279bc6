package main

import (
	"context"
	"fmt"
	"net"
	"sync/atomic"

	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
)

// A sink takes spans over OTLP/gRPC, so that proxies which trace have somebody
// to tell, and counts them, so that a run can prove that its proxy traced.
type sink struct {
	collector.UnimplementedTraceServiceServer
	addr   string
	spans  atomic.Int64
	server *grpc.Server
	done   chan struct{}
}

func startSink() (*sink, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("trace sink: %w", err)
	}
	s := &sink{addr: l.Addr().String(), server: grpc.NewServer(), done: make(chan struct{})}
	collector.RegisterTraceServiceServer(s.server, s)
	go func() {
		defer close(s.done)
		s.server.Serve(l) // returns when close stops it
	}()
	return s, nil
}

func (s *sink) close() {
	s.server.Stop()
	<-s.done
}

// Export implements the OTLP trace service.
func (s *sink) Export(_ context.Context, r *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	for _, resource := range r.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			s.spans.Add(int64(len(scope.Spans)))
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}
