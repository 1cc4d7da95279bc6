package balancer

import (
	"testing"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

// What checks and ejection say counts as a breaker does: nobody is chosen whom
// they keep away, until its time is over.
func TestStandingCounts(t *testing.T) {
	each(t, func(t *testing.T, policy string) {
		set := cluster(6, breaker.Config{}, nil)
		p := picker(t, policy, set)
		all := set.Endpoints()
		for i, e := range all[:4] {
			if i%2 == 0 {
				e.SetVerdict(endpoint.CheckedUnhealthy)
			} else {
				e.Eject(int64(time.Second))
			}
		}
		count := shares(p, 300)
		if count["4"]+count["5"] != 300 || count["4"] == 0 || count["5"] == 0 {
			t.Errorf("4 and 5 are fit: %v", count)
		}
		seen := map[string]bool{}
		for range 600 {
			e, _ := p.Pick(Info{Now: int64(time.Second)})
			seen[e.ID] = true
		}
		if len(seen) != 4 || seen["0"] || seen["2"] {
			t.Errorf("1, 3, 4 and 5 are fit after a second: %v", seen)
		}
	})
}

func TestPanicCountsStanding(t *testing.T) {
	each(t, func(t *testing.T, policy string) {
		set := cluster(10, breaker.Config{}, nil)
		cfg := Config{Balancing: resource.DefaultBalancing()}
		cfg.PanicThreshold = 0.5
		p := picker(t, policy, set, cfg)
		count := func(now int64) (n int, forced bool) {
			seen := map[string]bool{}
			for range 2000 {
				e, f := p.Pick(Info{Now: now})
				seen[e.ID], forced = true, f
			}
			return len(seen), forced
		}
		for _, e := range set.Endpoints()[:5] {
			e.Eject(int64(time.Hour))
		}
		if n, forced := count(int64(time.Second)); n != 5 || forced {
			t.Errorf("half are out: %d chosen, forced %v", n, forced)
		}
		set.Endpoints()[5].SetVerdict(endpoint.CheckedUnhealthy)
		if n, forced := count(int64(2 * time.Second)); n != 10 || !forced {
			t.Errorf("more than half are out: %d chosen, forced %v", n, forced)
		}
	})
}

func TestStandingMovesPrioritiesAndZones(t *testing.T) {
	set := cluster(8, breaker.Config{}, func(i int, e *resource.Endpoint) { e.Priority = uint32(i / 4) })
	p := picker(t, "round_robin", set)
	set.Endpoints()[0].Eject(int64(time.Hour))
	set.Endpoints()[1].SetVerdict(endpoint.CheckedUnhealthy)
	second := 0
	for range 10000 {
		if e, _ := p.Pick(Info{Now: int64(time.Second)}); e.Priority == 1 {
			second++
		}
	}
	if second < 2700 || second > 3300 { // 1 - 1.4 × 2/4
		t.Errorf("%d of 10000 spilled over, want about 3000", second)
	}

	set = cluster(8, breaker.Config{}, func(i int, e *resource.Endpoint) { e.Zone = string(rune('a' + i/4)) })
	p = picker(t, "round_robin", set, Config{Balancing: resource.DefaultBalancing(), Client: Client{Zone: "a"}})
	set.Endpoints()[0].Eject(int64(time.Hour))
	set.Endpoints()[1].SetVerdict(endpoint.CheckedUnhealthy)
	away := 0
	for range 10000 {
		if e, _ := p.Pick(Info{Now: int64(time.Second)}); e.Zone == "b" {
			away++
		}
	}
	if away < 3000 || away > 3700 { // of its 1/2, the zone has 2/6
		t.Errorf("%d of 10000 left the zone, want about 3333", away)
	}
}
