package sidecar

import (
	"net/netip"
	"testing"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/xds/resource"
)

// newPeeking makes a sidecar that knows what the test tells its snapshot.
func newPeeking(t *testing.T, cfg Config) *Proxy {
	t.Helper()
	cfg.Service, cfg.App, cfg.Inbound = "db", "127.0.0.1:5432", "127.0.0.1:0"
	if err := cfg.validate(); err != nil {
		t.Fatal(err)
	}
	p := &Proxy{cfg: cfg, snapshot: newTestSnapshot(t, Passthrough)}
	p.snapshot.up.Store(true)
	return p
}

// know tells the snapshot what a name is.
func (p *Proxy) know(name string, speaks resource.Protocol) {
	const cluster = "default/checkout:8080"
	p.snapshot.onCluster(cluster, &resource.Cluster{Name: cluster, Protocol: speaks})
	p.snapshot.onRoute(name, checkoutRoutes)
}

func TestPeekOutbound(t *testing.T) {
	at := netip.MustParseAddrPort("10.96.0.5:5432")
	for name, tc := range map[string]struct {
		speaks resource.Protocol
		want   bool
	}{"tcp": {resource.ProtocolTCP, true}, "http": {resource.ProtocolHTTP1, false}, "auto": {resource.ProtocolAuto, false}} {
		t.Run(name, func(t *testing.T) {
			p := newPeeking(t, Config{})
			told := make(chan struct{}, 1)
			if p.peekOutbound(at, false, func() { told <- struct{}{} }) {
				t.Fatal("known before anybody said so")
			}
			p.know(at.String(), tc.speaks)
			if tc.want {
				<-told
			}
			if got := p.peekOutbound(at, false, func() { t.Error("told twice") }); got != tc.want {
				t.Errorf("%v once it is known", got)
			}
			// What the mesh does not know is looked into.
			other := netip.MustParseAddrPort("192.0.2.1:80")
			if p.peekOutbound(other, false, func() { t.Error("told of what is not known") }) {
				t.Error("opaque although not known")
			}
			p.snapshot.onRoute(other.String(), nil)
		})
	}
}

func TestPeekInbound(t *testing.T) {
	app, beside := netip.MustParseAddrPort("10.0.0.5:5432"), netip.MustParseAddrPort("10.0.0.5:22")
	never := func() { t.Error("told") }
	for protocol, want := range map[AppProtocol]bool{AppTCP: true, AppHTTP: false, AppGRPC: false} {
		p := newPeeking(t, Config{AppProtocol: protocol})
		for _, to := range []netip.AddrPort{app, {}} {
			if got := p.peekInbound(to, true, never); got != want {
				t.Errorf("%s, to %v: %v", protocol, to, got)
			}
		}
		if p.peekInbound(beside, true, never) {
			t.Errorf("%s: what listens beside the application is not the application", protocol)
		}
	}
	// Of its own accord it asks what its service speaks once a caller is silent.
	p := newPeeking(t, Config{})
	told := make(chan struct{})
	if p.peekInbound(app, false, never) || p.peekInbound(app, true, func() { close(told) }) {
		t.Fatal("known before anybody said so")
	}
	p.know("db.default:5432", resource.ProtocolTCP)
	<-told
	if !p.peekInbound(netip.AddrPort{}, false, never) {
		t.Error("not known")
	}
}

// Addresses that no service has are not asked for, and none is while meshd is
// away.
func TestWorthAsking(t *testing.T) {
	p := newPeeking(t, Config{})
	for name, want := range map[string]bool{
		"checkout": true, "checkout:80": true, "10.96.0.5:5432": true, "10.96.0.5": true, "[fd00::5]:80": true, "[fd00::5]": true,
		"127.0.0.1:80": false, "[::1]:80": false, "169.254.169.254:80": false, "[fe80::1%eth0]:80": false, "0.0.0.0:80": false,
	} {
		if got := p.snapshot.worthAsking(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
	p.snapshot.up.Store(false)
	if p.snapshot.worthAsking("10.96.0.5:5432") || !p.snapshot.worthAsking("checkout") {
		t.Error("meshd is away")
	}
	answer := make(chan *call.Authority)
	p.snapshot.ask("10.96.0.5:5432", func(a *call.Authority) { answer <- a })
	if a := <-answer; a != nil {
		t.Errorf("%+v", a)
	}
}
