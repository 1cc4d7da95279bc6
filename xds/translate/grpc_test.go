package translate

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/xds"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshd/meshd/mesh"
)

// gRPC's own client finds a service by what we translate, and every golden is
// to its liking.
func TestGRPCClient(t *testing.T) {
	backendAddr := serve(t, func(s *grpc.Server) {
		grpc_health_v1.RegisterHealthServer(s, health.NewServer())
	})
	for _, g := range goldens(t) {
		b := g.backend(t)
		// gRPC has no such policies, and says so; docs/reference/objects.md does.
		refused := b.Policy.Balancer == "random" || b.Policy.Balancer == "maglev"
		patience := 10 * time.Second
		if refused {
			patience = time.Second
		}
		// One endpoint that answers beside those of the golden, which the
		// balancer finds in the end; it has a locality of its own.
		b.Endpoints = append(slices.DeleteFunc(slices.Clone(b.Endpoints), func(e mesh.Endpoint) bool { return e.Health == mesh.Healthy }),
			mesh.Endpoint{Addr: backendAddr, Weight: 1, Region: "test"})
		ads := &adsServer{resources: make(map[string]*anypb.Any), nacks: make(chan string, 8)}
		for _, a := range translate(b) {
			ads.resources[a.TypeUrl] = a
		}
		addr := serve(t, func(s *grpc.Server) { discoveryv3.RegisterAggregatedDiscoveryServiceServer(s, ads) })
		resolver, err := xds.NewXDSResolverWithConfigForTesting(fmt.Appendf(nil,
			`{"xds_servers": [{"server_uri": %q, "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}], "node": {"id": "test"}}`, addr))
		if err != nil {
			t.Fatal(err)
		}
		conn, err := grpc.NewClient("xds:///checkout.shop:80", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithResolvers(resolver))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		_, err = grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.WaitForReady(true))
		cancel()
		conn.Close()
		if (err != nil) != refused {
			t.Errorf("%s: %v", g.path, err)
		}
		select {
		case nack := <-ads.nacks:
			if refused {
				continue
			}
			t.Errorf("%s: refused: %s", g.path, nack)
		default:
		}
	}
}

// serve runs a gRPC server on loopback for the length of the test.
func serve(t *testing.T, register func(*grpc.Server)) netip.AddrPort {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	register(s)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(l)
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return netip.MustParseAddrPort(l.Addr().String())
}

// An adsServer answers each type with one resource, once.
type adsServer struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	resources map[string]*anypb.Any
	nacks     chan string
}

func (s *adsServer) StreamAggregatedResources(stream grpc.BidiStreamingServer[discoveryv3.DiscoveryRequest, discoveryv3.DiscoveryResponse]) error {
	for {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		if e := req.GetErrorDetail(); e != nil {
			s.nacks <- strings.TrimSpace(e.GetMessage())
		}
		if req.GetResponseNonce() != "" || s.resources[req.GetTypeUrl()] == nil {
			continue
		}
		err = stream.Send(&discoveryv3.DiscoveryResponse{
			TypeUrl: req.GetTypeUrl(), VersionInfo: "1", Nonce: "1", Resources: []*anypb.Any{s.resources[req.GetTypeUrl()]},
		})
		if err != nil {
			return err
		}
	}
}
