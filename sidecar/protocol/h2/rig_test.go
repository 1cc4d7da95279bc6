package h2

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/h2c"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/protocol/h1"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
	"github.com/meshd/meshd/xds/resource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A rig is a relay before some servers.
type rig struct {
	t       testing.TB
	srv     *Server
	addr    string
	stats   *stats.Registry
	service *stats.Service
	cluster *call.Cluster
	route   *call.Route
	spans   chan tracing.Span
}

type options struct {
	route   resource.Route
	cluster resource.Cluster
	limits  Limits
	server  bool
	trace   float64
}

// newRig starts a relay whose one service has the given endpoints.
func newRig(t testing.TB, o options, endpoints ...string) *rig {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	epoch := time.Now()
	now := func() int64 { return int64(time.Since(epoch)) }
	r := &rig{t: t, stats: stats.NewRegistry(), spans: make(chan tracing.Span, 1000)}
	r.service = r.stats.Client("default/test:80")
	var authority *call.Authority
	r.srv = NewServer(ctx, Config{
		Lookup: func([]byte) *call.Authority { return authority },
		Resolve: func(string, netip.AddrPort, func(*call.Authority, stats.ErrorType)) {
			panic("everything is known")
		},
		Tracer: &call.Tracer{Sampler: tracing.NewSampler(o.trace), Epoch: epoch, Emit: func(s tracing.Span) { r.spans <- s }},
		Stats:  r.stats, Logger: slog.New(slog.DiscardHandler), Server: o.server, Limits: o.limits,
	}, epoch)
	r.cluster = &call.Cluster{Name: "test", Now: now,
		Factory: func(resource.Cluster, resource.Endpoint) any {
			pair := h1.NewPool(0)
			pair.Shared = r.srv.NewPool(0)
			return pair
		},
		Retire: func(ep *endpoint.Endpoint) { Retire(ep) },
	}
	eps := &resource.Endpoints{Cluster: "test"}
	for _, e := range endpoints {
		eps.Endpoints = append(eps.Endpoints, resource.Endpoint{Addr: netip.MustParseAddrPort(e), Weight: 1})
	}
	if o.cluster.Balancer == "" {
		o.cluster.Balancer = "round_robin"
	}
	if err := r.cluster.Update(&o.cluster, eps); err != nil {
		t.Fatal(err)
	}
	o.route.Prefix, o.route.Service, o.route.Clusters = "/", "default/test:80", []resource.WeightedCluster{{Name: "test", Weight: 1}}
	r.route = &call.Route{Route: o.route, Server: o.server, Service: r.service, Stats: r.service.Route(""), Clusters: []*call.Cluster{r.cluster}, Host: "test"}
	authority = &call.Authority{Name: "test", Routes: []*call.Route{r.route}}

	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { r.srv.Serve(c.(*net.TCPConn), netip.AddrPort{}, nil) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		cancel()
		work.Wait()
		r.srv.Wait()
		if n := r.srv.active.Load(); n != 0 {
			t.Errorf("%d streams are left", n)
		}
	})
	return r
}

// client is an HTTP/2 client of the relay.
func (r *rig) client() *http.Client {
	tr := &http2.Transport{AllowHTTP: true, DialTLSContext: func(ctx context.Context, network, _ string, _ *tls.Config) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, r.addr)
	}}
	r.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// backend serves HTTP/2 with prior knowledge.
func backend(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	s := &http2.Server{MaxConcurrentStreams: 250}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	hs := &http.Server{Handler: h2c.NewHandler(h, s)}
	var work sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			mu.Unlock()
			work.Go(func() { s.ServeConn(c, &http2.ServeConnOpts{BaseConfig: hs, Handler: h}) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		for c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		work.Wait()
	})
	return l.Addr().String()
}
