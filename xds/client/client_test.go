package client

import (
	"strings"
	"testing"
	"time"

	"github.com/meshd/meshd/xds/resource"
)

// both runs a test in both variants of ADS.
func both(t *testing.T, f func(t *testing.T, p Protocol)) {
	t.Run("delta", func(t *testing.T) { f(t, Delta) })
	t.Run("sotw", func(t *testing.T) { f(t, SotW) })
}

var chain = []string{"cluster s", "endpoints s 1", "route a s"}

func TestChainUpdateAndForget(t *testing.T) {
	both(t, func(t *testing.T, p Protocol) {
		f := startFake(t, "", nil)
		f.service(t, "a", "s", 1)
		r := start(t, Config{Addr: f.addr, Protocol: p})
		r.Watch("a")
		r.Watch("a")
		r.expect("connected true")
		r.expect(chain...)
		f.set(t, resource.EndpointsType, "s", someEndpoints("s", 1, 2))
		r.expect("endpoints s 2")
		f.set(t, resource.EndpointsType, "s", someEndpoints("s"))
		r.expect("endpoints s 0")

		// A second authority shares everything but the listener.
		f.set(t, resource.ListenerType, "b", aListener("b", nil, "s"))
		r.Watch("b")
		r.expect("route b s")
		r.Unwatch("a")
		r.none("x")
		r.Unwatch("b")
		r.expect("cluster s nil", "endpoints s nil")

		// And it is asked for again from the start.
		r.Watch("a")
		r.expect("cluster s", "endpoints s 0", "route a s")
	})
}

func TestUnknownNames(t *testing.T) {
	both(t, func(t *testing.T, p Protocol) {
		f := startFake(t, "", nil)
		r := start(t, Config{Addr: f.addr, Protocol: p, AnswerTimeout: 50 * time.Millisecond})
		r.expect("connected true")
		r.Watch("a")
		r.expect("route a nil")
		// A listener whose routes do not exist; in state of the world only time tells.
		f.set(t, resource.ListenerType, "b", aListener("b", nil, "none"))
		r.Watch("b")
		r.expect("route b nil")
		// It is pushed as soon as it exists.
		f.service(t, "a", "s", 1)
		r.expect(chain...)
		// And goes.
		f.set(t, resource.ListenerType, "a", nil)
		r.expect("route a nil", "cluster s nil", "endpoints s nil")
	})
}

// TestRoutesWaitForTheirClusters: what is replaced stays until what replaces it
// is complete.
func TestRoutesWaitForTheirClusters(t *testing.T) {
	both(t, func(t *testing.T, p Protocol) {
		f := startFake(t, "", nil)
		f.service(t, "a", "s", 1)
		r := start(t, Config{Addr: f.addr, Protocol: p, AnswerTimeout: time.Hour})
		r.Watch("a")
		r.expect("connected true")
		r.expect(chain...)
		f.set(t, resource.ListenerType, "a", aListener("a", aRoute("inline", "t"), ""))
		f.set(t, resource.ClusterType, "t", aCluster("t", "t-eds"))
		r.expect2("cluster t", "cluster t nil") // it may have been asked for before it was there
		f.set(t, resource.EndpointsType, "t-eds", someEndpoints("t-eds", 1, 2, 3))
		for seen := ""; seen != "route a t"; {
			seen = next(t, r.events)
			if seen == "cluster s nil" {
				t.Fatal("the old cluster went before the new routes were in force")
			}
		}
		r.expect("cluster s nil", "endpoints s nil")
	})
}

// expect2 waits for the first, and lets others pass that come before it.
func (r *run) expect2(want string, pass ...string) {
	r.t.Helper()
	for {
		got := next(r.t, r.events)
		if got == want {
			return
		}
		if !strings.Contains(strings.Join(pass, "|")+"|route a t|route a nil", got) {
			r.t.Fatalf("event %q, want %q", got, want)
		}
	}
}

func TestRefusedResourcesLeaveTheLastGoodOnes(t *testing.T) {
	both(t, func(t *testing.T, p Protocol) {
		f := startFake(t, "", nil)
		f.service(t, "a", "s", 1)
		f.service(t, "b", "s2", 1, 2)
		r := start(t, Config{Addr: f.addr, Protocol: p})
		r.Watch("a")
		r.expect("connected true")
		r.expect(chain...)
		r.Watch("b")
		r.expect("cluster s2", "endpoints s2 2", "route b s2")

		f.set(t, resource.EndpointsType, "s", someEndpoints("s", 7, 7)) // twice
		if nack := next(t, f.nacks); !strings.Contains(nack, `endpoints of "s": endpoints[0].lb_endpoints[1]: address 127.0.0.1:7 is given twice`) {
			t.Errorf("NACK says %q", nack)
		}
		// While one is bad, the others are applied.
		f.set(t, resource.EndpointsType, "s2", someEndpoints("s2", 1, 2, 3))
		r.expect("endpoints s2 3")
		f.set(t, resource.EndpointsType, "s", someEndpoints("s", 1, 2, 3, 4))
		r.expect("endpoints s 4")
	})
}

// TestRefusedFromTheStart: a name that has never had a valid answer is not
// known, rather than held for ever.
func TestRefusedFromTheStart(t *testing.T) {
	both(t, func(t *testing.T, p Protocol) {
		f := startFake(t, "", nil)
		f.service(t, "a", "s", 1)
		bad := aListener("a", nil, "s")
		bad.ApiListener = nil
		f.set(t, resource.ListenerType, "a", bad)
		r := start(t, Config{Addr: f.addr, Protocol: p})
		r.Watch("a")
		r.expect("connected true", "route a nil")
		if nack := next(t, f.nacks); !strings.Contains(nack, `listener "a": api_listener: missing`) {
			t.Errorf("NACK says %q", nack)
		}
		f.set(t, resource.ListenerType, "a", aListener("a", nil, "s"))
		r.expect(chain...)
	})
}

// TestRefusalStorm: a control plane that repeats what was refused does not keep
// the sidecar busy.
func TestRefusalStorm(t *testing.T) {
	f := startFake(t, "", nil)
	f.stormy = true
	bad := aListener("a", nil, "s")
	bad.ApiListener = nil
	f.set(t, resource.ListenerType, "a", bad)
	r := start(t, Config{Addr: f.addr, Protocol: SotW})
	r.Watch("a")
	r.expect("connected true", "route a nil")
	next(t, f.nacks)
	first := time.Now()
	next(t, f.nacks)
	if d := time.Since(first); d < brakeFor/2 {
		t.Errorf("refused again after %v, want %v", d, brakeFor)
	}
	// What is good goes through meanwhile.
	f.service(t, "a", "s", 1)
	r.expect(chain...)
}

func TestStaticStabilityAndReconnect(t *testing.T) {
	both(t, func(t *testing.T, p Protocol) {
		f := startFake(t, "", nil)
		f.service(t, "a", "s", 1)
		f.service(t, "gone", "g", 1)
		r := start(t, Config{Addr: f.addr, Protocol: p, AnswerTimeout: 100 * time.Millisecond})
		r.Watch("a")
		r.expect("connected true")
		r.expect(chain...)
		r.Watch("gone")
		r.expect("cluster g", "endpoints g 1", "route gone g")
		f.grpc.Stop()
		r.expect("connected false") // and nothing else
		r.Watch("new")

		f2 := startFake(t, f.addr, f)
		f2.set(t, resource.EndpointsType, "s", someEndpoints("s", 1, 2))
		f2.set(t, resource.ListenerType, "gone", nil)
		f2.set(t, resource.ListenerType, "new", aListener("new", nil, "s"))
		got := map[string]bool{}
		for range 6 {
			got[next(t, r.events)] = true
		}
		for _, want := range []string{"connected true", "endpoints s 2", "route gone nil", "cluster g nil", "endpoints g nil", "route new s"} {
			if !got[want] {
				t.Errorf("no %q in %v", want, got)
			}
		}
		r.none("x")
	})
}

func TestNode(t *testing.T) {
	both(t, func(t *testing.T, p Protocol) {
		f := startFake(t, "", nil)
		i := resource.Instance{Service: "c", Namespace: "shop"}
		r := start(t, Config{Addr: f.addr, Protocol: p, Instance: i})
		if n := next(t, f.nodes); n.GetCluster() != "c" || n.GetUserAgentName() != "meshd-sidecar" {
			t.Errorf("node %v", n)
		}
		if got := next(t, f.asked); got != "+C meshd.io/none" {
			t.Errorf("asked %q for nothing", got)
		}
		r.expect("connected true")
		i.ID, i.ServicePort, i.Addr, i.Weight, i.Ready, i.Zone = "c-0", 80, someAddr, 1, true, "z"
		r.SetInstance(i)
		n := next(t, f.nodes)
		if got, err := resource.DecodeInstance(n); err != nil || got != i || n.GetId() != "c.shop/c-0" || n.GetLocality().GetZone() != "z" {
			t.Errorf("node %v: %+v, %v", n, got, err)
		}
		f.grpc.Stop()
		r.expect("connected false")
		f2 := startFake(t, f.addr, f)
		if got, err := resource.DecodeInstance(next(t, f2.nodes)); err != nil || got != i {
			t.Errorf("after a restart: %+v, %v", got, err)
		}
	})
}

// TestSharedEndpoints: two clusters with one EDS name.
func TestSharedEndpoints(t *testing.T) {
	both(t, func(t *testing.T, p Protocol) {
		f := startFake(t, "", nil)
		f.service(t, "a", "s", 1)
		f.set(t, resource.ClusterType, "t", aCluster("t", "s"))
		f.set(t, resource.ListenerType, "b", aListener("b", aRoute("inline", "t"), ""))
		r := start(t, Config{Addr: f.addr, Protocol: p})
		r.Watch("a")
		r.expect("connected true")
		r.expect(chain...)
		r.Watch("b")
		r.expect("cluster t", "endpoints t 1", "route b t")
		r.Unwatch("a")
		r.expect("cluster s nil", "endpoints s nil")
		f.set(t, resource.EndpointsType, "s", someEndpoints("s", 1, 2))
		r.expect("endpoints t 2")
	})
}

func TestConfig(t *testing.T) {
	if _, err := New(Config{Addr: "nowhere", Logger: quiet()}); err == nil || !strings.Contains(err.Error(), `"nowhere" is not valid, want host:port`) {
		t.Errorf("error %v", err)
	}
	if _, err := New(Config{Addr: "h:1"}); err == nil {
		t.Error("no logger: accepted")
	}
	c, err := New(Config{Addr: "h:1", Logger: quiet()})
	if err != nil {
		t.Fatal(err)
	}
	for i := range MaxWatches {
		if err := c.Watch(strings.Repeat("x", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Watch("one more"); err != ErrTooMany {
		t.Errorf("error %v", err)
	}
	c.Unwatch("x")
	if err := c.Watch("one more"); err != nil {
		t.Error(err)
	}
}
