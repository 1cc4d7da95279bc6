package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	"google.golang.org/protobuf/encoding/protowire"
)

// A sink takes spans over OTLP/gRPC, so that proxies which trace have somebody
// to tell, and counts them, so that a run can prove that its proxy traced. It
// makes no objects of them: with all calls traced, that would take more of the
// machine than the proxy does, and be measured as the proxy's.
type sink struct {
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
	s := &sink{addr: l.Addr().String(), done: make(chan struct{})}
	s.server = grpc.NewServer(grpc.ForceServerCodec(rawCodec{}))
	s.server.RegisterService(exportService(traceService, s.export), s)
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

func (s *sink) export(b []byte) error {
	n, err := countSpans(b)
	s.spans.Add(n)
	return err
}

// exportService is one of OTLP's services, of a server with a rawCodec: its
// method's requests are taken as they are, and its answers are empty.
func exportService(name string, take func([]byte) error) *grpc.ServiceDesc {
	export := func(_ any, _ context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var b []byte
		if err := decode(&b); err != nil {
			return nil, err
		}
		return &[]byte{}, take(b)
	}
	return &grpc.ServiceDesc{ServiceName: name, HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{MethodName: "Export", Handler: export}}}
}

// countSpans counts the spans of an ExportTraceServiceRequest: resource_spans,
// scope_spans, spans.
func countSpans(b []byte) (n int64, err error) {
	err = each(b, 1, func(resource []byte) error {
		return each(resource, 2, func(scope []byte) error {
			return each(scope, 2, func([]byte) error { n++; return nil })
		})
	})
	return n, err
}

// each calls do for the messages in one field of a message.
func each(b []byte, field protowire.Number, do func([]byte) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if number == field && kind == protowire.BytesType {
			v, n := protowire.ConsumeBytes(b)
			if n < 0 {
				return protowire.ParseError(n)
			}
			if err := do(v); err != nil {
				return err
			}
			b = b[n:]
			continue
		}
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
	}
	return nil
}

// rawCodec leaves messages as they are.
type rawCodec struct{}

var _ encoding.Codec = rawCodec{}

// Name implements encoding.Codec.
func (rawCodec) Name() string { return "proto" }

// Marshal implements encoding.Codec.
func (rawCodec) Marshal(v any) ([]byte, error) {
	if b, ok := v.(*[]byte); ok {
		return *b, nil
	}
	return nil, errors.New("only bytes are sent")
}

// Unmarshal implements encoding.Codec.
func (rawCodec) Unmarshal(b []byte, v any) error {
	*v.(*[]byte) = append([]byte(nil), b...)
	return nil
}
