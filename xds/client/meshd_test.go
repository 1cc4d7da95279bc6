package client

import (
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshd/meshd/xds/cache"
	"github.com/meshd/meshd/xds/resource"
	"github.com/meshd/meshd/xds/server"
)

// A meshd is the real server and cache, with resources by type and name.
type meshd struct {
	t     *testing.T
	addr  string
	cache *cache.Cache
	srv   *server.Server
	joins chan resource.Instance
	gone  chan string
	res   map[cache.Key]*anypb.Any
}

func startMeshd(t *testing.T) *meshd {
	t.Helper()
	m := &meshd{
		t: t, cache: cache.New(), res: map[cache.Key]*anypb.Any{},
		joins: make(chan resource.Instance, 10), gone: make(chan string, 10),
	}
	srv := server.New(server.Config{Cache: m.cache, Hooks: server.Hooks{Join: func(i resource.Instance) (server.Member, error) {
		m.joins <- i
		return server.Member{
			Update: func(i resource.Instance) error { m.joins <- i; return nil },
			Gone:   func() { m.gone <- i.ID },
		}, nil
	}}})
	m.srv = srv
	g := grpc.NewServer(server.Options()...)
	srv.Register(g)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m.addr = lis.Addr().String()
	var served sync.WaitGroup
	served.Go(func() { _ = g.Serve(lis) })
	t.Cleanup(func() { srv.Closing(); g.Stop(); served.Wait(); srv.Wait() })
	return m
}

// set replaces a resource, or removes it where v is nil.
func (m *meshd) set(typeURL, name string, v proto.Message) {
	m.t.Helper()
	m.res = maps.Clone(m.res)
	key := cache.Key{Type: typeURL, Name: name}
	delete(m.res, key)
	if v != nil {
		m.res[key] = pack(v)
	}
	res := m.res
	m.cache.Set(cache.View{
		Resource: func(k cache.Key) *anypb.Any { return res[cache.Key{Type: k.Type, Name: k.Name}] },
		Names: func(typ string) []string {
			var names []string
			for k := range res {
				if k.Type == typ {
					names = append(names, k.Name)
				}
			}
			slices.Sort(names)
			return names
		},
	})
}

// A virtual address is a name like any other.
func TestAddresses(t *testing.T) {
	both(t, func(t *testing.T, p Protocol) {
		m := startMeshd(t)
		m.set(resource.EndpointsType, "s", someEndpoints("s", 1))
		m.set(resource.ClusterType, "s", aCluster("s", ""))
		m.set(resource.RouteType, "s", aRoute("s", "s"))
		r := start(t, Config{Addr: m.addr, Protocol: p})
		r.expect("connected true")
		for i, addr := range []string{"10.96.0.5:5432", "[fd00:96::5]:5432"} {
			m.set(resource.ListenerType, addr, aListener(addr, nil, "s"))
			r.Watch(addr)
			if i == 0 {
				r.expect("cluster s", "endpoints s 1")
			}
			r.expect("route " + addr + " s")
		}
		r.stop()
	})
}

func TestAgainstMeshd(t *testing.T) {
	both(t, func(t *testing.T, p Protocol) {
		m := startMeshd(t)
		m.set(resource.EndpointsType, "other", someEndpoints("other", 9)) // not ours to hear of
		i := resource.Instance{ID: "c-0", Service: "c", Namespace: "default", ServicePort: 80, Addr: someAddr, Weight: 1}
		r := start(t, Config{Addr: m.addr, Protocol: p, Instance: i})
		r.expect("connected true")
		if got := next(t, m.joins); got != i {
			t.Errorf("joined as %+v", got)
		}
		r.Watch("a")
		r.expect("route a nil")
		m.set(resource.EndpointsType, "s", someEndpoints("s", 1))
		m.set(resource.ClusterType, "s", aCluster("s", ""))
		m.set(resource.RouteType, "s", aRoute("s", "s"))
		m.set(resource.ListenerType, "a", aListener("a", nil, "s"))
		r.expect(chain...)
		m.set(resource.EndpointsType, "s", someEndpoints("s", 1, 2))
		r.expect("endpoints s 2")
		m.set(resource.EndpointsType, "s", someEndpoints("s", 7, 7)) // refused
		m.set(resource.EndpointsType, "s", someEndpoints("s", 1, 2, 3))
		r.expect("endpoints s 3")

		i.Ready = true
		r.SetInstance(i)
		if got := next(t, m.joins); got != i {
			t.Errorf("updated to %+v", got)
		}
		r.Unwatch("a")
		r.expect("cluster s nil", "endpoints s nil")
		r.Watch("a")
		r.expect("cluster s", "endpoints s 3", "route a s")
		m.set(resource.ListenerType, "a", nil)
		r.expect("route a nil", "cluster s nil", "endpoints s nil")
		r.none("x")
		r.stop()
		if id := next(t, m.gone); id != "c-0" {
			t.Errorf("%q left", id)
		}
	})
}

// What a client refuses, meshd says, until the client has a newer version of it.
func TestRefusalIsOver(t *testing.T) {
	both(t, func(t *testing.T, p Protocol) {
		m := startMeshd(t)
		rejects := func(want string) {
			t.Helper()
			timeout := time.After(10 * time.Second)
			for {
				var why string
				for _, c := range m.srv.Clients() {
					for _, h := range c.Has {
						why += h.Rejected
					}
				}
				if want == "" && why == "" || want != "" && strings.Contains(why, want) {
					return
				}
				select {
				case <-time.After(5 * time.Millisecond):
				case <-timeout:
					t.Fatalf("rejects %q, want %q", why, want)
				}
			}
		}
		for _, s := range []string{"s", "s2"} {
			m.set(resource.EndpointsType, s, someEndpoints(s, 1))
			m.set(resource.ClusterType, s, aCluster(s, ""))
		}
		m.set(resource.RouteType, "s", aRoute("s", "s", "s2"))
		m.set(resource.ListenerType, "a", aListener("a", nil, "s"))
		r := start(t, Config{Addr: m.addr, Protocol: p, Instance: resource.Instance{Service: "c", Client: "c-0"}})
		r.expect("connected true")
		r.Watch("a")
		for next(t, r.events) != "route a s,s2" {
		}
		rejects("")
		m.set(resource.EndpointsType, "s", someEndpoints("s", 7, 7))
		rejects(`endpoints of "s"`)
		m.set(resource.EndpointsType, "s2", someEndpoints("s2", 1, 2)) // good, and no answer to the refusal
		r.expect("endpoints s2 2")
		m.set(resource.EndpointsType, "s2", someEndpoints("s2", 8, 8))
		rejects(`endpoints of "s2"`)
		m.set(resource.EndpointsType, "s2", someEndpoints("s2", 1))
		r.expect("endpoints s2 1")
		rejects(`endpoints of "s"`)
		m.set(resource.EndpointsType, "s", someEndpoints("s", 7))
		r.expect("endpoints s 1")
		rejects("")
		r.stop()
	})
}
