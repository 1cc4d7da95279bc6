package balancer

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var policies = slices.Sorted(maps.Keys(builders()))

// assignment lists n endpoints; edit may change each.
func assignment(n int, edit func(i int, e *resource.Endpoint)) *resource.Endpoints {
	res := &resource.Endpoints{}
	for i := range n {
		addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 80)
		e := resource.Endpoint{Addr: addr, ID: fmt.Sprint(i), Weight: 1}
		if edit != nil {
			edit(i, &e)
		}
		res.Endpoints = append(res.Endpoints, e)
	}
	return res
}

// cluster makes a set of n endpoints, each with a breaker.
func cluster(n int, cfg breaker.Config, edit func(i int, e *resource.Endpoint)) *endpoint.Set {
	var none *endpoint.Set
	set, _ := none.Update(assignment(n, edit), func(r resource.Endpoint) *endpoint.Endpoint {
		return endpoint.New(r, breaker.New(r.Addr.String(), cfg, nil), nil)
	})
	return set
}

// picker makes a Picker of a policy as cfg says; the clock stands at 0.
func picker(t testing.TB, policy string, set *endpoint.Set, cfg ...Config) Picker {
	t.Helper()
	c := Config{Balancing: resource.DefaultBalancing()}
	c.PanicThreshold = 0
	if len(cfg) > 0 {
		c = cfg[0]
	}
	c.Policy, c.Probe = policy, func(*Pool, *endpoint.Endpoint) {}
	p, err := New(c, set)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func pick(p Picker, tried ...*endpoint.Endpoint) *endpoint.Endpoint {
	e, _ := p.Pick(Info{Tried: tried})
	return e
}

// trip opens the breaker of an endpoint, which opens at its first failure.
func trip(e *endpoint.Endpoint) {
	if ticket, ok := e.Breaker.Allow(); ok {
		e.Breaker.Done(ticket, false)
	}
}

var brittle = breaker.Config{ConsecutiveFailures: 1, OpenFor: time.Second}
