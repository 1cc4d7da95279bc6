package call

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
	"github.com/meshd/meshd/xds/resource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fixture is a route to one cluster, on a clock that stands still.
type fixture struct {
	route   *Route
	cluster *Cluster
	tracer  *Tracer
	reg     *stats.Registry
	spans   []tracing.Span
	retired []string
}

var policy = resource.Cluster{
	Name: "default/checkout:80", Balancer: "round_robin",
	Breaker: resource.Breaker{ConsecutiveFailures: 3, OpenFor: time.Minute},
	Budget:  resource.Budget{Ratio: 0, MinPerSecond: 0.2}, // two in ten seconds
}

func endpoints(addrs ...string) *resource.Endpoints {
	out := &resource.Endpoints{}
	for _, a := range addrs {
		out.Endpoints = append(out.Endpoints, resource.Endpoint{Addr: netip.MustParseAddrPort(a), ID: a, Weight: 1})
	}
	return out
}

func setUp(t *testing.T, cfg resource.Cluster, ratio float64, addrs ...string) *fixture {
	t.Helper()
	f := &fixture{reg: stats.NewRegistry()}
	f.cluster = &Cluster{
		Name: cfg.Name, Now: func() int64 { return int64(time.Second) },
		Factory: func(_ resource.Cluster, e resource.Endpoint) any { return "pool of " + e.ID },
		Retire:  func(e *endpoint.Endpoint) { f.retired = append(f.retired, e.Address) },
	}
	if err := f.cluster.Update(&cfg, endpoints(addrs...)); err != nil {
		t.Fatal(err)
	}
	svc := f.reg.Client(cfg.Name)
	f.route = &Route{
		Route: resource.Route{
			Name: "r", Prefix: "/", TraceRatio: -1, Service: cfg.Name,
			Clusters: []resource.WeightedCluster{{Name: cfg.Name, Weight: 1}},
			Retry: resource.Retry{Attempts: 5, BackoffBase: 8, BackoffMax: 20,
				On: resource.RetryReset | resource.Retry503},
		},
		Service: svc, Stats: svc.Route("r"), Host: "checkout", Port: 80, Clusters: []*Cluster{f.cluster},
	}
	f.tracer = &Tracer{Sampler: tracing.NewSampler(ratio), Emit: func(s tracing.Span) {
		s.Attributes, s.Events = s.Attributes.Clone(), slices.Clone(s.Events) // they are used again
		f.spans = append(f.spans, s)
	}}
	return f
}

func (f *fixture) begin(t *testing.T) *Call {
	t.Helper()
	c := &Call{}
	if step := c.Begin(f.tracer, f.route, &Said{}, nil, 1); step != Go {
		t.Fatal(step, c.Refusal())
	}
	return c
}

// rest asserts that nothing of any call is left.
func (f *fixture) rest(t *testing.T, calls uint64) {
	t.Helper()
	var n uint64
	for _, s := range f.reg.Snapshot().Client[0].Series {
		n += s.Count
	}
	active, pending := f.cluster.InUse()
	if n != calls || f.route.Service.Active.Value() != 0 || active != 0 || pending != 0 {
		t.Errorf("%d calls recorded, want %d; %d active, %d and %d places in use",
			n, calls, f.route.Service.Active.Value(), active, pending)
	}
	for _, e := range f.cluster.Endpoints() {
		if e.Load.InFlight() != 0 {
			t.Errorf("%s: %d in flight", e.Address, e.Load.InFlight())
		}
	}
}

// inbound is f.route as a server's.
func (f *fixture) inbound() *Route {
	r := f.route
	return &Route{
		Route: r.Route, Version: r.Version, Server: true, Stats: r.Stats, Service: r.Service, Host: r.Host, Port: r.Port,
		Clusters: r.Clusters, Mesh: r.Mesh, usually: r.usually, priority: r.priority, usual: r.usual,
	}
}

func TestMatch(t *testing.T) {
	route := func(r resource.Route) *Route { return &Route{Route: r} }
	exact, prefix, all := route(resource.Route{Path: "/a"}), route(resource.Route{Prefix: "/api/"}), route(resource.Route{Prefix: "/"})
	a := &Authority{Routes: []*Route{exact, prefix, all}}
	for path, want := range map[string]*Route{
		"/a": exact, "/a?b": exact, "/a/": all, "/api/x": prefix, "/api/?y": prefix, "/api": all, "/api?/": all, "*": all, "": all,
	} {
		if got := a.Match([]byte(path), nil); got != want {
			t.Errorf("%q: %+v", path, got)
		}
	}
	if (&Authority{Routes: []*Route{exact, prefix}}).Match([]byte("/"), nil) != nil {
		t.Error("a match where there is none")
	}
}

func TestWeightedClusters(t *testing.T) {
	a, b := &Cluster{Name: "a"}, &Cluster{Name: "b"}
	r := &Route{Clusters: []*Cluster{a, b}, Route: resource.Route{Clusters: []resource.WeightedCluster{{Name: "a", Weight: 0}, {Name: "b", Weight: 3}}}}
	for range 100 {
		if r.cluster() != b {
			t.Fatal("a cluster of weight 0 was chosen")
		}
	}
	r.Route.Clusters[0].Weight = 1
	n := 0
	for range 4000 {
		if r.cluster() == a {
			n++
		}
	}
	if n < 800 || n > 1200 {
		t.Errorf("%d of 4000 for a weight of 1 in 4", n)
	}
	r.Route.Clusters[0].Weight, r.Route.Clusters[1].Weight = 0, 0
	if r.cluster() != nil {
		t.Error("all weights are 0")
	}
}

// Every attempt goes elsewhere, within the policy and the budget; what happens
// is recorded once.
func TestAttemptsAndBudget(t *testing.T) {
	f := setUp(t, policy, 0, "10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80")
	c := f.begin(t)
	seen := map[string]bool{}
	for i := range 3 {
		ep := c.Pick(2)
		if ep == nil || seen[ep.Address] {
			t.Fatalf("attempt %d: %v again", i, ep)
		}
		seen[ep.Address] = true
		c.Done(3, 503, stats.ErrNone, 1)
		c.Done(3, 503, stats.ErrNone, 1) // once only
		c.Cancel(3)
		d, ok := c.Retry(3, stats.Retry503, true)
		if ok != (i < 2) || d < 0 || d > 20 {
			t.Fatalf("retry %d: %v, %v", i, d, ok)
		}
	}
	c.End(4, 503, stats.ErrNone)
	f.rest(t, 1)
	for _, e := range f.cluster.Endpoints() {
		if e.Requests.Load() != 1 || e.Failures.Load() != 1 {
			t.Errorf("%s: %d attempts, %d failures", e.Address, e.Requests.Load(), e.Failures.Load())
		}
	}
	s := f.reg.Snapshot().Client[0]
	if s.Retries["503"] != 2 || s.RetriesDenied != 1 {
		t.Errorf("retries %v, denied %d", s.Retries, s.RetriesDenied)
	}
}

func TestRetryIsRefused(t *testing.T) {
	for name, tc := range map[string]struct {
		change     func(*resource.Route)
		reason     stats.RetryReason
		replayable bool
	}{
		"not replayable":  {nil, stats.RetryReset, false},
		"not in policy":   {nil, stats.Retry502, true},
		"no attempt left": {func(r *resource.Route) { r.Retry.Attempts = 0 }, stats.RetryReset, true},
		"idle reset":      {nil, stats.RetryIdleReset, true},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t, policy, 0, "10.0.0.1:80")
			if tc.change != nil {
				tc.change(&f.route.Route)
			}
			c := f.begin(t)
			c.Pick(1)
			c.Done(1, 0, stats.ErrConnectionTerminated, 1)
			if _, ok := c.Retry(1, tc.reason, tc.replayable); ok {
				t.Error("retried")
			}
			c.End(2, 502, stats.ErrConnectionTerminated)
			f.rest(t, 1)
			if n := f.reg.Snapshot().Client[0].RetriesDenied; n != 0 {
				t.Errorf("the budget was asked %d times", n)
			}
		})
	}
}

// A policy of many attempts ends at the bound of what is remembered.
func TestAttemptsAreBounded(t *testing.T) {
	cfg := policy
	cfg.Breaker.Disabled = true
	cfg.Budget.MinPerSecond = 100
	f := setUp(t, cfg, 0, "10.0.0.1:80")
	f.route.Retry.Attempts = 1000
	c := f.begin(t)
	n := 0
	for {
		if c.Pick(1) == nil {
			t.Fatal("no endpoint")
		}
		n++
		c.Done(1, 0, stats.ErrConnectionTerminated, 1)
		if _, ok := c.Retry(1, stats.RetryReset, true); !ok {
			break
		}
	}
	c.End(2, 502, stats.ErrConnectionTerminated)
	if n != maxAttempts {
		t.Errorf("%d attempts", n)
	}
	f.rest(t, 1)
}

func TestNoEndpoint(t *testing.T) {
	f := setUp(t, policy, 0)
	c := f.begin(t)
	if ep := c.Pick(1); ep != nil {
		t.Errorf("%v", ep)
	}
	if c.Endpoint() != nil {
		t.Error("an endpoint without an attempt")
	}
	c.End(1, 503, stats.ErrDestinationUnavailable)
	f.rest(t, 1)

	f.route.Route.Clusters = nil
	f.route.Clusters = nil
	c = &Call{}
	if step, e := c.Begin(f.tracer, f.route, &Said{}, nil, 1), c.Refusal().Err; step != Refused || e != stats.ErrDestinationNotFound {
		t.Errorf("%v", e)
	}
	c.End(1, 503, stats.ErrDestinationNotFound)
	f.rest(t, 2)
}

func TestLimits(t *testing.T) {
	cfg := policy
	cfg.Limits = resource.Limits{Requests: 1, Pending: 1}
	f := setUp(t, cfg, 0, "10.0.0.1:80")
	first := f.begin(t)
	second := &Call{}
	if step, e := second.Begin(f.tracer, f.route, &Said{}, nil, 1), second.Refusal().Err; step != Refused || e != stats.ErrConnectionLimitReached {
		t.Errorf("%v", e)
	}
	if !first.Pending() || first.Pending() {
		t.Error("there is one place to wait")
	}
	first.Unpend()
	second.End(1, 503, stats.ErrConnectionLimitReached)
	first.End(1, 200, stats.ErrNone)
	f.rest(t, 2)
	if second.Begin(f.tracer, f.route, &Said{}, nil, 1) != Go {
		t.Errorf("the place was not given back: %v", second.Refusal())
	}
	second.End(1, 200, stats.ErrNone)
}

// What counts against an endpoint: what it could not serve.
func TestVerdicts(t *testing.T) {
	for status, failed := range map[int]bool{200: false, 404: false, 499: false, 500: true, 501: false, 502: true, 503: true, 505: false} {
		if failure(status) != failed {
			t.Errorf("%d", status)
		}
	}
	f := setUp(t, policy, 0, "10.0.0.1:80")
	ep := f.cluster.Endpoints()[0]
	for range 10 { // the client's leaving is no failure
		c := f.begin(t)
		c.Pick(1)
		c.Cancel(1)
		c.End(1, 499, stats.ErrClientClosed)
	}
	if ep.Breaker.State() != breaker.Closed || ep.Failures.Load() != 0 {
		t.Errorf("breaker %v, %d failures", ep.Breaker.State(), ep.Failures.Load())
	}
	for range 3 {
		c := f.begin(t)
		c.Pick(1)
		c.Done(1, 0, stats.ErrConnectionRefused, 1)
		c.End(1, 503, stats.ErrConnectionRefused)
	}
	c := f.begin(t)
	if ep.Breaker.State() != breaker.Open || c.Pick(1) != nil {
		t.Errorf("breaker %v", ep.Breaker.State())
	}
	c.End(1, 503, stats.ErrDestinationUnavailable)
	f.rest(t, 14)
}
