package main

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// rawCodec carries messages as they are, without protobuf: *[]byte.
type rawCodec struct{}

func (rawCodec) Name() string { return "raw" }

func (rawCodec) Marshal(v any) ([]byte, error) { return *v.(*[]byte), nil }

func (rawCodec) Unmarshal(b []byte, v any) error {
	m := v.(*[]byte)
	*m = append((*m)[:0], b...)
	return nil
}

// The methods of the backends.
const (
	unaryMethod  = "/meshd.Scenario/Unary"
	streamMethod = "/meshd.Scenario/Stream"
)

// grpcCalls make calls by grpc-go, whose own retries are off. (What it does on
// its own for a stream that the peer says it has not looked at stays on.)
type grpcCalls struct {
	load load
	conn *grpc.ClientConn
	err  error
}

func newGRPC(l load) *grpcCalls {
	conn, err := grpc.NewClient("passthrough:///"+l.Addr, grpc.WithAuthority(l.Host), grpc.WithDisableRetry(),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{})))
	return &grpcCalls{l, conn, err}
}

func (g *grpcCalls) close() {
	if g.conn != nil {
		_ = g.conn.Close()
	}
}

func (g *grpcCalls) call(_ int, r *record) {
	if g.err != nil {
		r.Err = g.err.Error()
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), g.load.Patience)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, callHeader, "1")
	if err := g.exchange(ctx, r); err != nil {
		s := status.Convert(err)
		r.Err = s.Code().String()
		if s.Code() == codes.Unknown {
			r.Err += " " + s.Message()
		}
		if r.Instance != "" && !r.Begun {
			r.Err += " behind the head"
		}
	}
}

func (g *grpcCalls) exchange(ctx context.Context, r *record) error {
	method, desc := unaryMethod, &grpc.StreamDesc{}
	if g.load.Kind == stream {
		method, desc = streamMethod, &grpc.StreamDesc{ServerStreams: true}
	}
	s, err := g.conn.NewStream(ctx, desc, method)
	if err != nil {
		return err
	}
	m := []byte(postBody)
	if err := s.SendMsg(&m); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if err := s.CloseSend(); err != nil {
		return err
	}
	for {
		err := s.RecvMsg(&m)
		if head, err := s.Header(); err == nil {
			if v := head.Get(instanceHeader); len(v) > 0 {
				r.Instance = v[0]
			}
		}
		if errors.Is(err, io.EOF) || err == nil && g.load.Kind == unary {
			return nil
		} else if err != nil {
			return err
		}
		r.Begun = true
	}
}
