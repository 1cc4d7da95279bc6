package h1

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/protocol/tcp"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
	"github.com/meshd/meshd/xds/resource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A rig is a Server on a loopback port, with one cluster behind every authority.
type rig struct {
	t       testing.TB
	srv     *Server
	addr    string
	cluster *call.Cluster
	route   *call.Route
	spans   chan tracing.Span
	stats   *stats.Registry
	begun   atomic.Int64 // calls whose authority was found
	stop    func()       // ends the server and looks for what it leaked; also done at the end of the test
}

// options changes a rig before it starts.
type options struct {
	route    func(*resource.Route)
	target   func(*rig, *call.Route)
	cluster  func(*resource.Cluster)
	config   func(*Config)
	ratio    float64
	original func(*net.TCPConn) (netip.AddrPort, bool)
}

func newRig(t testing.TB, o options, endpoints ...string) *rig {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	epoch := time.Now()
	now := func() int64 { return int64(time.Since(epoch)) }
	r := &rig{t: t, stats: stats.NewRegistry(), spans: make(chan tracing.Span, 1000)}

	cl := resource.Cluster{
		Name: "default/checkout:8080", Balancer: "peak_ewma", ConnectTimeout: time.Second,
		Breaker: resource.Breaker{ConsecutiveFailures: 5, ErrorRatio: 0.5, MinRequests: 20,
			Window: 10 * time.Second, OpenFor: 5 * time.Second, HalfOpenRequests: 3},
		Budget: resource.Budget{Ratio: 0.2, MinPerSecond: 3},
	}
	if o.cluster != nil {
		o.cluster(&cl)
	}
	r.cluster = &call.Cluster{
		Name: cl.Name, Now: now, Retire: Retire,
		Factory: func(c resource.Cluster, _ resource.Endpoint) any { return NewPool(c.Limits.Connections) },
	}
	r.setEndpoints(&cl, endpoints...)

	rt := resource.Route{
		Name: "", Prefix: "/", Service: cl.Name, Timeout: 5 * time.Second, TraceRatio: -1,
		Clusters: []resource.WeightedCluster{{Name: cl.Name, Weight: 1}},
		Retry: resource.Retry{Attempts: 2, BackoffBase: time.Millisecond, BackoffMax: 10 * time.Millisecond, BufferBytes: 64 << 10,
			On: resource.RetryConnectFailure | resource.RetryReset | resource.Retry502 | resource.Retry503 | resource.Retry504},
	}
	if o.route != nil {
		o.route(&rt)
	}
	svc := r.stats.Client(rt.Service)
	r.route = &call.Route{Route: rt, Service: svc, Stats: svc.Route(rt.Name), Host: "checkout", Port: 8080, Clusters: []*call.Cluster{r.cluster}}
	if o.target != nil {
		o.target(r, r.route)
	}
	authority := &call.Authority{Name: "checkout:8080", Routes: []*call.Route{r.route}}

	cfg := Config{
		Lookup: func(name []byte) *call.Authority {
			if strings.HasPrefix(string(name), "checkout") {
				r.begun.Add(1)
				return authority
			}
			return nil
		},
		Resolve: func(name string, _ netip.AddrPort, done func(*call.Authority, stats.ErrorType)) {
			go done(nil, stats.ErrHTTPRequestDenied)
		},
		Relay: func(ctx context.Context, a, b *net.TCPConn, fromA, fromB []byte) {
			_, _ = tcp.Relay(ctx, a, b, tcp.Options{FirstAtoB: fromA, FirstBtoA: fromB})
		},
		Original: o.original,
		Tracer: &call.Tracer{Sampler: tracing.NewSampler(o.ratio), Epoch: epoch, Emit: func(s tracing.Span) {
			s.Attributes, s.Events = s.Attributes.Clone(), slices.Clone(s.Events) // they are used again
			select {
			case r.spans <- s:
			default:
			}
		}},
		Stats:  r.stats,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	if o.config != nil {
		o.config(&cfg)
	}
	r.srv = NewServer(ctx, cfg, epoch)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = l.Addr().String()
	var accepting sync.WaitGroup
	accepting.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			accepting.Go(func() { r.srv.Serve(c.(*net.TCPConn)) })
		}
	})
	r.stop = sync.OnceFunc(func() {
		_ = l.Close()
		cancel()
		Retired(r.cluster)
		accepting.Wait()
		r.srv.Wait()
		if n := r.stats.Panics.Value(); n > 0 {
			t.Errorf("%d panics", n)
		}
		if n := r.stats.Upstream.Value(); n != 0 {
			t.Errorf("%d upstream connections counted after the end", n)
		}
		if n := r.route.Service.Active.Value(); n != 0 {
			t.Errorf("%d calls active after the end", n)
		}
		if n := r.stats.Downstream.Value(); n != 0 {
			t.Errorf("%d client connections counted after the end", n)
		}
		if active, pending := r.cluster.InUse(); active != 0 || pending != 0 {
			t.Errorf("%d requests and %d pending places in use after the end", active, pending)
		}
		for _, ep := range r.cluster.Endpoints() {
			if n := ep.Load.InFlight(); n != 0 {
				t.Errorf("endpoint %s: %d attempts in flight after the end", ep.Address, n)
			}
			if s := PoolStats(ep); s.Open != 0 {
				t.Errorf("endpoint %s: %d connections open after the end", ep.Address, s.Open)
			}
		}
	})
	t.Cleanup(r.stop)
	return r
}

// calls is how many calls have been recorded. A call is recorded after its
// answer is out: stop first.
func (r *rig) calls() (n uint64) {
	for _, s := range r.snapshot().Series {
		n += s.Count
	}
	return n
}

func (r *rig) snapshot() stats.ServiceSnapshot { return r.stats.Snapshot().Client[0] }

// outcomes are the recorded calls by status and error.
func (r *rig) outcomes() map[string]uint64 {
	out := map[string]uint64{}
	for _, s := range r.snapshot().Series {
		out[strings.TrimSpace(fmt.Sprintf("%d %s", s.Status, s.Error))] += s.Count
	}
	return out
}

// Retired closes the idle connections of a cluster, as its removal does.
func Retired(c *call.Cluster) {
	for _, ep := range c.Endpoints() {
		Retire(ep)
	}
}

func (r *rig) setEndpoints(cfg *resource.Cluster, addrs ...string) {
	r.t.Helper()
	eps := &resource.Endpoints{}
	for i, a := range addrs {
		eps.Endpoints = append(eps.Endpoints, resource.Endpoint{Addr: netip.MustParseAddrPort(a), ID: fmt.Sprintf("checkout-%d", i), Weight: 1})
	}
	if err := r.cluster.Update(cfg, eps); err != nil {
		r.t.Fatal(err)
	}
}

// dial opens a raw connection to the relay.
func (r *rig) dial() *client {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	return &client{t: r.t, TCPConn: c.(*net.TCPConn), r: bufio.NewReader(c)}
}

// A client speaks HTTP/1.1 by hand.
type client struct {
	*net.TCPConn
	t testing.TB
	r *bufio.Reader
}

func (c *client) send(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.TCPConn, s); err != nil {
		c.t.Fatal(err)
	}
}

// answer reads a whole response to a request of the given method.
func (c *client) answer(method string) (*http.Response, string) {
	c.t.Helper()
	res, err := http.ReadResponse(c.r, &http.Request{Method: method})
	if err != nil {
		c.t.Fatalf("response: %v", err)
	}
	body, err := io.ReadAll(res.Body)
	if err != nil {
		c.t.Fatalf("body: %v", err)
	}
	return res, string(body)
}

// ended asserts that the relay closes the connection and says nothing more.
func (c *client) ended() {
	c.t.Helper()
	rest, err := io.ReadAll(c.r)
	if len(rest) > 0 {
		c.t.Fatalf("unexpected bytes %q", rest)
	}
	if err != nil && !strings.Contains(err.Error(), "reset") {
		c.t.Fatal(err)
	}
}

// backend is an HTTP server of net/http on loopback.
func backend(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, ErrorLog: slog.NewLogLogger(slog.NewTextHandler(io.Discard, nil), slog.LevelError)}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() { _ = s.Close(); wg.Wait() })
	return l.Addr().String()
}

// rawBackend gives each accepted connection to f, with a reader on it.
func rawBackend(t testing.TB, f func(c *net.TCPConn, r *bufio.Reader)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer c.Close()
				_ = c.SetDeadline(time.Now().Add(20 * time.Second))
				f(c.(*net.TCPConn), bufio.NewReader(c))
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); wg.Wait() })
	return l.Addr().String()
}

// rawOnce is a backend that answers the first request of each connection with
// the given writes, and closes it.
func rawOnce(t testing.TB, writes ...string) string {
	return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		if _, _, err := readRequest(r); err != nil {
			return
		}
		for _, w := range writes {
			_, _ = io.WriteString(c, w)
		}
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, r)
	})
}

// answering is rawOnce that counts its requests.
func answering(t testing.TB, answer string) (addr string, seen func() int64) {
	var n atomic.Int64
	return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		if _, _, err := readRequest(r); err != nil {
			return
		}
		n.Add(1)
		_, _ = io.WriteString(c, answer)
		_ = c.CloseWrite()
		_, _ = io.Copy(io.Discard, r)
	}), n.Load
}

// eventually waits for what happens in another goroutine without a sign to the test.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}
