package control

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/telemetry"
	"github.com/meshd/meshd/xds/cache"
	"github.com/meshd/meshd/xds/resource"
)

// A rig is a divider over clients that are subscriptions, with what they want.
type rig struct {
	t       *testing.T
	shares  *shares
	clients map[string]*cache.Subscriber
	told    map[string]int // how often each was told something

	mu     sync.Mutex // guards the rest
	limits []sharedLimit
	demand map[string]telemetry.Demand
}

func newRig(t *testing.T, limits ...sharedLimit) *rig {
	r := &rig{t: t, limits: limits, demand: map[string]telemetry.Demand{}, clients: map[string]*cache.Subscriber{}, told: map[string]int{}}
	c := cache.New()
	r.shares = &shares{
		cache:  c,
		limits: func() []sharedLimit { r.mu.Lock(); defer r.mu.Unlock(); return r.limits },
		follow: func([]string) {},
		demands: func(string) map[string]telemetry.Demand {
			r.mu.Lock()
			defer r.mu.Unlock()
			return maps.Clone(r.demand)
		},
		log: slog.New(slog.DiscardHandler),
	}
	c.Set(r.shares.over(newView(mesh.Build(nil, time.Now(), nil, nil), nil).cache()))
	return r
}

// comes is a client that calls a service, and asks for its shares.
func (r *rig) comes(id, service string) *cache.Subscriber {
	s := r.shares.cache.Subscribe()
	s.SetOwner(id)
	s.Add(cache.Key{Type: resource.ClusterType, Name: service}, cache.Key{Type: resource.RouteType, Name: service}, shareKey(id))
	r.clients[id] = s
	r.read()
	return s
}

func (r *rig) goes(id string) {
	r.clients[id].Close()
	delete(r.clients, id)
}

// read counts who was told something of its shares.
func (r *rig) read() {
	for id, s := range r.clients {
		for _, ch := range s.Take() {
			if ch.Key == shareKey(id) && ch.Resource != nil {
				r.told[id]++
			}
		}
	}
}

// has is what a client was told last.
func (r *rig) has(id string) *resource.Shares {
	r.t.Helper()
	body := r.shares.resource(shareKey(id))
	if body == nil {
		return &resource.Shares{}
	}
	s, err := resource.DecodeShares(body)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func (r *rig) check(what string, rates map[string]float64) {
	r.t.Helper()
	sum, limit := 0.0, r.limits[0].rate
	for id := range r.clients {
		got := r.has(id).Rates[checkoutService]
		sum += got
		if want := rates[id]; math.Abs(got-want) > 0.12*want+0.001 {
			r.t.Errorf("%s: %s has %v, want about %v", what, id, got, want)
		}
	}
	if sum > limit*(1+1e-9) || len(r.clients) > 0 && sum < limit*0.999 {
		r.t.Errorf("%s: %v of %v are given", what, sum, limit)
	}
}

const checkoutService = "default/checkout:8080"

// Clients come, go and change their mind; virtual time passes between.
func TestSharesFollowClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sharedLimit{service: checkoutService, rate: 100})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); r.shares.run(ctx, 0) }()
		second := func() {
			time.Sleep(shareEvery)
			synctest.Wait()
			r.read()
		}
		wants := func(id string, rate float64) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.demand[id] = telemetry.Demand{Rate: rate}
		}
		synctest.Wait()

		r.comes("a", checkoutService)
		if got := r.has("a"); got.Rates != nil {
			t.Errorf("before anything is divided: %v", got)
		}
		second()
		r.check("alone", map[string]float64{"a": 100})
		r.comes("b", checkoutService)
		second()
		r.check("nobody has spoken", map[string]float64{"a": 50, "b": 50})

		wants("a", 500)
		wants("b", 20)
		second()
		r.check("b wants little", map[string]float64{"a": 79, "b": 21})
		was := maps.Clone(r.told)
		wants("a", 510) // hardly another demand
		second()
		if !maps.Equal(was, r.told) {
			t.Errorf("told without need: %v, then %v", was, r.told)
		}
		r.comes("c", checkoutService)
		second()
		r.check("c has said nothing yet", map[string]float64{"a": 45, "b": 21, "c": 33})
		wants("c", 0)
		second()
		r.check("c wants nothing", map[string]float64{"a": 75, "b": 21, "c": 3.3})
		wants("c", 1000)
		wants("a", 0)
		second()
		r.check("c wants all, a nothing", map[string]float64{"a": 3.3, "b": 21, "c": 75})

		r.goes("c")
		second()
		r.check("c is gone", map[string]float64{"a": 19, "b": 81})
		for id, n := range r.told {
			if n > 8 {
				t.Errorf("%s was told %d times in 8 s", id, n)
			}
		}

		// The limit itself goes, and with it the shares of those who ask.
		r.mu.Lock()
		r.limits = nil
		r.mu.Unlock()
		second()
		if got := r.has("a"); len(got.Rates) > 0 || got.Rates == nil {
			t.Errorf("the limit is gone: %v", got)
		}
		r.goes("a")
		r.goes("b")
		second()
		if len(r.shares.told) != 0 {
			t.Errorf("kept for nobody: %v", r.shares.told)
		}
		cancel()
		<-ended
	})
}

// A limit of calls at once is given in whole calls, one at least.
func TestSharesOfCallsAtOnce(t *testing.T) {
	r := newRig(t, sharedLimit{service: checkoutService, requests: 10})
	for i, n := range []float64{0, 3, 100} {
		id := fmt.Sprint(i)
		r.comes(id, checkoutService)
		r.demand[id] = telemetry.Demand{InFlight: n}
	}
	r.shares.divide()
	for id, want := range map[string]float64{"0": 1, "1": 3, "2": 6} {
		if got := r.has(id); got.Requests[checkoutService] != want || len(got.Rates) > 0 {
			t.Errorf("%s has %+v, want %v", id, got, want)
		}
	}
}

// Who does not call a service, or keeps no shares, takes none from the others.
func TestSharesOfOthers(t *testing.T) {
	r := newRig(t, sharedLimit{service: checkoutService, rate: 100}, sharedLimit{service: "default/cart:80", rate: 10, requests: 5})
	r.comes("a", checkoutService)
	r.comes("b", "default/cart:80")
	envoy := r.shares.cache.Subscribe()
	envoy.SetOwner("envoy")
	envoy.Add(cache.Key{Type: resource.ClusterType, Name: checkoutService}, cache.Key{Type: resource.RouteType, Name: checkoutService})
	r.shares.divide()
	if got := r.has("a"); !maps.Equal(got.Rates, map[string]float64{checkoutService: 99.999}) && got.Rates[checkoutService] != 100 || len(got.Requests) > 0 {
		t.Errorf("a has %+v", got)
	}
	if got := r.has("b"); got.Requests["default/cart:80"] != 5 || got.Rates[checkoutService] != 0 {
		t.Errorf("b has %+v", got)
	}
	if got := r.shares.resource(shareKey("envoy")); got != nil {
		t.Errorf("one that does not ask has %v", got)
	}
	if got := r.shares.resource(cache.Key{Type: resource.SharesType, Namespace: "b", Name: resource.SharesName("a")}); got != nil {
		t.Errorf("b was told what a has: %v", got)
	}
}

// Nothing is divided while the clients of a meshd that ended come back.
func TestSharesWaitForClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, sharedLimit{service: checkoutService, rate: 100})
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { defer close(ended); r.shares.run(ctx, returnTime) }()
		r.comes("a", checkoutService)
		time.Sleep(returnTime - time.Millisecond)
		if r.shares.resource(shareKey("a")) != nil {
			t.Error("the first that was back got all")
		}
		r.comes("b", checkoutService)
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		r.check("both are back", map[string]float64{"a": 50, "b": 50})
		cancel()
		<-ended
	})
}

func TestCoarseAndDigits(t *testing.T) {
	for _, d := range []float64{0.01, 0.5, 1, 7, 1234.5, 1e9} {
		if got := coarse(d); got < d*(1-1e-9) || got > d*step*(1+1e-9) {
			t.Errorf("coarse(%v) = %v", d, got)
		}
		if got := digits(d / 3); got > d/3 || got < d/3*0.9999 {
			t.Errorf("digits(%v) = %v", d/3, got)
		}
	}
	for _, d := range []float64{0, -1, math.NaN(), 1e-300} {
		if coarse(d) != 0 || digits(d) != 0 {
			t.Errorf("of %v: %v, %v", d, coarse(d), digits(d))
		}
	}
}

func TestSharedLimits(t *testing.T) {
	objects, errs := mesh.Parse("test", []byte(`
apiVersion: v1
kind: Service
metadata: {name: checkout}
spec: {ports: [{name: a, port: 8080}, {name: b, port: 81}]}
---
apiVersion: v1
kind: Service
metadata: {name: cart}
spec: {ports: [{port: 80}]}
---
apiVersion: meshd.io/v1alpha1
kind: TrafficPolicy
metadata: {name: shared}
spec: {targetRefs: [{kind: Service, name: checkout, port: 8080}], limits: {sharedRequests: 100}, rateLimit: {requests: 30, per: 2s, scope: mesh}}
---
apiVersion: meshd.io/v1alpha1
kind: TrafficPolicy
metadata: {name: own}
spec: {targetRefs: [{kind: Service, name: cart}], rateLimit: {requests: 30}}
`))
	if len(errs) > 0 {
		t.Fatal(errs)
	}
	got := sharedLimits(mesh.Build(nil, time.Now(), objects, nil))
	want := sharedLimit{service: "default/checkout:8080", requests: 100, rate: 15}
	if len(got) != 1 || got[0] != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
