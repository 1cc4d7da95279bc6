package balancer

import (
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

// by sums shares by what of says of the endpoint.
func by(set *endpoint.Set, share map[string]float64, of func(*endpoint.Endpoint) string) map[string]float64 {
	sum := map[string]float64{}
	for _, e := range set.Endpoints() {
		sum[of(e)] += share[e.ID]
	}
	return sum
}

func zoneOf(e *endpoint.Endpoint) string     { return e.Zone }
func priorityOf(e *endpoint.Endpoint) string { return fmt.Sprint(e.Priority) }

func wantSum(t *testing.T, what string, got map[string]float64, want map[string]float64) {
	t.Helper()
	for k, w := range want {
		if math.Abs(got[k]-w) > 0.02 {
			t.Errorf("%s: %s has %.3f of the calls, want %.3f", what, k, got[k], w)
		}
	}
}

func zonal(counts ...int) func(int, *resource.Endpoint) {
	return func(i int, e *resource.Endpoint) {
		e.Region = "eu"
		for z, n := range counts {
			if i < n {
				e.Zone = string(rune('a' + z))
				return
			}
			i -= n
		}
	}
}

var inZoneA = Config{Balancing: resource.DefaultBalancing(), Client: Client{ID: "me", Region: "eu", Zone: "a"}}

func TestZoneAware(t *testing.T) {
	for _, c := range []struct {
		what   string
		counts []int
		want   map[string]float64
	}{
		{"even", []int{3, 3, 3}, map[string]float64{"a": 1}},
		{"more than its share", []int{6, 3}, map[string]float64{"a": 1}},
		{"less than its share", []int{2, 6}, map[string]float64{"a": 0.5, "b": 0.5}},
		{"overflow goes where there is something over", []int{2, 4, 6}, map[string]float64{"a": 0.5, "b": 0, "c": 0.5}},
		{"too few to tell", []int{2, 3}, map[string]float64{"a": 0.4, "b": 0.6}},
		{"none in the own zone", []int{0, 4, 4}, map[string]float64{"b": 0.5, "c": 0.5}},
	} {
		n := 0
		for _, k := range c.counts {
			n += k
		}
		for _, policy := range []string{"random", "round_robin", "least_request", "peak_ewma"} {
			set := cluster(n, breaker.Config{}, zonal(c.counts...))
			p := picker(t, policy, set, inZoneA)
			wantSum(t, policy+": "+c.what, by(set, sharesAt(p, 0, 20_000), zoneOf), c.want)
		}
	}
}

func TestZoneAwareOff(t *testing.T) {
	set := cluster(8, breaker.Config{}, zonal(4, 4))
	off, elsewhere := inZoneA, inZoneA
	off.Zone.Disabled = true
	elsewhere.Client.Region = "us"
	for _, cfg := range []Config{off, elsewhere, {Balancing: inZoneA.Balancing}} {
		wantSum(t, "off", by(set, sharesAt(picker(t, "random", set, cfg), 0, 20_000), zoneOf), map[string]float64{"a": 0.5, "b": 0.5})
	}
}

func TestByLocality(t *testing.T) {
	for _, policy := range []string{"random", "round_robin", "maglev"} {
		set := cluster(8, breaker.Config{}, func(i int, e *resource.Endpoint) {
			zonal(2, 6)(i, e)
			e.LocalityWeight = map[string]uint32{"a": 3, "b": 1}[e.Zone]
			e.Weight = uint32(1 + i%2)
		})
		cfg := inZoneA
		cfg.ByLocality = true
		share := sharesAt(picker(t, policy, set, cfg), 0, 50_000)
		wantSum(t, policy, by(set, share, zoneOf), map[string]float64{"a": 0.75, "b": 0.25})
		wantShares(t, policy, share, 0.25, 0.5)
	}
}

// Breakers that open, and reports of too much load, send calls away; both
// bring them back.
func TestZoneOverflowsWhenLoaded(t *testing.T) {
	set := cluster(8, brittle, zonal(4, 4))
	p := picker(t, "random", set, inZoneA)
	at := func(when time.Duration) map[string]float64 { return by(set, sharesAt(p, when, 20_000), zoneOf) }
	wantSum(t, "all well", at(0), map[string]float64{"a": 1})
	for _, e := range set.Endpoints()[:4] {
		e.Reported.Set(int64(time.Second), endpoint.LoadReport{CPU: 1.6, RPS: 1})
	}
	wantSum(t, "twice its target", at(time.Second), map[string]float64{"a": 0.5})
	for _, e := range set.Endpoints()[:4] {
		e.Reported.Set(int64(2*time.Second), endpoint.LoadReport{CPU: 0.5, RPS: 1})
	}
	wantSum(t, "relieved", at(2*time.Second), map[string]float64{"a": 1})
	trip(set.Endpoints()[0])
	trip(set.Endpoints()[1])
	wantSum(t, "half open", at(3*time.Second), map[string]float64{"a": 2. / 6 * 2})
	trip(set.Endpoints()[2])
	trip(set.Endpoints()[3])
	wantSum(t, "gone", at(4*time.Second), map[string]float64{"a": 0, "b": 1})
}

// Spill-over between priorities, as Envoy's documentation has it in numbers.
func TestPrioritySpill(t *testing.T) {
	levels := func(i int, e *resource.Endpoint) { e.Priority = uint32(i / 100) }
	for _, c := range []struct {
		fit  [2]int // of 100 each
		want map[string]float64
	}{
		{[2]int{100, 100}, map[string]float64{"0": 1}},
		{[2]int{72, 72}, map[string]float64{"0": 1}},
		{[2]int{71, 71}, map[string]float64{"0": 0.99, "1": 0.01}},
		{[2]int{50, 50}, map[string]float64{"0": 0.7, "1": 0.3}},
		{[2]int{25, 100}, map[string]float64{"0": 0.35, "1": 0.65}},
		{[2]int{0, 100}, map[string]float64{"1": 1}},
		{[2]int{25, 25}, map[string]float64{"0": 0.5, "1": 0.5}},
		{[2]int{5, 65}, map[string]float64{"0": 0.07, "1": 0.93}}, // 7 % and 91 % make 98 %
	} {
		set := cluster(200, brittle, levels)
		for i, e := range set.Endpoints() {
			if i%100 >= c.fit[i/100] {
				trip(e)
			}
		}
		p := picker(t, "random", set, Config{Balancing: resource.DefaultBalancing()})
		wantSum(t, fmt.Sprint(c.fit), by(set, sharesAt(p, 0, 20_000), priorityOf), c.want)
	}
}

func TestPanicThreshold(t *testing.T) {
	for _, c := range []struct {
		open      int
		threshold float64
		forced    bool
	}{{5, 0.5, false}, {6, 0.5, true}, {10, 0.5, true}, {9, 0.1, false}, {9, 0.11, true}, {9, 0, false}} {
		each(t, func(t *testing.T, policy string) {
			set := cluster(10, brittle, nil)
			for _, e := range set.Endpoints()[:c.open] {
				trip(e)
			}
			cfg := Config{Balancing: resource.DefaultBalancing()}
			cfg.PanicThreshold = c.threshold
			p := picker(t, policy, set, cfg)
			toOpen := 0
			for range 1000 {
				e, forced := p.Pick(Info{})
				if forced != c.forced {
					t.Fatalf("%d of 10 open, threshold %v: forced is %v", c.open, c.threshold, forced)
				}
				if !e.Breaker.Ready() {
					toOpen++
				}
			}
			least, most := 80*c.open, 120*c.open
			if policy == "least_request" || policy == "peak_ewma" || policy == "hcl" {
				least = 40 * c.open // they would rather ask the fit ones, which here cost the same
			}
			if c.forced && (toOpen < least || toOpen > most) || !c.forced && toOpen > 0 {
				t.Errorf("%d of 10 open, threshold %v: %d of 1000 calls to these", c.open, c.threshold, toOpen)
			}
		})
	}
}

// Two of three are dead and the third bears it: by default the calls go there,
// panic or not, since the dead are dear.
func TestPanicSparesTheDead(t *testing.T) {
	set := cluster(3, brittle, nil)
	for _, e := range set.Endpoints() {
		e.Load.Start(0)
		e.Load.Answered(0)
		e.Load.Done(0, 5*time.Millisecond, e.ID != "0")
		if e.ID != "0" {
			trip(e)
		}
	}
	p := picker(t, "peak_ewma", set, Config{Balancing: resource.DefaultBalancing()})
	share := sharesAt(p, 0, 10_000)
	if _, forced := p.Pick(Info{}); !forced || share["0"] < 0.8 {
		t.Errorf("forced is %v, shares %v", forced, share)
	}
}

// Endpoints that health takes out count as breakers do.
func TestPanicOfHealth(t *testing.T) {
	for healthy, reached := range map[int]int{5: 5, 4: 10, 0: 10} {
		set := cluster(10, brittle, func(i int, e *resource.Endpoint) {
			if i >= healthy {
				e.Health = resource.Unhealthy
			}
		})
		p := picker(t, "random", set, Config{Balancing: resource.DefaultBalancing()})
		if got := len(sharesAt(p, 0, 2000)); got != reached {
			t.Errorf("%d of 10 healthy: calls went to %d", healthy, got)
		}
	}
}

// Panic ends when breakers close again, within the time of a look.
func TestPanicEnds(t *testing.T) {
	set := cluster(4, breaker.Config{ConsecutiveFailures: 1, OpenFor: time.Millisecond}, nil)
	for _, e := range set.Endpoints() {
		trip(e)
	}
	p := picker(t, "round_robin", set, Config{Balancing: resource.DefaultBalancing()})
	if _, forced := p.Pick(Info{}); !forced {
		t.Fatal("no panic")
	}
	for _, e := range set.Endpoints() {
		for e.Breaker.State() != breaker.Closed {
			if ticket, ok := e.Breaker.Allow(); ok {
				e.Breaker.Done(ticket, true)
			}
		}
	}
	if _, forced := p.Pick(Info{Now: int64(10 * time.Millisecond)}); forced {
		t.Error("still panic")
	}
}

func TestSubsetsChangeByOne(t *testing.T) {
	const clients, size = 300, 20
	chosen := func(n int, client string) map[string]bool {
		cfg := Config{Balancing: resource.DefaultBalancing(), Client: Client{ID: client}}
		cfg.Subset = size
		ids := map[string]bool{}
		for _, m := range picker(t, "random", cluster(n, breaker.Config{}, nil), cfg).(*priorities).levels[0].members {
			ids[m.endpoint.ID] = true
		}
		return ids
	}
	use := map[string]float64{}
	for c := range clients {
		client := fmt.Sprint("client-", c)
		before, after := chosen(100, client), chosen(101, client)
		if len(before) != size || len(after) != size {
			t.Fatalf("%d and %d endpoints", len(before), len(after))
		}
		changed := 0
		for id := range after {
			if !before[id] {
				changed++
			}
		}
		if changed > 1 {
			t.Errorf("%s: %d changes for one endpoint more", client, changed)
		}
		for id := range before {
			use[id]++
		}
	}
	const mean = clients * size / 100.
	least, most := mean, mean
	for _, n := range use {
		least, most = min(least, n), max(most, n)
	}
	t.Logf("%d clients with %d of 100 endpoints each: %v to %v clients an endpoint", clients, size, least, most)
	if most > 1.4*mean || least < 0.6*mean {
		t.Errorf("%v to %v clients an endpoint, %v on average", least, most, mean)
	}
}
