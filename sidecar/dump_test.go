package sidecar

import (
	"encoding/json"
	"maps"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/health"
	"github.com/meshd/meshd/xds/resource"
)

// The admin port shows what an endpoint said of its load, and nothing of one
// that said nothing.
func TestDumpShowsReportedLoad(t *testing.T) {
	p := &Proxy{epoch: time.Now().Add(-time.Minute), snapshot: newTestSnapshot(t, Passthrough)}
	p.serving.Store(true)
	c := ask(p.snapshot, "checkout:8080", netip.AddrPort{})
	p.snapshot.onCluster("default/checkout:8080", &resource.Cluster{Name: "default/checkout:8080", Balancer: "peak_ewma"})
	p.snapshot.onEndpoints("default/checkout:8080", &resource.Endpoints{Endpoints: []resource.Endpoint{
		{Addr: netip.MustParseAddrPort("10.0.0.1:80"), Weight: 1}, {Addr: netip.MustParseAddrPort("10.0.0.2:80"), Weight: 1}}})
	p.snapshot.onRoute("checkout:8080", checkoutRoutes)
	cluster := (<-c).a.Routes[0].Clusters[0]
	cluster.Endpoints()[0].Reported.Set(p.now()-int64(time.Second), endpoint.LoadReport{CPU: 0.5, RPS: 120})

	var dump struct {
		Clusters []struct {
			Endpoints []struct {
				Reported *struct{ CPU, RPS, AgeMs float64 }
			}
		}
	}
	text, err := json.Marshal(p.dump())
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &dump); err != nil {
		t.Fatal(err)
	}
	got := dump.Clusters[0].Endpoints[0].Reported
	if got == nil || got.CPU != 0.5 || got.RPS != 120 || got.AgeMs < 1000 || got.AgeMs > 60000 {
		t.Errorf("%s", text)
	}
	if strings.Count(string(text), "Reported") != 1 {
		t.Errorf("a report of an endpoint that sent none: %s", text)
	}
}

// What the endpoints of a route tell: the part of the route's calls that each
// is to get, whatever cluster it is of, and why one gets none.
func TestEndpointsTellWhatTheyAreToGet(t *testing.T) {
	s := newTestSnapshot(t, Passthrough)
	c := ask(s, "checkout:8080", netip.AddrPort{})
	const old, canary = "default/checkout:8080", "default/canary:8080"
	for i, name := range []string{old, canary} {
		s.onCluster(name, &resource.Cluster{Name: name, Balancer: "round_robin", Breaker: resource.Breaker{ConsecutiveFailures: 1, OpenFor: time.Hour}})
		eps := &resource.Endpoints{}
		for k := range 3 {
			eps.Endpoints = append(eps.Endpoints, resource.Endpoint{Addr: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), byte(k)}), 80), Weight: uint32(1 + k)})
		}
		s.onEndpoints(name, eps)
	}
	s.onRoute("checkout:8080", &resource.RouteConfig{Name: old, VirtualHosts: []resource.VirtualHost{{Domains: []string{"*"}, Routes: []resource.Route{{
		Prefix: "/", Service: old, TraceRatio: -1, Clusters: []resource.WeightedCluster{{Name: old, Weight: 9}, {Name: canary, Weight: 1}},
	}}}}})
	route := (<-c).a.Routes[0]
	eps := route.Clusters[0].Endpoints()
	if ticket, ok := eps[0].Breaker.Allow(); ok {
		eps[0].Breaker.Done(ticket, false)
	}
	eps[2].Ejections[health.RuleLatency].Add(2)
	all := s.stats.Snapshot().Client[0].Endpoints
	for i, want := range []float64{0, 0.9 * 2 / 5, 0.9 * 3 / 5, 0.1 / 6, 0.2 / 6, 0.3 / 6} {
		if math.Abs(all[i].Weight-want) > 1e-4 {
			t.Errorf("endpoint %d: weight %v, want %v", i, all[i].Weight, want)
		}
	}
	if all[0].BreakerRule != "consecutive-failures" || all[1].BreakerRule != "" || all[1].Ejections != nil || !maps.Equal(all[2].Ejections, map[string]uint64{"latency": 2}) {
		t.Errorf("%+v", all[:3])
	}
}
