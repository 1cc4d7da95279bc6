package sidecar

import (
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/protocol/h1"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/xds/client"
	"github.com/meshd/meshd/xds/resource"
)

// newTestSnapshot makes a snapshot whose client is not run: the test says what it hears.
func newTestSnapshot(t *testing.T, policy OutboundPolicy) *snapshot {
	t.Helper()
	epoch := time.Now()
	now := func() int64 { return int64(time.Since(epoch)) }
	s := newSnapshot(slog.New(slog.DiscardHandler), stats.NewRegistry(), now, (&net.Dialer{}).DialContext)
	t.Cleanup(s.health.Close)
	pools := func(resource.Cluster, resource.Endpoint) any { return h1.NewPool(0) }
	s.pools = pools
	s.direct = &direct{
		policy: policy, stats: s.stats, now: now, pools: pools, resolver: net.DefaultResolver,
		own:   func(a netip.AddrPort) bool { return a.Port() == 15001 },
		known: map[string]*destination{},
	}
	var err error
	s.client, err = client.New(client.Config{Addr: "127.0.0.1:1", Logger: s.log})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

type resolved struct {
	a *call.Authority
	e stats.ErrorType
}

func ask(s *snapshot, name string, original netip.AddrPort) <-chan resolved {
	c := make(chan resolved, 1)
	s.resolve(name, original, func(a *call.Authority, e stats.ErrorType) { c <- resolved{a, e} })
	return c
}

var checkoutRoutes = &resource.RouteConfig{Name: "default/checkout:8080", VirtualHosts: []resource.VirtualHost{{
	Domains: []string{"*"},
	Routes: []resource.Route{{
		Prefix: "/", Service: "default/checkout:8080", TraceRatio: -1,
		Clusters: []resource.WeightedCluster{{Name: "default/checkout:8080", Weight: 1}},
	}},
}}}

func TestNameOfTheMesh(t *testing.T) {
	s := newTestSnapshot(t, Passthrough)
	c := ask(s, "Checkout:8080", netip.AddrPort{})
	s.onCluster("default/checkout:8080", &resource.Cluster{Name: "default/checkout:8080", Balancer: "peak_ewma"})
	s.onEndpoints("default/checkout:8080", &resource.Endpoints{Endpoints: []resource.Endpoint{
		{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 1}}})
	s.onRoute("checkout:8080", checkoutRoutes)
	r := <-c
	if r.a == nil || r.e != stats.ErrNone {
		t.Fatalf("%+v", r)
	}
	if got := s.lookup([]byte("checkout:8080")); got != r.a {
		t.Error("the second call does not find what the first one did")
	}
	route := r.a.Match([]byte("/x"), nil)
	if route == nil || len(route.Clusters) != 1 || len(route.Clusters[0].Endpoints()) != 1 || route.Host != "checkout.default" || route.Port != 8080 {
		t.Errorf("route %+v", route)
	}

	// The endpoint's state outlives a change of policy and of routes.
	ep := route.Clusters[0].Endpoints()[0]
	ep.Requests.Add(7)
	s.onCluster("default/checkout:8080", &resource.Cluster{Name: "default/checkout:8080", Balancer: "round_robin"})
	s.onRoute("checkout:8080", checkoutRoutes)
	if got := s.lookup([]byte("checkout:8080")).Routes[0].Clusters[0].Endpoints()[0].Requests.Load(); got != 7 {
		t.Errorf("requests %d after a change, want 7", got)
	}

	// A balancer that does not exist changes nothing.
	s.onCluster("default/checkout:8080", &resource.Cluster{Name: "default/checkout:8080", Balancer: "astrology"})
	if got := route.Clusters[0].Config().Balancer; got != "round_robin" {
		t.Errorf("balancer %q", got)
	}
}

func TestUnknownName(t *testing.T) {
	original := netip.MustParseAddrPort("10.1.2.3:80")
	for _, c := range []struct {
		policy   OutboundPolicy
		name     string
		original netip.AddrPort
		want     stats.ErrorType
		at       string
	}{
		{Passthrough, "elsewhere", original, stats.ErrNone, "10.1.2.3:80"},
		{Deny, "elsewhere", original, stats.ErrHTTPRequestDenied, ""},
		{Passthrough, "127.0.0.1:15001", netip.AddrPort{}, stats.ErrProxyLoopDetected, ""},
		{Passthrough, "127.0.0.1:9", netip.AddrPort{}, stats.ErrNone, "127.0.0.1:9"},
		{Passthrough, "127.0.0.1", netip.AddrPort{}, stats.ErrNone, "127.0.0.1:80"},
	} {
		s := newTestSnapshot(t, c.policy)
		answer := ask(s, c.name, c.original)
		s.onRoute(c.name, nil) // ignored where nobody was asked
		r := <-answer
		if r.e != c.want {
			t.Errorf("%+v: %v", c, r.e)
			continue
		}
		if c.at != "" && r.a.Routes[0].Clusters[0].Endpoints()[0].Address != c.at {
			t.Errorf("%+v: goes to %s", c, r.a.Routes[0].Clusters[0].Endpoints()[0].Address)
		}
		// Asked again, the answer is at hand.
		if again := <-ask(s, c.name, c.original); again != r {
			t.Errorf("%+v: %+v the second time", c, again)
		}
	}
}

// A call that says no authority is to whom its address belongs.
func TestNoAuthority(t *testing.T) {
	original := netip.MustParseAddrPort("10.96.0.5:8080")
	s := newTestSnapshot(t, Passthrough)
	s.up.Store(true)
	c := ask(s, "", original)
	s.onRoute("10.96.0.5:8080", checkoutRoutes)
	if r := <-c; r.e != stats.ErrNone || r.a.Name != "10.96.0.5:8080" {
		t.Errorf("%+v", r)
	}
}

func TestForgetsWhatIsNotCalled(t *testing.T) {
	s := newTestSnapshot(t, Passthrough)
	c := ask(s, "checkout", netip.AddrPort{})
	s.onRoute("checkout", checkoutRoutes)
	<-c
	for range forgetAfter - 1 {
		s.sweepMinute()
	}
	if s.lookup([]byte("checkout")) == nil {
		t.Fatal("forgotten too soon")
	}
	for range forgetAfter - 1 { // the look-up has renewed it
		s.sweepMinute()
	}
	if (*s.hosts.Load())["checkout"] == nil {
		t.Fatal("forgotten although it was called")
	}
	open := s.stats.Client("default/checkout:8080").TCP()
	open.Begin()
	s.sweepMinute()
	if (*s.hosts.Load())["checkout"] == nil {
		t.Error("forgotten although a connection is open")
	}
	open.End(stats.ErrNone, time.Hour)
	s.sweepMinute()
	if (*s.hosts.Load())["checkout"] != nil {
		t.Error("not forgotten")
	}
}

func TestVirtualHost(t *testing.T) {
	rc := &resource.RouteConfig{}
	for _, d := range []string{"*", "*.shop", "*.eu.shop", "check*", "checkout", "pay:81"} {
		rc.VirtualHosts = append(rc.VirtualHosts, resource.VirtualHost{Name: d, Domains: []string{d}})
	}
	for authority, want := range map[string]string{
		"checkout": "checkout", "checkout:8080": "checkout", "checkers": "check*", "pay:81": "pay:81", "pay:82": "*",
		"a.shop": "*.shop", "a.eu.shop:80": "*.eu.shop", "[::1]:80": "*",
	} {
		if got := virtualHost(rc, authority); got.Name != want {
			t.Errorf("%s: %s, want %s", authority, got.Name, want)
		}
	}
}

// Whoever asks while nobody answers waits for a bounded time, and leaves
// nothing behind.
func TestNobodyAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTestSnapshot(t, Deny)
		var answers []<-chan resolved
		for range 3 {
			answers = append(answers, ask(s, "checkout", netip.AddrPort{}))
			time.Sleep(resolveWait / 4)
		}
		for _, c := range answers {
			if r := <-c; r.a != nil || r.e != stats.ErrHTTPRequestDenied {
				t.Errorf("%+v", r)
			}
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if len(s.waiting) != 0 {
			t.Errorf("%d names are waited for", len(s.waiting))
		}
	})
}
