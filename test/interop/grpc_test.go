package interop

import (
	"context"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	orcadata "github.com/cncf/xds/go/xds/data/orca/v3"
	orcaservice "github.com/cncf/xds/go/xds/service/orca/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
	"google.golang.org/grpc/orca"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// grpcAuthority is what gRPC's client calls.
const grpcAuthority = "interop:8080"

// A grpcCase is one of the public list, as grpc-go implements it. It ends the
// process when it fails: that is how gRPC's client says it.
type grpcCase func(context.Context, *grpc.ClientConn)

// ofService is a case that is given the client of the test service.
func ofService(f func(context.Context, testgrpc.TestServiceClient)) grpcCase {
	return func(ctx context.Context, cc *grpc.ClientConn) { f(ctx, testgrpc.NewTestServiceClient(cc)) }
}

// withOptions is ofService of a case that takes call options.
func withOptions(f func(context.Context, testgrpc.TestServiceClient, ...grpc.CallOption)) grpcCase {
	return ofService(func(ctx context.Context, tc testgrpc.TestServiceClient) { f(ctx, tc) })
}

// grpcCases are all in grpc-go's interop/client that need no cloud's
// credentials, by their names there.
func grpcCases(target string) map[string]grpcCase {
	return map[string]grpcCase{
		"empty_unary":                 withOptions(interop.DoEmptyUnaryCall),
		"large_unary":                 withOptions(interop.DoLargeUnaryCall),
		"client_streaming":            withOptions(interop.DoClientStreaming),
		"server_streaming":            withOptions(interop.DoServerStreaming),
		"ping_pong":                   withOptions(interop.DoPingPong),
		"empty_stream":                withOptions(interop.DoEmptyStream),
		"timeout_on_sleeping_server":  withOptions(interop.DoTimeoutOnSleepingServer),
		"cancel_after_begin":          withOptions(interop.DoCancelAfterBegin),
		"cancel_after_first_response": withOptions(interop.DoCancelAfterFirstResponse),
		"status_code_and_message":     withOptions(interop.DoStatusCodeAndMessage),
		"special_status_message":      withOptions(interop.DoSpecialStatusMessage),
		"custom_metadata":             withOptions(interop.DoCustomMetadata),
		"unimplemented_method":        interop.DoUnimplementedMethod,
		"unimplemented_service": func(ctx context.Context, cc *grpc.ClientConn) {
			interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(cc))
		},
		"orca_per_rpc": ofService(interop.DoORCAPerRPCTest),
		"orca_oob":     ofService(interop.DoORCAOOBTest),
		"rpc_soak": func(ctx context.Context, cc *grpc.ClientConn) {
			soak(ctx, target, func() (*grpc.ClientConn, func()) { return cc, func() {} })
		},
		"channel_soak": func(ctx context.Context, _ *grpc.ClientConn) {
			soak(ctx, target, func() (*grpc.ClientConn, func()) {
				cc, err := dial(target)
				if err != nil {
					panic(err)
				}
				return cc, func() { _ = cc.Close() }
			})
		},
		"pick_first_unary": ofService(interop.DoPickFirstUnary),
	}
}

// soak is rpc_soak or channel_soak, with the client's default values.
func soak(ctx context.Context, target string, channel func() (*grpc.ClientConn, func())) {
	interop.DoSoakTest(ctx, interop.SoakTestConfig{
		RequestSize: 271828, ResponseSize: 314159, PerIterationMaxAcceptableLatency: time.Second,
		OverallTimeout: 10 * time.Second, ServerAddr: target, NumWorkers: 1, Iterations: 10, ChannelForTest: channel,
	})
}

func dial(target string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:///"+target, grpc.WithAuthority(grpcAuthority),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		// What orca_per_rpc and orca_oob are run with.
		grpc.WithDisableServiceConfig(), grpc.WithDefaultServiceConfig(orcaConfig()))
}

func orcaConfig() string {
	if name := os.Getenv(caseEnv); name == "orca_per_rpc" || name == "orca_oob" {
		return `{"loadBalancingConfig": [{"test_backend_metrics_load_balancer": {}}]}`
	}
	return "{}"
}

// client is gRPC's interop client.
func client(name, target string) error {
	run := grpcCases(target)[name]
	if run == nil {
		return fmt.Errorf("%s=%q: no such case", caseEnv, name)
	}
	cc, err := dial(target)
	if err != nil {
		return err
	}
	defer cc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	run(ctx, cc)
	return nil
}

// TestGRPC: gRPC's own client and server understand each other through two
// sidecars as they do without.
func TestGRPC(t *testing.T) {
	m := rig.New(t)
	app := grpcServer(t)
	server := m.Sidecar(t, rig.Spec{Service: "interop", App: app})
	m.AwaitReady("interop")
	caller := m.Sidecar(t, rig.Spec{Service: "caller"})
	for name := range grpcCases("") {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			process.Output(t, process.Spec{
				Name: name, Path: os.Args[0],
				Env: append(os.Environ(), caseEnv+"="+name, targetEnv+"="+caller.Outbound, "GRPC_GO_LOG_SEVERITY_LEVEL=error"),
			})
			for _, s := range []*rig.Sidecar{caller, server} {
				if s.Ended() {
					t.Errorf("%s has ended", s.Name)
				}
			}
		})
	}
}

// grpcServer is gRPC's interop server.
func grpcServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	recorder := orca.NewServerMetricsRecorder()
	s := grpc.NewServer(orca.CallMetricsServerOption(nil))
	testgrpc.RegisterTestServiceServer(s, named{interop.NewTestServer(interop.NewTestServerOptions{MetricsRecorder: recorder})})
	orcaservice.RegisterOpenRcaServiceServer(s, &outOfBand{recorder: recorder})
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-done; err != nil {
			t.Errorf("gRPC's server: %v", err)
		}
	})
	return l.Addr().String()
}

// named adds what grpc-go's server leaves out: its id, which pick_first_unary
// asks for, and time for cancel_after_begin to be canceled.
type named struct{ testgrpc.TestServiceServer }

func (s named) UnaryCall(ctx context.Context, in *testgrpc.SimpleRequest) (*testgrpc.SimpleResponse, error) {
	out, err := s.TestServiceServer.UnaryCall(ctx, in)
	if err == nil && in.GetFillServerId() {
		out.ServerId = "interop-0"
	}
	return out, err
}

// StreamingInputCall of cancel_after_begin has no message. Its client ends its
// request right after canceling, without waiting for that to be sent: an answer
// at once may be quicker than the cancellation, which the case takes for a fault.
func (s named) StreamingInputCall(stream testgrpc.TestService_StreamingInputCallServer) error {
	return s.TestServiceServer.StreamingInputCall(&unhurried{stream, false})
}

// unhurried is a stream whose end, if no message came before it, comes with
// its cancellation or after 5 s.
type unhurried struct {
	testgrpc.TestService_StreamingInputCallServer
	some bool
}

func (s *unhurried) Recv() (*testgrpc.StreamingInputCallRequest, error) {
	in, err := s.TestService_StreamingInputCallServer.Recv()
	s.some = s.some || err == nil
	if err == nil || s.some {
		return in, err
	}
	select {
	case <-s.Context().Done():
		return nil, s.Context().Err()
	case <-time.After(5 * time.Second):
		return nil, err
	}
}

// outOfBand is package orca's service, but for its least interval: that is 30 s
// for all but gRPC's own server, and orca_oob asks for 1 s.
type outOfBand struct {
	orcaservice.UnimplementedOpenRcaServiceServer
	recorder orca.ServerMetricsRecorder
}

func (s *outOfBand) StreamCoreMetrics(req *orcaservice.OrcaLoadReportRequest, stream orcaservice.OpenRcaService_StreamCoreMetricsServer) error {
	tick := time.NewTicker(req.GetReportInterval().AsDuration())
	defer tick.Stop()
	for {
		m := s.recorder.(orca.ServerMetricsProvider).ServerMetrics()
		err := stream.Send(&orcadata.OrcaLoadReport{
			CpuUtilization: max(m.CPUUtilization, 0), MemUtilization: max(m.MemUtilization, 0), Utilization: m.Utilization,
		})
		if err != nil {
			return err
		}
		select {
		case <-stream.Context().Done():
			return nil
		case <-tick.C:
		}
	}
}
