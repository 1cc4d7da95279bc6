package h2

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
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
	log     logged
	begun   atomic.Int64 // calls whose authority was found
	stop    func()       // ends the server and looks for what it leaked; also done at the end of the test
}

// logged is what the server has logged: panics, and nothing else.
type logged struct {
	sync.Mutex
	bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.Lock()
	defer l.Unlock()
	return l.Buffer.Write(p)
}

func (l *logged) String() string {
	l.Lock()
	defer l.Unlock()
	return strings.ReplaceAll(l.Buffer.String(), `\n`, "\n")
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
		Lookup: func([]byte) *call.Authority { r.begun.Add(1); return authority },
		Resolve: func(string, netip.AddrPort, func(*call.Authority, stats.ErrorType)) {
			panic("everything is known")
		},
		Tracer: &call.Tracer{Sampler: tracing.NewSampler(o.trace), Epoch: epoch, Emit: func(s tracing.Span) {
			s.Attributes, s.Events = s.Attributes.Clone(), slices.Clone(s.Events) // they are used again
			select {
			case r.spans <- s:
			default:
			}
		}},
		Stats: r.stats, Logger: slog.New(slog.NewTextHandler(&r.log, nil)), Server: o.server, Limits: o.limits,
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
	r.stop = sync.OnceFunc(func() {
		_ = l.Close()
		cancel()
		work.Wait()
		r.srv.Wait()
		if n := r.srv.active.Load(); n != 0 {
			t.Errorf("%d streams are left", n)
		}
		if n := r.stats.Panics.Value(); n > 0 {
			t.Errorf("%d panics: %s", n, r.log.String())
		}
		if n := r.stats.Upstream.Value(); n != 0 {
			t.Errorf("%d upstream connections counted after the end", n)
		}
		if what := r.unrest(); what != "" {
			t.Error("after the end: " + what)
		}
		if begun, ended := r.begun.Load(), r.calls(); begun != int64(ended) {
			t.Errorf("%d calls begun, %d recorded: %v", begun, ended, r.outcomes())
		}
		for _, ep := range r.cluster.Endpoints() {
			if s := PoolStats(ep); s.Open != 0 || s.Waiting != 0 {
				t.Errorf("endpoint %s: %d connections open and %d calls waiting after the end", ep.Address, s.Open, s.Waiting)
			}
		}
	})
	t.Cleanup(r.stop)
	return r
}

// unrest says what is taken that nobody uses while no call is under way.
func (r *rig) unrest() string {
	if n := r.service.Active.Value(); n != 0 {
		return fmt.Sprintf("%d calls active", n)
	}
	if active, pending := r.cluster.InUse(); active != 0 || pending != 0 {
		return fmt.Sprintf("%d places of requests and %d of waiters in use", active, pending)
	}
	for _, ep := range r.cluster.Endpoints() {
		if n := ep.Load.InFlight(); n != 0 {
			return fmt.Sprintf("endpoint %s: %d attempts in flight", ep.Address, n)
		}
	}
	return ""
}

// settled waits until no stream is left, and looks at what they have left.
func (r *rig) settled() {
	r.t.Helper()
	eventually(r.t, "no stream is left", func() bool { return r.srv.active.Load() == 0 })
	if what := r.unrest(); what != "" {
		r.t.Error(what)
	}
}

// dump says what every stream waits for.
func (r *rig) dump() string {
	r.srv.mu.Lock()
	defer r.srv.mu.Unlock()
	var b strings.Builder
	for l := range r.srv.links {
		c, ok := l.k.(*conn)
		if !ok {
			continue
		}
		fmt.Fprintf(&b, "%s client=%v: sends %d, takes %d (%d owed), %d held, %d to write, flushing=%v again=%v reading=%v, %d wait\n",
			c.Conn.RemoteAddr(), c.client, c.sendWindow, c.recvWindow, c.uncredited, c.held, len(c.out), c.flushing, c.again, c.reading, len(c.waiting))
		for id, l := range c.streams {
			s := l.s
			fmt.Fprintf(&b, "\t%d %s %s in=%v committed=%v wait=%v kept %d/%d: ", id, s.req.method, s.req.path, s.in, s.committed, s.wait != nil, s.up.keptAt, len(s.kept))
			for _, l := range []*leg{&s.down, s.up} {
				fmt.Fprintf(&b, "[%d closed=%v sends %d takes %d owed %d waits=%v in=%d inEnd=%v outEnd=%v] ",
					l.id, l.closed, l.sendWindow, l.recvWindow, l.owed, l.waits, len(l.in), l.inEnd, l.outEnd)
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

func (r *rig) snapshot() stats.ServiceSnapshot { return r.stats.Snapshot().Client[0] }

// calls is how many calls have been recorded.
func (r *rig) calls() (n uint64) {
	for _, s := range r.snapshot().Series {
		n += s.Count
	}
	return n
}

// outcomes are the recorded calls by status, gRPC code and error.
func (r *rig) outcomes() map[string]uint64 {
	out := map[string]uint64{}
	for _, s := range r.snapshot().Series {
		out[strings.Join(strings.Fields(fmt.Sprintf("%d %s %s", s.Status, s.GRPC, s.Error)), " ")] += s.Count
	}
	return out
}

// want compares what was counted, once no stream is left.
func (r *rig) want(outcomes, retries map[string]uint64, idle uint64) {
	r.t.Helper()
	r.settled()
	s := r.snapshot()
	if got := r.outcomes(); !maps.Equal(got, outcomes) {
		r.t.Errorf("outcomes %v, not %v", got, outcomes)
	}
	if !maps.Equal(s.Retries, retries) || s.IdleResets != idle {
		r.t.Errorf("retries %v and %d moves, not %v and %d", s.Retries, s.IdleResets, retries, idle)
	}
}

// attempts compares the attempts and failures of the endpoints, in pairs.
func (r *rig) attempts(want ...uint64) {
	r.t.Helper()
	var got []uint64
	for _, ep := range r.cluster.Endpoints() {
		got = append(got, ep.Requests.Load(), ep.Failures.Load())
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("attempts and failures %v, not %v", got, want)
	}
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

// cleartext is HTTP/2 with prior knowledge and nothing else.
func cleartext() *http.Protocols {
	p := new(http.Protocols)
	p.SetUnencryptedHTTP2(true)
	return p
}

// client is an HTTP/2 client of the relay.
func (r *rig) client() *http.Client {
	tr := &http.Transport{Protocols: cleartext(), DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, r.addr)
	}}
	r.t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// backend serves HTTP/2 with prior knowledge.
func backend(t testing.TB, h http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, Protocols: cleartext(), HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 250}}
	var work sync.WaitGroup
	work.Go(func() { _ = s.Serve(l) })
	t.Cleanup(func() {
		_ = s.Close()
		work.Wait()
	})
	return l.Addr().String()
}
