package endpoint

import (
	"net/netip"
	"testing"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/xds/resource"
)

func res(addr string) resource.Endpoint {
	return resource.Endpoint{Addr: netip.MustParseAddrPort(addr), Weight: 1}
}

func TestUpdateKeepsWhatIsKnownOfAnAddress(t *testing.T) {
	made := 0
	make := func(r resource.Endpoint) *Endpoint {
		made++
		return New(r, breaker.New(r.Addr.String(), breaker.Config{}, nil), made)
	}
	a, b, c := res("10.0.0.1:80"), res("10.0.0.2:80"), res("[fd00::1]:80")
	var none *Set
	first, gone := none.Update(&resource.Endpoints{Endpoints: []resource.Endpoint{a, b}}, make)
	if first.Len() != 2 || len(gone) != 0 || made != 2 {
		t.Fatalf("%d endpoints, %d gone, %d made", first.Len(), len(gone), made)
	}
	oldA, oldB := first.ByAddress(a.Addr), first.ByAddress(b.Addr)
	oldB.Load.Start(0)
	oldB.Requests.Add(7)

	b2 := b
	b2.Weight, b2.Health = 5, resource.Draining
	twice := a
	twice.Priority = 1
	second, gone := first.Update(&resource.Endpoints{Endpoints: []resource.Endpoint{c, b2, a, twice}}, make)
	if second.Len() != 3 || len(gone) != 0 || made != 3 {
		t.Fatalf("%d endpoints, %d gone, %d made", second.Len(), len(gone), made)
	}
	if second.ByAddress(a.Addr) != oldA {
		t.Error("an endpoint that did not change was replaced")
	}
	newB := second.ByAddress(b.Addr)
	if newB == oldB || newB.State != oldB.State || newB.Weight != 5 || newB.Health != resource.Draining {
		t.Errorf("changed endpoint: %+v", newB)
	}
	if oldB.Weight != 1 || newB.Load.InFlight() != 1 || newB.Requests.Load() != 7 || newB.Attachment != 2 {
		t.Error("the change reached into the older Set, or state was lost")
	}
	if e := second.Endpoints()[0]; e.Address != "[fd00::1]:80" || second.ByAddress(c.Addr) != e {
		t.Errorf("first endpoint is %s", e.Address)
	}

	third, gone := second.Update(nil, make)
	if third.Len() != 0 || len(gone) != 3 || first.Len() != 2 {
		t.Fatalf("%d left, %d gone", third.Len(), len(gone))
	}
	again, _ := third.Update(&resource.Endpoints{Endpoints: []resource.Endpoint{a}}, make)
	if again.ByAddress(a.Addr).State == oldA.State || made != 4 {
		t.Error("an address that came back still had its old state")
	}
}

func TestNewBreakersKeepTheRest(t *testing.T) {
	var none *Set
	set, _ := none.Update(&resource.Endpoints{Endpoints: []resource.Endpoint{res("10.0.0.1:80")}},
		func(r resource.Endpoint) *Endpoint { return New(r, breaker.New("old", breaker.Config{}, nil), "pool") })
	old := set.Endpoints()[0]
	old.Requests.Add(5)
	old.Failures.Add(2)
	old.Load.call(second, 10*ms, false)
	old.Load.Start(0) // ends in the old State
	fresh := breaker.New("new", breaker.Config{Disabled: true}, nil)
	e := set.WithBreakers(func(*Endpoint) *breaker.Breaker { return fresh }).ByAddress(old.Addr)
	if e.Breaker != fresh || old.Breaker == fresh || e.Attachment != "pool" {
		t.Errorf("%+v", e)
	}
	if e.Requests.Load() != 5 || e.Failures.Load() != 2 || e.Load.Latency() != 10*ms || e.Load.InFlight() != 0 {
		t.Error("counts or price were lost")
	}
}
