package main

import (
	"context"
	"fmt"
	"net"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// echoMethod is the one method of the gRPC backend: unary, it answers with
// the message that it was given.
const echoMethod = "/meshd.bench.Echo/Call"

// theText is a string whose google.protobuf.StringValue is a message of 100
// bytes, and theFrame is that message as it travels: not compressed, with its
// length, then field 1 of 98 bytes.
const (
	theText  = "0123456789abcdefghijklmnopqrstuvwxyz 0123456789abcdefghijklmnopqrstuvwxyz 0123456789abcdefghijklmn"
	theFrame = "\x00\x00\x00\x00\x64" + "\x0a\x62" + theText
)

// echoServer is a grpc-go server of echoMethod.
func echoServer(echo func(context.Context, *wrapperspb.StringValue) (*wrapperspb.StringValue, error)) *grpc.Server {
	s := grpc.NewServer()
	s.RegisterService(&grpc.ServiceDesc{
		ServiceName: "meshd.bench.Echo",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{
			MethodName: "Call",
			Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				in := new(wrapperspb.StringValue)
				if err := decode(in); err != nil {
					return nil, err
				}
				return echo(ctx, in)
			},
		}},
	}, nil)
	return s
}

// grpcBackendMain serves echoMethod on addrs until ctx ends.
func grpcBackendMain(ctx context.Context, addrs []string) error {
	s := echoServer(func(_ context.Context, m *wrapperspb.StringValue) (*wrapperspb.StringValue, error) { return m, nil })
	errs := make(chan error)
	for _, addr := range addrs {
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			return fmt.Errorf("backend: %w", err)
		}
		go func() { errs <- s.Serve(l) }()
	}
	return until(ctx, errs)
}
