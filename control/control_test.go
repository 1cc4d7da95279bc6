package control

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/meshd/meshd/registry"
	"github.com/meshd/meshd/xds/resource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A meshd under test. stop ends it as SIGTERM does and may be called again.
type meshd struct {
	xds, http string
	dir       string
	stop      func()
}

// run starts a meshd on addresses of its choice, or on those of was, with its
// data, as a restart does.
func run(t *testing.T, was *meshd, mod func(*Config)) *meshd {
	t.Helper()
	m := &meshd{}
	cfg := Config{
		XDSAddr: "127.0.0.1:0", HTTPAddr: "127.0.0.1:0", Version: "v0.0.0-test",
		Registry: registry.Config{NoSync: true},
		Logger:   slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if was != nil {
		cfg.XDSAddr, cfg.HTTPAddr, m.dir = was.xds, was.http, was.dir
	} else {
		m.dir = t.TempDir()
	}
	cfg.Registry.DataDir = m.dir
	if mod != nil {
		mod(&cfg)
	}
	ready := make(chan struct{})
	cfg.Ready = func(xds, http net.Addr) {
		m.xds, m.http = xds.String(), http.String()
		close(ready)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	var running sync.WaitGroup
	running.Go(func() { ended <- Run(ctx, cfg) })
	m.stop = sync.OnceFunc(func() {
		cancel()
		running.Wait()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	t.Cleanup(m.stop)
	select {
	case <-ready:
	case <-time.After(20 * time.Second):
		t.Fatal("meshd is not ready")
	}
	return m
}

// A sidecar is a hand-written delta client that registers an instance and
// subscribes to endpoints. It connects again until it is killed.
type sidecar struct {
	seen chan []string // IDs of the endpoints, each time they come
	kill func()        // as SIGKILL does: the connection breaks
}

func startSidecar(t *testing.T, addr string, in resource.Instance, watch string) *sidecar {
	t.Helper()
	s := &sidecar{seen: make(chan []string, 1000)}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		have := map[string]string{}
		for ctx.Err() == nil {
			s.session(ctx, addr, in, watch, have)
			select {
			case <-time.After(50 * time.Millisecond):
			case <-ctx.Done():
			}
		}
	})
	s.kill = sync.OnceFunc(func() { cancel(); running.Wait() })
	t.Cleanup(s.kill)
	return s
}

// session is one connection, until it breaks.
func (s *sidecar) session(ctx context.Context, addr string, in resource.Instance, watch string, have map[string]string) {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return
	}
	defer conn.Close()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx, grpc.WaitForReady(true))
	if err != nil {
		return
	}
	req := &discovery.DeltaDiscoveryRequest{
		Node:    &core.Node{Id: in.NodeID(), Cluster: in.Service, Metadata: in.Metadata()},
		TypeUrl: resource.EndpointsType, InitialResourceVersions: have,
		ResourceNamesSubscribe: []string{watch},
	}
	if stream.Send(req) != nil {
		return
	}
	for {
		resp, err := stream.Recv()
		if err != nil {
			return
		}
		for _, r := range resp.Resources {
			have[r.Name] = r.Version
			var cla endpoint.ClusterLoadAssignment
			if err := proto.Unmarshal(r.Resource.Value, &cla); err != nil {
				panic(err)
			}
			s.seen <- ids(&cla)
		}
		if len(resp.RemovedResources) > 0 {
			s.seen <- []string{"(removed)"}
		}
		stream.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: resp.TypeUrl, ResponseNonce: resp.Nonce})
	}
}

func ids(cla *endpoint.ClusterLoadAssignment) []string {
	var out []string
	for _, l := range cla.Endpoints {
		for _, e := range l.LbEndpoints {
			out = append(out, e.Metadata.GetFilterMetadata()[resource.MetadataKey].GetFields()["id"].GetStringValue())
		}
	}
	slices.Sort(out)
	return out
}

// await returns how long it took until the endpoints were want.
func (s *sidecar) await(t *testing.T, want ...string) time.Duration {
	t.Helper()
	start := time.Now()
	timeout := time.After(15 * time.Second)
	var last []string
	for {
		select {
		case last = <-s.seen:
			if slices.Equal(last, want) {
				return time.Since(start)
			}
		case <-timeout:
			t.Fatalf("endpoints %q never came; the last are %q", want, last)
		}
	}
}

func checkout(n int) resource.Instance {
	return resource.Instance{
		ID: fmt.Sprintf("checkout-%d", n), Service: "checkout", Namespace: "default", ServicePort: 8080,
		Addr: netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(31000+n)), Weight: 1, Ready: true, PID: 1000 + n,
	}
}

const watched = "default/checkout:8080"

// caller is a client that is no instance.
func caller(t *testing.T, addr string) *sidecar {
	return startSidecar(t, addr, resource.Instance{Namespace: "default", Service: "front"}, watched)
}

func TestKilledSidecarIsOut(t *testing.T) {
	m := run(t, nil, nil)
	seen := caller(t, m.xds)
	first := startSidecar(t, m.xds, checkout(0), watched)
	seen.await(t, "checkout-0")
	_ = first
	second := startSidecar(t, m.xds, checkout(1), watched)
	seen.await(t, "checkout-0", "checkout-1")
	second.kill()
	if d := seen.await(t, "checkout-0"); d > time.Second {
		t.Errorf("out after %v, want less than 1 s", d)
	} else {
		t.Logf("out after %v", d)
	}
}

// One that said it would go has no grace.
func TestDrainedSidecarIsOut(t *testing.T) {
	m := run(t, nil, nil)
	seen := caller(t, m.xds)
	in := checkout(0)
	startSidecar(t, m.xds, in, watched)
	seen.await(t, "checkout-0")
	gone := checkout(1)
	gone.Draining = true
	s := startSidecar(t, m.xds, gone, watched)
	statusHas(t, m, "checkout-1", true)
	s.kill()
	start := time.Now()
	statusHas(t, m, "checkout-1", false)
	if d := time.Since(start); d > reconnectGrace {
		t.Errorf("out after %v, want at once", d)
	}
}

// statusHas waits until the status has an instance, or has it no more.
func statusHas(t *testing.T, m *meshd, id string, want bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; {
		_, body := call(t, m, "GET", "/api/v1/status", "", "")
		if strings.Contains(body, `"id":"`+id+`"`) == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("instance %s: never %v in %s", id, want, body)
		}
	}
}

// A restart: nobody sees an instance go, neither those that stay connected
// through it nor those that come after it.
func TestRestartLosesNothing(t *testing.T) {
	m := run(t, nil, nil)
	want := []string{"checkout-0", "checkout-1", "checkout-2"}
	seen := caller(t, m.xds)
	for n := range want {
		startSidecar(t, m.xds, checkout(n), watched)
	}
	seen.await(t, want...)

	for range 2 {
		m.stop()
		m = run(t, m, nil)
		late := caller(t, m.xds)
		if got := <-late.seen; !slices.Equal(got, want) {
			t.Fatalf("right after the restart: %q", got)
		}
		late.kill()
	}
	// Everybody is back, under leases of their own: what is gone is noticed.
	for _, id := range want {
		statusClient(t, m, "checkout.default/"+id)
	}
	startSidecar(t, m.xds, checkout(3), watched)
	for got := range seen.seen {
		if len(got) < len(want) {
			t.Fatalf("an instance was lost: %q", got)
		}
		if len(got) > len(want) {
			break
		}
	}
}

func statusClient(t *testing.T, m *meshd, id string) { t.Helper(); statusHas(t, m, id, true) }

// What is not back when its lease ends is out.
func TestRestartForgetsTheDead(t *testing.T) {
	short := func(c *Config) { c.Registry.LeaseTTL = registry.MinLeaseTTL }
	m := run(t, nil, short)
	s := startSidecar(t, m.xds, checkout(0), watched)
	startSidecar(t, m.xds, checkout(1), watched)
	seen := caller(t, m.xds)
	seen.await(t, "checkout-0", "checkout-1")
	m.stop()
	s.kill()
	run(t, m, short)
	seen.await(t, "checkout-1")
}
