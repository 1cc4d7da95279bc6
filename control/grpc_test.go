package control

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/xds"
)

// backend is a gRPC service that says "serving".
func backend(t *testing.T) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := grpc.NewServer()
	healthpb.RegisterHealthServer(g, health.NewServer())
	var served sync.WaitGroup
	served.Go(func() { g.Serve(l) })
	t.Cleanup(func() { g.Stop(); served.Wait() })
	return netip.MustParseAddrPort(l.Addr().String())
}

// gRPC's own client calls a service by name, with what meshd tells it, while
// instances come and go.
func TestGRPCClient(t *testing.T) {
	m := run(t, nil, nil)
	first, second := checkout(0), checkout(1)
	first.Addr, second.Addr = backend(t), backend(t)
	one := startSidecar(t, m.xds, first, watched)
	one.await(t, "checkout-0")

	resolver, err := xds.NewXDSResolverWithConfigForTesting(fmt.Appendf(nil,
		`{"xds_servers": [{"server_uri": %q, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}], "node": {"id": "grpc-client"}}`, m.xds))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("xds:///checkout:8080", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithResolvers(resolver))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	call := func() string {
		t.Helper()
		var from peer.Peer
		_, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}, grpc.WaitForReady(true), grpc.Peer(&from))
		if err != nil {
			t.Fatal(err)
		}
		return from.Addr.String()
	}
	until := func(want netip.AddrPort) {
		t.Helper()
		for deadline := time.Now().Add(10 * time.Second); call() != want.String(); {
			if time.Now().After(deadline) {
				t.Fatalf("no call went to %v", want)
			}
		}
	}
	until(first.Addr)
	startSidecar(t, m.xds, second, watched)
	until(second.Addr)
	one.kill()
	m.stop() // the client goes on with what it knows
	for range 20 {
		call()
	}
}
