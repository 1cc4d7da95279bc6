package balancer

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"sync/atomic"
)

// zones keeps calls in the caller's zone as far as that has endpoints enough
// (envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig).
//
// How many callers are in each zone a sidecar does not know; it takes them to
// be as many in one as in another. A zone with its share of the endpoints, or
// more, serves its callers alone. One with less keeps what it has endpoints
// for, and the rest goes to the others in proportion to what these have over.
// An endpoint counts by weight, and only while it is ready; and a
// zone whose endpoints report that they are loaded beyond target keeps so much
// less that they come back to it.
type zones struct {
	cfg  *Config
	own  zone
	away []*zone
	keep atomic.Uint64 // of the calls, in 2⁻³²
}

type zone struct {
	group
	chooser
	has  float64       // weight that is ready, when last looked at
	upTo atomic.Uint64 // of the calls that leave the own zone: this one's and those before it, in 2⁻³²
}

// target is the utilisation up to which a zone serves all its own callers.
const target = 0.8

// newZones is nil where zones do not count: the client has none, the endpoints
// are too few, all in its zone, or none is.
func newZones(cfg *Config, all group, build builder) *zones {
	c := cfg.Client
	if cfg.Zone.Disabled || cfg.ByLocality || c.Zone == "" || len(all) < max(int(cfg.Zone.MinEndpoints), 1) {
		return nil
	}
	type locality struct{ region, zone string }
	by := map[locality]group{}
	var order []locality
	for _, m := range all {
		at := locality{m.endpoint.Region, m.endpoint.Zone}
		if by[at] == nil {
			order = append(order, at)
		}
		by[at] = append(by[at], m)
	}
	own := locality{c.Region, c.Zone}
	if by[own] == nil || len(by) == 1 {
		return nil
	}
	slices.SortFunc(order, func(a, b locality) int {
		return cmp.Or(cmp.Compare(a.region, b.region), cmp.Compare(a.zone, b.zone))
	})
	z := &zones{cfg: cfg}
	z.own.group, z.own.chooser = by[own], build(cfg, by[own])
	for _, at := range order {
		if at != own {
			z.away = append(z.away, &zone{group: by[at], chooser: build(cfg, by[at])})
		}
	}
	z.look(cfg.Now)
	return z
}

func (z *zones) choose(i Info) *member {
	r := rand.Uint64()
	if r&(1<<32-1) < z.keep.Load() {
		return z.own.choose(i, false)
	}
	for k := range z.away {
		if r>>32 < z.away[k].upTo.Load() {
			return z.away[k].choose(i, false)
		}
	}
	return nil
}

func (z *zones) look(now int64) {
	all := z.own.look(now)
	for k := range z.away {
		all += z.away[k].look(now)
	}
	if all == 0 {
		return
	}
	fair := 1 / float64(1+len(z.away))
	keep := min(z.own.has/all/fair, 1)
	if u := z.own.utilisation(z.cfg, now); u > target {
		keep *= target / u
	}
	z.keep.Store(uint64(keep * (1 << 32)))
	over := func(has float64) float64 { return max(has/all-fair, 0) }
	var sum float64
	for k := range z.away {
		sum += over(z.away[k].has)
	}
	if sum == 0 { // nobody has anything over: by what they have
		over = func(has float64) float64 { return has }
		sum = all - z.own.has
	}
	var to float64
	for k := range z.away {
		if sum > 0 {
			to += over(z.away[k].has) / sum
		}
		z.away[k].upTo.Store(uint64(min(to, 1) * (1 << 32)))
	}
}

func (z *zone) look(now int64) float64 {
	z.chooser.look(now)
	z.has = 0
	for i := range z.group {
		if z.group[i].ready(now) {
			z.has += z.group[i].weight
		}
	}
	return z.has
}

// utilisation is the mean of those endpoints that have reported of late; 0 if
// none has.
func (z *zone) utilisation(cfg *Config, now int64) float64 {
	var sum, n float64
	for i := range z.group {
		if u, ok := utilisation(&z.group[i].state.Reported, now, cfg.Reports.Expiration); ok {
			sum, n = sum+u, n+1
		}
	}
	if n == 0 {
		return 0
	}
	return sum / n
}

// byLocality gives the members of each locality its weight, divided among them
// by their own (envoy.config.cluster.v3.Cluster.CommonLbConfig.LocalityWeightedLbConfig).
// A locality without a weight has next to none, unless that is true of all.
func (g group) byLocality() {
	type locality struct{ region, zone string }
	of := func(m *member) locality { return locality{m.endpoint.Region, m.endpoint.Zone} }
	sum, any := map[locality]float64{}, false
	for i := range g {
		sum[of(&g[i])] += float64(max(g[i].endpoint.Weight, 1))
		any = any || g[i].endpoint.LocalityWeight > 0
	}
	for i := range g {
		m := &g[i]
		if any {
			m.weight = max(m.weight*float64(m.endpoint.LocalityWeight)/sum[of(m)], 1e-9)
			m.inverse = 1 / m.weight
		}
	}
}
