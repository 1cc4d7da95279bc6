package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	testrig "github.com/meshd/meshd/test/rig"
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

// A grpcApp serves any method; its name says how, by its last word:
//
//	echo   every message comes back
//	sink   reads to the end, as fast as pace lets it, and answers with how many bytes
//	flood  messages of 64 KiB without end
//	stall  reads nothing and answers nothing, until its caller is gone
type grpcApp struct {
	pace func(context.Context) error // before each message that sink reads; nil: none
	got  atomic.Int64                // bytes that sink has read
}

func (a *grpcApp) options() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.ForceServerCodec(rawCodec{}), grpc.UnknownServiceHandler(a.handle)}
}

// start serves until the test ends, and returns where.
func (a *grpcApp) start(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(a.options()...)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Errorf("the gRPC server: %v", err)
		}
	})
	return l.Addr().String()
}

func (a *grpcApp) handle(_ any, s grpc.ServerStream) error {
	name, _ := grpc.MethodFromServerStream(s)
	var m []byte
	switch name[strings.LastIndexByte(name, '/')+1:] {
	case "echo":
		for {
			if err := s.RecvMsg(&m); err != nil {
				return orEnd(err)
			}
			if err := s.SendMsg(&m); err != nil {
				return err
			}
		}
	case "sink":
		for {
			if a.pace != nil {
				if err := a.pace(s.Context()); err != nil {
					return err
				}
			}
			if err := s.RecvMsg(&m); errors.Is(err, io.EOF) {
				m = fmt.Append(nil, a.got.Load())
				return s.SendMsg(&m)
			} else if err != nil {
				return err
			}
			a.got.Add(int64(len(m)))
		}
	case "flood":
		for m = make([]byte, 64<<10); ; {
			if err := s.SendMsg(&m); err != nil {
				return err
			}
		}
	case "stall":
		<-s.Context().Done()
		return s.Context().Err()
	}
	return fmt.Errorf("%s: no such method", name)
}

func orEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// grpcDial is one connection to a sidecar's port, for calls of the service.
func grpcDial(t *testing.T, addr string) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithAuthority(authority),
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDefaultCallOptions(grpc.ForceCodec(rawCodec{})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

// grpcStream opens a stream of a method.
func grpcStream(ctx context.Context, cc *grpc.ClientConn, method string) (grpc.ClientStream, error) {
	return cc.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/chaos.Chaos/"+method)
}

// pingPong sends a message and awaits that it comes back.
func pingPong(s grpc.ClientStream, text string) error {
	m := []byte(text)
	if err := s.SendMsg(&m); err != nil {
		return status(s, err)
	}
	var back []byte
	if err := s.RecvMsg(&back); err != nil {
		return err
	}
	if string(back) != text {
		return fmt.Errorf("%q came back for %q", back, text)
	}
	return nil
}

// status is what a stream ended with, where sending says only that it has.
func status(s grpc.ClientStream, err error) error {
	if errors.Is(err, io.EOF) {
		var m []byte
		return s.RecvMsg(&m)
	}
	return err
}

// beside is a mesh of one instance, whose application is a, and a caller.
func (a *grpcApp) beside(t *testing.T, flags ...string) (caller, instance *testrig.Sidecar) {
	t.Helper()
	m := testrig.New(t)
	// A stream may last.
	m.Apply("apiVersion: meshd.io/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: chaos}\n" +
		"spec:\n  targetRefs: [{kind: Service, name: " + service + "}]\n  timeout: {request: 0s}\n")
	instance = m.Sidecar(t, testrig.Spec{Service: service, App: a.start(t), Flags: flags})
	m.AwaitReady(service)
	return m.Sidecar(t, testrig.Spec{Service: "caller", Flags: flags}), instance
}
