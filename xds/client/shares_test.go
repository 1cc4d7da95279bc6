package client

import (
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	runtimev3 "github.com/envoyproxy/go-control-plane/envoy/service/runtime/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/meshd/meshd/xds/resource"
)

func ours(t *testing.T, fields map[string]any) *corev3.Metadata {
	t.Helper()
	s, err := structpb.NewStruct(fields)
	if err != nil {
		t.Fatal(err)
	}
	return &corev3.Metadata{FilterMetadata: map[string]*structpb.Struct{resource.MetadataKey: s}}
}

func limited(t *testing.T, name string, requests float64) *clusterv3.Cluster {
	c := aCluster(name, "")
	c.Metadata = ours(t, map[string]any{"sharedRequests": requests})
	return c
}

func someShares(t *testing.T, name string, requests map[string]any) *runtimev3.Runtime {
	t.Helper()
	layer, err := structpb.NewStruct(map[string]any{"requests": requests})
	if err != nil {
		t.Fatal(err)
	}
	return &runtimev3.Runtime{Name: name, Layer: layer}
}

func TestShares(t *testing.T) {
	both(t, func(t *testing.T, p Protocol) {
		dir := t.TempDir()
		f := startFake(t, "", nil)
		f.service(t, "a", "s", 1)
		f.service(t, "b", "t", 1)
		own := "meshd.io/shares/c.default/c-0"
		cfg := Config{
			Addr: f.addr, Protocol: p, StateDir: dir, SaveDelay: time.Millisecond, AnswerTimeout: 50 * time.Millisecond,
			Instance: resource.Instance{Client: "c-0", Service: "c"},
		}
		f.set(t, resource.SharesType, own, someShares(t, own, map[string]any{"s": 3}))
		r := start(t, cfg)
		r.expect("connected true")
		r.Watch("a")
		r.expect(chain...)
		r.none("x") // no limit is shared: nothing is asked for

		f.set(t, resource.ClusterType, "s", limited(t, "s", 10))
		r.expect("cluster s", "shares map[s:3] map[]")
		f.set(t, resource.SharesType, own, someShares(t, own, map[string]any{"s": 4}))
		r.expect("shares map[s:4] map[]")

		// Another cluster's limit is in the same resource.
		f.set(t, resource.ClusterType, "t", limited(t, "t", 10))
		r.Watch("b")
		r.expect("cluster t", "endpoints t 1", "route b t")
		f.set(t, resource.ClusterType, "s", aCluster("s", ""))
		r.expect("cluster s")
		f.set(t, resource.SharesType, own, someShares(t, own, map[string]any{"s": 4, "t": 5}))
		r.expect("shares map[s:4 t:5] map[]")

		// Refused, or gone: what was given stays.
		f.set(t, resource.SharesType, own, someShares(t, own, map[string]any{"t": -1}))
		next(t, f.nacks)
		f.set(t, resource.SharesType, own, nil)
		r.none("y")
		r.stop()

		// Without a control plane, under another name after a restart.
		cfg.Addr, cfg.Instance.Client = nobodyListens, "c-1"
		r = start(t, cfg)
		got := map[string]bool{}
		for range 7 {
			got[next(t, r.events)] = true
		}
		if !got["shares map[s:4 t:5] map[]"] {
			t.Errorf("%v", got)
		}
		r.stop()

		// With one: its word counts, and is asked for under the new name.
		own = "meshd.io/shares/c.default/c-1"
		f.set(t, resource.SharesType, own, someShares(t, own, map[string]any{"t": 6}))
		cfg.Addr = f.addr
		r = start(t, cfg)
		for next(t, r.events) != "shares map[t:6] map[]" {
		}
		// No limit is shared any more, and then nothing is asked for.
		f.set(t, resource.ClusterType, "t", aCluster("t", ""))
		r.expect("cluster t")
		r.none("z")
		f.set(t, resource.SharesType, own, someShares(t, own, map[string]any{"t": 7}))
		r.none("z")
	})
}

// A route's rate is a limit, too, in a RouteConfiguration or in the Listener.
func TestSharesOfRates(t *testing.T) {
	rc := &resource.RouteConfig{VirtualHosts: []resource.VirtualHost{{Routes: []resource.Route{{}, {RateLimit: resource.RateLimit{PerSecond: 1, Shared: true}}}}}}
	own := resource.RouteConfig{VirtualHosts: []resource.VirtualHost{{Routes: []resource.Route{{RateLimit: resource.RateLimit{PerSecond: 1}}}}}}
	for name, c := range map[string]struct {
		e    entry
		want bool
	}{
		"nothing":           {entry{}, false},
		"of each client":    {entry{routes: &own}, false},
		"routes":            {entry{routes: rc}, true},
		"listener":          {entry{listener: &resource.Listener{RouteName: "r"}}, false},
		"listener's routes": {entry{listener: &resource.Listener{Routes: rc}}, true},
		"cluster":           {entry{cluster: &resource.Cluster{SharedRequests: 1}}, true},
	} {
		if got := c.e.limited(); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
