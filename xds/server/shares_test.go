package server

import (
	"slices"
	"sync"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshd/meshd/xds/cache"
	"github.com/meshd/meshd/xds/resource"
)

// shares has a resource for each client, and a Cluster for all.
type shares struct {
	mu sync.Mutex
	of map[string]float64 // by node.id
}

func (s *shares) set(id string, share float64) cache.Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.of[id] = share
	return cache.Key{Type: resource.SharesType, Namespace: id, Name: resource.SharesName(id)}
}

func (s *shares) view() cache.View {
	clusters := world{cds + " c": "C"}.view()
	return cache.View{
		Resource: func(k cache.Key) *anypb.Any {
			if k.Type != resource.SharesType {
				return clusters.Resource(k)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			n, ok := s.of[k.Namespace]
			if !ok || k.Name != resource.SharesName(k.Namespace) {
				return nil
			}
			a, err := (&resource.Shares{Requests: map[string]float64{"c": n}}).Encode(k.Name)
			if err != nil {
				panic(err)
			}
			return a
		},
		Names: clusters.Names,
	}
}

func share(t *testing.T, a *anypb.Any) float64 {
	t.Helper()
	s, err := resource.DecodeShares(a)
	if err != nil {
		t.Fatal(err)
	}
	return s.Requests["c"]
}

func TestDeltaShares(t *testing.T) {
	f := start(t, Config{})
	s := &shares{of: map[string]float64{"a": 1, "b": 2}}
	f.cache.Set(s.view())
	ask := func(id string, names ...string) *deltaPeer {
		p := f.delta()
		p.send(&discovery.DeltaDiscoveryRequest{
			TypeUrl: resource.SharesType, ResourceNamesSubscribe: names, Node: &core.Node{Id: id},
		})
		return p
	}
	expect := func(p *deltaPeer, name string, want float64) string {
		t.Helper()
		r := p.next()
		if len(r.Resources) != 1 || r.Resources[0].Name != name || share(t, r.Resources[0].Resource) != want {
			t.Fatalf("got %v, want %s with %v", r, name, want)
		}
		return r.Resources[0].Version
	}
	a, b := ask("a", "meshd.io/shares/a"), ask("b", "meshd.io/shares/b")
	was := expect(a, "meshd.io/shares/a", 1)
	expect(b, "meshd.io/shares/b", 2)

	// Of a change only that client hears.
	if n := f.cache.Refresh(s.set("a", 5)); n != 1 {
		t.Errorf("%d changed", n)
	}
	expect(a, "meshd.io/shares/a", 5)
	deltaFence(t, b)
	if n := f.cache.Refresh(s.set("a", 5)); n != 0 {
		t.Errorf("%d changed", n)
	}
	deltaFence(t, a)

	// Another's name is one that does not exist; so is everybody's.
	a.send(&discovery.DeltaDiscoveryRequest{TypeUrl: resource.SharesType, ResourceNamesSubscribe: []string{"meshd.io/shares/b"}})
	if r := a.next(); len(r.Resources) != 0 || !slices.Equal(r.RemovedResources, []string{"meshd.io/shares/b"}) {
		t.Errorf("another's name: %v", r)
	}
	f.cache.Refresh(s.set("b", 7))
	expect(b, "meshd.io/shares/b", 7)
	deltaFence(t, a)
	if r := ask("a").next(); len(r.Resources) != 0 {
		t.Errorf("by wildcard: %v", r)
	}
	if r := ask("", "meshd.io/shares/").next(); len(r.Resources) != 0 {
		t.Errorf("without a name: %v", r)
	}

	// One that comes back is told what is new, and nothing else.
	a.stop()
	f.cache.Refresh(s.set("a", 1))
	a = f.delta()
	a.send(&discovery.DeltaDiscoveryRequest{
		TypeUrl: resource.SharesType, ResourceNamesSubscribe: []string{"meshd.io/shares/a"}, Node: &core.Node{Id: "a"},
		InitialResourceVersions: map[string]string{"meshd.io/shares/a": was},
	})
	deltaFence(t, a)
	f.cache.Refresh(s.set("a", 9))
	expect(a, "meshd.io/shares/a", 9)
}

func TestSotWShares(t *testing.T) {
	f := start(t, Config{})
	s := &shares{of: map[string]float64{"a": 1, "b": 2}}
	f.cache.Set(s.view())
	p := f.sotw()
	names := []string{"meshd.io/shares/a", "meshd.io/shares/b"}
	p.send(&discovery.DiscoveryRequest{TypeUrl: resource.SharesType, ResourceNames: names, Node: &core.Node{Id: "a"}})
	r := p.next()
	for i, want := range []float64{1, 4} {
		if len(r.Resources) != 1 || share(t, r.Resources[0]) != want {
			t.Fatalf("response %d: %v, want one resource with %v", i, r, want)
		}
		p.send(&discovery.DiscoveryRequest{TypeUrl: resource.SharesType, ResourceNames: names, ResponseNonce: r.Nonce, VersionInfo: r.VersionInfo})
		f.cache.Refresh(s.set("b", 3)) // not ours to hear of
		f.cache.Refresh(s.set("a", want+3))
		r = p.next()
	}
}

// The cache knows who has a resource by its name.
func TestOwners(t *testing.T) {
	f := start(t, Config{})
	f.cache.Set((&shares{}).view())
	for _, id := range []string{"b", "a", "a", ""} {
		p := f.delta()
		p.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds, ResourceNamesSubscribe: []string{"c"}, Node: &core.Node{Id: id}})
		p.next()
	}
	wild := f.delta()
	wild.send(&discovery.DeltaDiscoveryRequest{TypeUrl: cds, Node: &core.Node{Id: "envoy"}})
	wild.next()
	key := cache.Key{Type: cds, Name: "c"}
	if got := f.cache.Owners(key); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("owners %q", got)
	}
	if got := f.cache.Owners(cache.Key{Type: cds, Name: "x"}); got != nil {
		t.Errorf("owners of nothing %q", got)
	}
}
