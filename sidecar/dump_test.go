package sidecar

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/meshd/meshd/sidecar/endpoint"
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
