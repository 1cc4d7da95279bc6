package server

import (
	"slices"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// sotwFence asks for what no test has; its answer says that all before it
// has been worked off.
func sotwFence(t *testing.T, p *peer[discovery.DiscoveryRequest, discovery.DiscoveryResponse]) {
	t.Helper()
	p.quiet(&discovery.DiscoveryRequest{TypeUrl: "fence", ResourceNames: []string{time.Now().String()}},
		func(r *discovery.DiscoveryResponse) bool { return r.TypeUrl == "fence" })
}

func TestSotWByName(t *testing.T) {
	f := start(t, Config{})
	w := world{
		lds + " default/checkout": "L1", rds + " default/checkout:80": "R1",
		cds + " default/checkout:80": "C1", eds + " default/checkout:80": "E1",
		cds + " default/other:80": "C2",
	}
	f.cache.Set(w.view())
	p := f.sotw()
	expect := func(want string) *discovery.DiscoveryResponse {
		t.Helper()
		r := p.next()
		if got := sotwText(r); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		return r
	}
	ask := func(typ, nonce string, names ...string) {
		t.Helper()
		p.send(&discovery.DiscoveryRequest{TypeUrl: typ, ResourceNames: names, ResponseNonce: nonce})
	}
	// Absence is an answer, and comes at once.
	ask(lds, "", "nobody")
	r := expect("LDS")
	ask(lds, r.Nonce, "nobody", "checkout")
	r = expect("LDS L1")
	ask(lds, r.Nonce, "nobody", "checkout")
	ask(cds, "", "default/checkout:80")
	c := expect("CDS C1")
	ask(cds, c.Nonce, "default/checkout:80")
	ask(eds, "", "default/checkout:80")
	e := expect("EDS E1")
	ask(eds, e.Nonce, "default/checkout:80")
	ask(rds, "", "default/checkout:80", "default/unknown:80")
	expect("RDS R1")
	sotwFence(t, p)

	// Only endpoints: one push. A cluster: its endpoints again, in order.
	w[eds+" default/checkout:80"] = "E2"
	f.cache.Set(w.view())
	expect("EDS E2")
	w[cds+" default/checkout:80"], w[lds+" default/checkout"], w[rds+" default/checkout:80"] = "C1b", "L2", "R2"
	f.cache.Set(w.view())
	expect("CDS C1b")
	expect("EDS E2")
	expect("LDS L2")
	expect("RDS R2")

	// What comes into being is pushed; what goes is absent.
	w[lds+" default/nobody"] = "N"
	f.cache.Set(w.view())
	expect("LDS L2 N")
	delete(w, lds+" default/checkout")
	f.cache.Set(w.view())
	r = expect("LDS N")
	// Unsubscribing needs no answer; asking again does.
	ask(lds, r.Nonce, "checkout")
	sotwFence(t, p)
	ask(lds, r.Nonce, "checkout", "nobody")
	expect("LDS N")
}

func TestSotWNack(t *testing.T) {
	f := start(t, Config{})
	w := world{cds + " a": "bad", cds + " b": "B"}
	f.cache.Set(w.view())
	p := f.sotw()
	p.send(&discovery.DiscoveryRequest{TypeUrl: cds, ResourceNames: []string{"a"}, Node: &core.Node{Id: "me"}})
	r := p.next()
	// However often it says so, it is not told again.
	for range 3 {
		p.send(&discovery.DiscoveryRequest{TypeUrl: cds, ResourceNames: []string{"a"}, ResponseNonce: r.Nonce, ErrorDetail: nack("no\nway")})
	}
	f.cache.Set(w.view())
	sotwFence(t, p)
	c := f.srv.Clients()
	if len(c) != 1 || c[0].Nacked != 1 || c[0].LastNack != "no\nway" || !slices.Equal(c[0].Has, []Has{{cds, 0, "no\nway"}}) {
		t.Errorf("clients %+v", c)
	}
	w[cds+" a"] = "good"
	f.cache.Set(w.view())
	newer := p.next()
	if got := sotwText(newer); got != "CDS good" {
		t.Errorf("got %q", got)
	}
	p.send(&discovery.DiscoveryRequest{TypeUrl: cds, ResourceNames: []string{"a"}, ResponseNonce: newer.Nonce})
	sotwFence(t, p)
	if c := f.srv.Clients(); c[0].Nacked != 1 || c[0].Acked != 1 || !slices.Equal(c[0].Has, []Has{{cds, 1, ""}}) {
		t.Errorf("clients %+v", c)
	}
	// An old nonce is no answer, and no subscription.
	p.send(&discovery.DiscoveryRequest{TypeUrl: cds, ResourceNames: []string{"b"}, ResponseNonce: r.Nonce})
	sotwFence(t, p)
}

func TestSotWWildcard(t *testing.T) {
	f := start(t, Config{})
	w := world{cds + " a": "A", cds + " b": "B"}
	f.cache.Set(w.view())
	p := f.sotw()
	expect := func(want string) *discovery.DiscoveryResponse {
		t.Helper()
		r := p.next()
		if got := sotwText(r); got != want {
			t.Fatalf("got %q, want %q", got, want)
		}
		return r
	}
	p.send(&discovery.DiscoveryRequest{TypeUrl: cds})
	r := expect("CDS A B")
	p.send(&discovery.DiscoveryRequest{TypeUrl: cds, ResponseNonce: r.Nonce})
	sotwFence(t, p)
	w[cds+" c"] = "C"
	delete(w, cds+" a")
	f.cache.Set(w.view())
	r = expect("CDS B C")
	// From all to some, and to none: an empty list is none by now.
	p.send(&discovery.DiscoveryRequest{TypeUrl: cds, ResponseNonce: r.Nonce, ResourceNames: []string{"b"}})
	r = expect("CDS B")
	p.send(&discovery.DiscoveryRequest{TypeUrl: cds, ResponseNonce: r.Nonce})
	sotwFence(t, p)
	w[cds+" b"] = "B2"
	f.cache.Set(w.view())
	sotwFence(t, p)
}

// The version says what the client has, wherever it got it.
func TestSotWVersion(t *testing.T) {
	var versions []string
	for range 2 {
		f := start(t, Config{})
		f.cache.Set(world{cds + " a": "A"}.view())
		p := f.sotw()
		p.send(&discovery.DiscoveryRequest{TypeUrl: cds, ResourceNames: []string{"a"}})
		versions = append(versions, p.next().VersionInfo)
	}
	if versions[0] == "" || versions[0] != versions[1] {
		t.Errorf("versions %q, want equal", versions)
	}
}
