package control

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/xds/cache"
	"github.com/meshd/meshd/xds/resource"
)

func state(services, instances int) []mesh.Instance {
	var out []mesh.Instance
	for s := range services {
		for i := range instances {
			n := s*instances + i
			out = append(out, mesh.Instance{
				ID: fmt.Sprintf("i-%d", n), Namespace: "default", Service: fmt.Sprintf("s-%d", s), ServicePort: 8080,
				Address: netip.AddrFrom4([4]byte{10, byte(n >> 16), byte(n >> 8), byte(n)}), Port: 80, Weight: 1, Ready: true,
			})
		}
	}
	return out
}

func TestView(t *testing.T) {
	v := newView(mesh.Build(nil, time.Now(), nil, state(1, 2)), nil).cache()
	for _, c := range []struct {
		typ, namespace, name string
		want                 bool
	}{
		{resource.ListenerType, "default", "s-0", true},
		{resource.ListenerType, "default", "s-0:8080", true},
		{resource.ListenerType, "default", "s-0.default.svc.cluster.local:8080", true},
		{resource.ListenerType, "shop", "s-0", false},
		{resource.ListenerType, "shop", "s-0.default", true},
		{resource.ListenerType, "default", "s-0:81", false},
		{resource.RouteType, "", "default/s-0:8080", true},
		{resource.ClusterType, "", "default/s-0:8080", true},
		{resource.EndpointsType, "", "default/s-0:8080", true},
		{resource.EndpointsType, "", "default/s-0:08080", false},
		{resource.EndpointsType, "", "default/s-1:8080", false},
		{"type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret", "", "default/s-0:8080", false},
	} {
		body := v.Resource(cache.Key{Type: c.typ, Namespace: c.namespace, Name: c.name})
		if got := body != nil; got != c.want {
			t.Errorf("%s %s %s: %v, want %v", c.typ, c.namespace, c.name, got, c.want)
		}
		if body != nil && body.TypeUrl != c.typ {
			t.Errorf("%s has type %s", c.name, body.TypeUrl)
		}
	}
	if got := v.Names(resource.ClusterType); len(got) != 1 || got[0] != "default/s-0:8080" {
		t.Errorf("clusters %q", got)
	}
	if got := v.Names(resource.ListenerType); len(got) != 1 || v.Resource(cache.Key{Type: resource.ListenerType, Namespace: "x", Name: got[0]}) == nil {
		t.Errorf("listeners %q", got)
	}
}

// A new view makes again what is of a service that changed, and nothing else.
func TestViewTakesOver(t *testing.T) {
	policy, errs := mesh.Parse("", []byte(`{"apiVersion":"meshd.io/v1alpha1","kind":"TrafficPolicy","metadata":{"name":"p"},
		"spec":{"targetRefs":[{"kind":"Service","name":"s-1"}],"balancer":"round_robin"}}`))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	instances := state(3, 2)
	first := mesh.Build(nil, time.Now(), nil, instances)
	changed := slices.Clone(instances)
	changed[0].Weight = 7
	second := mesh.Build(first, time.Now(), policy, changed)
	old := newView(first, nil)
	key := func(typ string, service int) cache.Key {
		if typ == resource.ListenerType {
			return cache.Key{Type: typ, Namespace: "default", Name: fmt.Sprintf("s-%d", service)}
		}
		return cache.Key{Type: typ, Name: fmt.Sprintf("default/s-%d:8080", service)}
	}
	types := []string{resource.ListenerType, resource.RouteType, resource.ClusterType, resource.EndpointsType}
	for _, typ := range types {
		for service := range 3 {
			old.resource(key(typ, service))
		}
	}
	v := newView(second, old)
	again := map[string]bool{"0 " + resource.EndpointsType: true, "1 " + resource.ClusterType: true}
	for _, typ := range types {
		for service := range 3 {
			was, is := old.resource(key(typ, service)), v.resource(key(typ, service))
			if proto.Equal(was, is) == again[fmt.Sprint(service, " ", typ)] {
				t.Errorf("%s of s-%d: changed %v", typ, service, !proto.Equal(was, is))
			}
			if service == 2 && was != is {
				t.Errorf("%s of s-2 was made again", typ)
			}
		}
	}
}

// BenchmarkPush is what one change costs when 1,000 services of 10 instances
// are all subscribed to.
func BenchmarkPush(b *testing.B) {
	instances := state(1000, 10)
	prev := mesh.Build(nil, time.Now(), nil, instances)
	c := cache.New()
	v := newView(prev, nil)
	c.Set(v.cache())
	s := c.Subscribe()
	for _, k := range prev.Keys() {
		s.Add(cache.Key{Type: resource.ListenerType, Namespace: "default", Name: k.Name},
			cache.Key{Type: resource.RouteType, Name: k.String()},
			cache.Key{Type: resource.ClusterType, Name: k.String()},
			cache.Key{Type: resource.EndpointsType, Name: k.String()})
	}
	s.Take()
	b.ReportAllocs()
	for b.Loop() {
		instances[0].Weight ^= 2
		prev = mesh.Build(prev, time.Now(), nil, instances)
		v = newView(prev, v)
		c.Set(v.cache())
		if len(s.Take()) != 1 {
			b.Fatal("not one change")
		}
	}
}
