package server

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

type deltaPeer = peer[discovery.DeltaDiscoveryRequest, discovery.DeltaDiscoveryResponse]

// deltaFence checks that nothing more has come.
func deltaFence(t *testing.T, p *deltaPeer) {
	t.Helper()
	p.quiet(&discovery.DeltaDiscoveryRequest{TypeUrl: "fence", ResourceNamesSubscribe: []string{"x"}},
		func(r *discovery.DeltaDiscoveryResponse) bool { return r.TypeUrl == "fence" })
}

func expectDelta(t *testing.T, p *deltaPeer, want string) *discovery.DeltaDiscoveryResponse {
	t.Helper()
	r := p.next()
	if got := deltaText(r); got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
	return r
}

func TestDeltaByName(t *testing.T) {
	f := start(t, Config{})
	w := world{
		lds + " default/checkout": "L1", rds + " c": "R1", cds + " c": "C1", eds + " c": "E1", cds + " other": "O",
	}
	f.cache.Set(w.view())
	p := f.delta()
	expect := func(want string) *discovery.DeltaDiscoveryResponse { t.Helper(); return expectDelta(t, p, want) }
	sub := func(typ string, names ...string) {
		t.Helper()
		p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: typ, ResourceNamesSubscribe: names})
	}
	sub(lds, "checkout", "nobody")
	r := expect("LDS checkout=L1 -nobody")
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: lds, ResponseNonce: r.Nonce})
	sub(cds, "c")
	expect("CDS c=C1")
	sub(eds, "c")
	expect("EDS c=E1")
	sub(rds, "c")
	expect("RDS c=R1")
	deltaFence(t, p)

	w[eds+" c"] = "E2"
	f.cache.Set(w.view())
	expect("EDS c=E2")
	w[cds+" c"], w[rds+" c"] = "C2", "R2"
	f.cache.Set(w.view())
	expect("CDS c=C2")
	expect("EDS c=E2") // again: Envoy waits for it
	expect("RDS c=R2")
	w[cds+" c"], w[eds+" c"] = "C3", "E3"
	f.cache.Set(w.view())
	expect("CDS c=C3")
	expect("EDS c=E3") // once

	w[lds+" default/nobody"] = "N"
	delete(w, lds+" default/checkout")
	f.cache.Set(w.view())
	expect("LDS nobody=N -checkout")

	// Unsubscribed: silence. Asked for again: told again, changed or not.
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: lds, ResourceNamesUnsubscribe: []string{"nobody", "never"}})
	deltaFence(t, p)
	w[lds+" default/nobody"] = "N2"
	f.cache.Set(w.view())
	deltaFence(t, p)
	sub(cds, "c")
	expect("CDS c=C3")
	expect("EDS c=E3")
}

func TestDeltaNack(t *testing.T) {
	f := start(t, Config{})
	w := world{cds + " a": "bad", cds + " b": "B"}
	f.cache.Set(w.view())
	p := f.delta()
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds, ResourceNamesSubscribe: []string{"a"}, Node: &core.Node{Id: "me"}})
	r := expectDelta(t, p, "CDS a=bad")
	for range 3 {
		p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds, ResponseNonce: r.Nonce, ErrorDetail: nack("no")})
	}
	f.cache.Set(w.view())
	deltaFence(t, p)
	// A NACK may subscribe as well, and leaves the others their updates.
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds, ResponseNonce: r.Nonce, ErrorDetail: nack("no"), ResourceNamesSubscribe: []string{"b"}})
	r = expectDelta(t, p, "CDS b=B")
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds, ResponseNonce: r.Nonce})
	deltaFence(t, p)
	w[cds+" a"] = "good"
	f.cache.Set(w.view())
	r = expectDelta(t, p, "CDS a=good")
	if c := f.srv.Clients(); len(c) != 1 || c[0].Nacked != 1 || c[0].Acked != 1 || c[0].LastNack != "no" || !slices.Equal(c[0].Has, []Has{{cds, 2, "no"}}) {
		t.Errorf("clients %+v", c)
	}
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds, ResponseNonce: r.Nonce})
	deltaFence(t, p)
	if c := f.srv.Clients(); c[0].Nacked != 1 || c[0].Acked != 2 || !slices.Equal(c[0].Has, []Has{{cds, 2, ""}}) {
		t.Errorf("clients %+v", c)
	}
}

func TestDeltaReconnect(t *testing.T) {
	f := start(t, Config{})
	w := world{cds + " same": "S", cds + " changed": "1", cds + " gone": "G"}
	f.cache.Set(w.view())
	names := []string{"same", "changed", "gone"}
	p := f.delta()
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds, ResourceNamesSubscribe: names})
	have := map[string]string{}
	for _, r := range expectDelta(t, p, "CDS changed=1 gone=G same=S").Resources {
		have[r.Name] = r.Version
	}
	p.stop()

	w[cds+" changed"] = "2"
	delete(w, cds+" gone")
	f.cache.Set(w.view())
	p = f.delta()
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds, ResourceNamesSubscribe: names, InitialResourceVersions: have})
	expectDelta(t, p, "CDS changed=2 -gone")
	deltaFence(t, p)

	// By wildcard, what is gone is not among the names.
	p = f.delta()
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds, InitialResourceVersions: have})
	expectDelta(t, p, "CDS changed=2 -gone")
	deltaFence(t, p)
}

func TestDeltaWildcard(t *testing.T) {
	f := start(t, Config{})
	w := world{}
	f.cache.Set(w.view())
	p := f.delta()
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds})
	expectDelta(t, p, "CDS") // Envoy waits for an answer, if only an empty one
	w[cds+" a"], w[cds+" b"] = "A", "B"
	f.cache.Set(w.view())
	expectDelta(t, p, "CDS a=A b=B")
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds, ResourceNamesSubscribe: []string{"b"}})
	expectDelta(t, p, "CDS b=B")
	delete(w, cds+" a")
	f.cache.Set(w.view())
	expectDelta(t, p, "CDS -a")
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds, ResourceNamesUnsubscribe: []string{"*"}})
	deltaFence(t, p)
	w[cds+" a"], w[cds+" b"] = "A", "B2"
	f.cache.Set(w.view())
	expectDelta(t, p, "CDS b=B2")
	deltaFence(t, p)
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds, ResourceNamesSubscribe: []string{"*"}})
	expectDelta(t, p, "CDS a=A")
}

func TestDeltaDividesLargeResponses(t *testing.T) {
	f := start(t, Config{})
	w := world{}
	for i := range 10 {
		w[fmt.Sprintf("%s %d", cds, i)] = strings.Repeat("x", maxResponse*2/5)
	}
	f.cache.Set(w.view())
	p := f.delta()
	p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds})
	for n := 0; n < 10; {
		r := p.next()
		if len(r.Resources) == 0 || len(r.Resources) > 3 {
			t.Fatalf("%d resources in one response", len(r.Resources))
		}
		n += len(r.Resources)
	}
	deltaFence(t, p)
}
