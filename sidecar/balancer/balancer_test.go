package balancer

import (
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

func TestUnknownPolicy(t *testing.T) {
	_, err := New(Config{Policy: "astrology"}, nil)
	want := `balancer: policy "astrology" is not known; known are hcl, least_request, maglev, peak_ewma, random, ring_hash, round_robin, weighted_round_robin`
	if err == nil || err.Error() != want {
		t.Fatalf("error %v", err)
	}
	if _, err := New(Config{Policy: "hcl"}, nil); err == nil || !strings.Contains(err.Error(), "asked for their load") {
		t.Fatalf("error %v", err)
	}
	if _, err := New(Config{}, nil); err != nil {
		t.Fatal(err)
	}
}

func each(t *testing.T, test func(t *testing.T, policy string)) {
	for _, policy := range policies {
		t.Run(policy, func(t *testing.T) { test(t, policy) })
	}
}

// shares counts n picks by endpoint.
func shares(p Picker, n int, tried ...*endpoint.Endpoint) map[string]int {
	count := map[string]int{}
	for range n {
		e := pick(p, tried...)
		if e == nil {
			count["none"]++
			continue
		}
		count[e.ID]++
	}
	return count
}

func TestNobodyToPick(t *testing.T) {
	each(t, func(t *testing.T, policy string) {
		if e := pick(picker(t, policy, nil)); e != nil {
			t.Fatalf("picked %v of none", e)
		}
		set := cluster(20, brittle, nil)
		p := picker(t, policy, set)
		for _, e := range set.Endpoints() {
			trip(e)
		}
		if e := pick(p); e != nil {
			t.Fatalf("picked %v, whose breaker is open", e)
		}
		if e := pick(p, set.Endpoints()[:2]...); e != nil {
			t.Fatalf("picked %v, whose breaker is open", e)
		}
	})
}

func TestIdleEndpointsShareEvenly(t *testing.T) {
	each(t, func(t *testing.T, policy string) {
		const n, picks = 10, 20000
		set := cluster(n, breaker.Config{}, nil)
		count := shares(picker(t, policy, set), picks)
		chi := 0.0
		for _, e := range set.Endpoints() {
			d := float64(count[e.ID]) - picks/n
			chi += d * d / (picks / n)
		}
		if policy == "ring_hash" {
			chi /= 10 // its shares are even to a tenth, and stay so
		}
		if chi > 33.7 { // one in ten thousand for 9 degrees of freedom
			t.Fatalf("chi² %.1f: %v", chi, count)
		}
	})
}

func TestRoundRobinHonoursWeights(t *testing.T) {
	weights := []uint32{1, 2, 3, 10, 4}
	set := cluster(len(weights), breaker.Config{}, func(i int, e *resource.Endpoint) { e.Weight = weights[i] })
	p := picker(t, "round_robin", set)
	count := shares(p, 20000)
	for i, e := range set.Endpoints() {
		if got, want := float64(count[e.ID]), float64(weights[i])*1000; math.Abs(got-want) > 10 {
			t.Errorf("weight %d: %v picks, want %v", weights[i], got, want)
		}
	}
	// Spread: of ten in twenty, never many in a row.
	run := 0
	for range 10000 {
		if pick(p).ID != "3" {
			run = 0
		} else if run++; run > 4 {
			t.Fatal("the heaviest was picked five times in a row")
		}
	}
}

func TestLeastRequestHonoursWeightsUnderLoad(t *testing.T) {
	for _, policy := range []string{"least_request", "peak_ewma"} {
		set := cluster(4, breaker.Config{}, func(i int, e *resource.Endpoint) { e.Weight = uint32(1 + 2*(i%2)) })
		for _, e := range set.Endpoints() {
			e.Load.Start(0)
			e.Load.Answered(0)
			e.Load.Done(0, time.Millisecond, false)
		}
		p := picker(t, policy, set)
		for range 4000 {
			pick(p).Load.Start(0)
		}
		for _, e := range set.Endpoints() {
			if got, want := e.Load.InFlight(), int64(500*e.Weight); got < want-25 || got > want+25 {
				t.Errorf("%s: %d in flight at weight %d, want about %d", policy, got, e.Weight, want)
			}
		}
	}
}

func TestHealthAndPanic(t *testing.T) {
	each(t, func(t *testing.T, policy string) {
		health := func(healthy int) func(int, *resource.Endpoint) {
			return func(i int, e *resource.Endpoint) {
				if i >= healthy {
					e.Health = resource.Draining + resource.Health(i%2)
				}
			}
		}
		count := shares(picker(t, policy, cluster(6, breaker.Config{}, health(2))), 200)
		if count["0"]+count["1"] != 200 || count["0"] == 0 || count["1"] == 0 {
			t.Errorf("only 0 and 1 are healthy: %v", count)
		}
		set := cluster(6, brittle, health(0))
		trip(set.Endpoints()[3])
		count = shares(picker(t, policy, set), 600)
		if len(count) != 5 || count["3"] != 0 || count["none"] != 0 {
			t.Errorf("none is healthy, so all but 3, whose breaker is open, are in play: %v", count)
		}
	})
}

func TestPriorities(t *testing.T) {
	each(t, func(t *testing.T, policy string) {
		set := cluster(9, brittle, func(i int, e *resource.Endpoint) { e.Priority = 2 - uint32(i/3) })
		p := picker(t, policy, set)
		only := func(what string, count map[string]int, ids string) {
			t.Helper()
			for id := range count {
				if !strings.Contains(ids, id) {
					t.Errorf("%s: picked %v, want only %s", what, count, ids)
				}
			}
		}
		all := set.Endpoints()
		only("all ready", shares(p, 300), "678")
		only("two tried", shares(p, 300, all[6], all[7]), "8")
		only("all of the first tried", shares(p, 300, all[6:]...), "345")
		for _, e := range all[6:] {
			trip(e)
		}
		only("first open", shares(p, 300), "345")
		for _, e := range all[:5] {
			trip(e)
		}
		only("one left", shares(p, 300), "5")
		only("one left, and tried", shares(p, 300, all[5]), "5")
	})
}

func TestTriedIsKnownAfterAnUpdate(t *testing.T) {
	each(t, func(t *testing.T, policy string) {
		set := cluster(3, breaker.Config{}, nil)
		var res resource.Endpoints
		for _, e := range set.Endpoints() {
			r := e.Endpoint
			r.Weight = 7
			res.Endpoints = append(res.Endpoints, r)
		}
		next, _ := set.Update(&res, nil)
		if count := shares(picker(t, policy, next), 300, set.Endpoints()[1]); count["1"] != 0 {
			t.Errorf("picked what had been tried: %v", count)
		}
	})
}

// What an unusable endpoint gives up goes to all the others alike.
func TestOpenBreakerLoadIsSpread(t *testing.T) {
	each(t, func(t *testing.T, policy string) {
		set := cluster(10, brittle, nil)
		p := picker(t, policy, set)
		for i := range 5 {
			trip(set.Endpoints()[i])
		}
		count := shares(p, 10000)
		for i, e := range set.Endpoints() {
			got := count[e.ID]
			off := 300
			if policy == "ring_hash" {
				off = 700 // its shares are even to a tenth
			}
			if i < 5 && got != 0 || i >= 5 && (got < 2000-off || got > 2000+off) {
				t.Errorf("endpoint %d of which the first 5 are open: %v", i, count)
			}
		}
	})
}

func TestHalfOpenEndpointGetsItsTrial(t *testing.T) {
	each(t, func(t *testing.T, policy string) {
		synctest.Test(t, func(t *testing.T) {
			set := cluster(10, brittle, nil)
			p := picker(t, policy, set)
			bad := set.Endpoints()[4]
			for range 10 { // it is as dear as it gets
				bad.Load.Start(0)
				bad.Load.Answered(0)
				bad.Load.Done(0, time.Second, true)
			}
			trip(bad)
			time.Sleep(time.Second + 1)
			synctest.Wait()
			for range 200 {
				e := pick(p)
				ticket, ok := e.Breaker.Allow()
				if !ok {
					t.Fatalf("picked %s, which refuses", e.ID)
				}
				e.Breaker.Done(ticket, true)
			}
			if bad.Breaker.State() != breaker.Closed {
				t.Error("no trial in 200 calls")
			}
		})
	})
}

// While a trial waits for its answer, there is no second one for its own sake.
func TestOneTrialAtATime(t *testing.T) {
	for _, policy := range []string{"least_request", "peak_ewma"} {
		synctest.Test(t, func(t *testing.T) {
			cfg := brittle
			cfg.HalfOpenRequests = 3
			set := cluster(10, cfg, nil)
			p := picker(t, policy, set)
			bad := set.Endpoints()[4]
			for _, e := range set.Endpoints() {
				e.Load.Start(0)
				e.Load.Answered(0)
				e.Load.Done(0, time.Millisecond, e == bad)
			}
			trip(bad)
			time.Sleep(time.Second + 1)
			synctest.Wait()
			trials := 0
			for range 500 {
				if e := pick(p); e == bad {
					e.Breaker.Allow()
					e.Load.Start(0)
					trials++
				}
			}
			if trials != 1 {
				t.Errorf("%s: %d trials at a time", policy, trials)
			}
		})
	}
}

func TestConcurrentPicks(t *testing.T) {
	each(t, func(t *testing.T, policy string) {
		set := cluster(20, breaker.Config{ConsecutiveFailures: 2, OpenFor: time.Microsecond}, nil)
		p := picker(t, policy, set)
		var group sync.WaitGroup
		for g := range 8 {
			group.Go(func() {
				var tried []*endpoint.Endpoint
				for i := range 2000 {
					e := pick(p, tried...)
					if e == nil {
						continue
					}
					tried = append(tried[:0], e)
					ticket, ok := e.Breaker.Allow()
					if !ok {
						continue
					}
					e.Load.Start(int64(i))
					e.Load.Answered(int64(i))
					e.Load.Done(int64(i), time.Millisecond, i%8 == g)
					e.Breaker.Done(ticket, i%8 != g)
				}
			})
		}
		group.Wait()
		for _, e := range set.Endpoints() {
			if n := e.Load.InFlight(); n != 0 {
				t.Errorf("%s: %d in flight", e.ID, n)
			}
		}
	})
}

func TestNoAllocations(t *testing.T) {
	each(t, func(t *testing.T, policy string) {
		set := cluster(1000, brittle, nil)
		p := picker(t, policy, set)
		tried := set.Endpoints()[:2]
		if n := testing.AllocsPerRun(1000, func() { pick(p); pick(p, tried...) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// Nor with priorities, zones, slow start, panic and a hash.
func TestNoAllocationsOfAnything(t *testing.T) {
	each(t, func(t *testing.T, policy string) {
		cfg := inZoneA
		cfg.SlowStart.Window, cfg.Time, cfg.LoadFactor = time.Hour, time.Unix(2000, 0), 1.25
		set := cluster(1000, brittle, func(i int, e *resource.Endpoint) {
			zonal(300, 300, 400)(i, e)
			e.Priority, e.Started, e.Weight = uint32(i%2), int64(1000*(1000+i)), uint32(1+i%5)
		})
		for _, e := range set.Endpoints()[:600] {
			trip(e)
		}
		p := picker(t, policy, set, cfg)
		i := Info{Tried: set.Endpoints()[600:602], Active: 100, Hashed: true}
		if n := testing.AllocsPerRun(1000, func() {
			i.Hash, i.Now = mixed(i.Hash), i.Now+int64(time.Millisecond)
			p.Pick(i)
		}); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// Looks and picks go on at the same time.
func TestConcurrentLooks(t *testing.T) {
	each(t, func(t *testing.T, policy string) {
		cfg := inZoneA
		cfg.Reports.Update, cfg.Reports.Blackout = time.Millisecond, 0
		set := cluster(30, breaker.Config{ConsecutiveFailures: 2, OpenFor: time.Microsecond}, func(i int, e *resource.Endpoint) {
			zonal(10, 10, 10)(i, e)
			e.Priority = uint32(i % 2)
		})
		p := picker(t, policy, set, cfg)
		var group sync.WaitGroup
		for g := range 4 {
			group.Go(func() {
				for n := range int64(2000) {
					at := n * int64(time.Millisecond)
					e, _ := p.Pick(Info{Now: at, Hash: uint64(n), Hashed: true})
					if e == nil {
						t.Error("nobody")
						return
					}
					e.Reported.Set(at, endpoint.LoadReport{CPU: 0.5, RPS: float64(1 + n%7)})
					if ticket, ok := e.Breaker.Allow(); ok {
						e.Breaker.Done(ticket, n%5 != int64(g))
					}
				}
			})
		}
		group.Wait()
	})
}
