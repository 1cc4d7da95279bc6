package balancer

import (
	"cmp"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

// priorities is the Picker: it chooses the priority, as Envoy does. One whose
// endpoints are fit, by health, breaker, checks and ejection, takes all calls
// while its fit share times the overprovisioning factor is 1 or more; below
// that the rest spills over to the next. Where all together cannot take everything, and of
// one the fit share is below the panic threshold, all its endpoints are used,
// fit or not: what remains would break under the load of all.
// (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/upstream/load_balancing/priority
// and .../panic_threshold)
//
// All of these but health move under the Picker, so the shares are looked at anew
// every few milliseconds of a Picker that is in use.
type priorities struct {
	levels []*level // the most preferred first
	over   float64
	panic  float64
	hashed bool // the hash decides the priority too

	watched bool         // there is something to look at
	next    atomic.Int64 // when to look again; -1 while somebody looks
	period  int64
}

// A level is the endpoints of one priority.
type level struct {
	members group   // all
	able    group   // the healthy ones
	fit     chooser // nil if none is
	zones   *zones  // of the healthy ones; nil if zones do not count
	all     chooser // of all, for panic

	share     float64       // of members that are fit, when last looked at
	upTo      atomic.Uint64 // of the calls, in 2⁻³²: this level's and those before it
	panicking atomic.Bool
}

func newPriorities(cfg *Config, set *endpoint.Set, build builder) *priorities {
	p := &priorities{
		over: cmp.Or(cfg.Overprovisioning, resource.DefaultOverprovisioning), panic: cfg.PanicThreshold,
		hashed: cfg.Policy == "ring_hash" || cfg.Policy == "maglev",
	}
	byPriority := map[uint32]*level{}
	var order []uint32
	for _, e := range set.Endpoints() {
		l := byPriority[e.Priority]
		if l == nil {
			l = &level{}
			byPriority[e.Priority], order = l, append(order, e.Priority)
		}
		l.members = append(l.members, cfg.member(e))
	}
	slices.Sort(order)
	for _, number := range order {
		l := byPriority[number]
		if cfg.Subset > 0 && !p.hashed {
			l.members = subset(l.members, cfg.Client.ID, int(cfg.Subset))
		}
		l.build(cfg, build, p.hashed)
		p.levels = append(p.levels, l)
		p.watched = p.watched || l.zones != nil
	}
	p.watched = p.watched || len(p.levels) > 1 || p.panic > 0 || cfg.Policy == "weighted_round_robin"
	p.period = lookEvery(set.Len())
	p.next.Store(math.MaxInt64)
	if p.watched {
		p.next.Store(cfg.Now)
	}
	return p
}

// lookEvery bounds what looking costs: 10 ns an endpoint are one part in ten
// thousand of the time.
func lookEvery(endpoints int) int64 {
	return int64(max(5*time.Millisecond, time.Duration(endpoints)*100*time.Microsecond))
}

// build makes the choosers. Endpoints that are draining or unhealthy take no
// part, unless none is healthy: then health is taken to be wrong about all of
// them.
func (l *level) build(cfg *Config, build builder, hashed bool) {
	for _, m := range l.members {
		if m.healthy() {
			l.able = append(l.able, m)
		}
	}
	if len(l.able) == 0 {
		l.all = build(cfg, l.members)
		return
	}
	if cfg.ByLocality {
		l.able.byLocality()
		l.members.byLocality()
	}
	l.fit = build(cfg, l.able)
	l.all = l.fit
	if len(l.able) < len(l.members) && cfg.PanicThreshold > 0 {
		l.all = build(cfg, l.members)
	}
	if !hashed {
		l.zones = newZones(cfg, l.able, build)
	}
}

func (p *priorities) Pick(i Info) (*endpoint.Endpoint, bool) {
	if i.Now >= p.next.Load() {
		p.look(i.Now)
	}
	if len(p.levels) == 0 {
		return nil, false
	}
	l := p.levels[0]
	if len(p.levels) > 1 {
		l = p.level(&i)
	}
	forced := l.panicking.Load()
	if m := l.choose(i, forced); m != nil {
		return m.endpoint, forced
	}
	return p.remaining(i)
}

// level is the one that this call falls to.
func (p *priorities) level(i *Info) *level {
	at := uint64(rand.Uint32())
	if i.Hashed && p.hashed {
		at = i.Hash >> 32
	}
	for _, l := range p.levels {
		if at < l.upTo.Load() {
			return l
		}
	}
	return p.levels[0]
}

func (l *level) choose(i Info, forced bool) *member {
	switch {
	case forced:
		return l.all.choose(i, true)
	case l.fit == nil:
		return nil
	case l.zones != nil:
		if m := l.zones.choose(i); m != nil {
			return m
		}
	}
	return l.fit.choose(i, false)
}

// remaining is what there is for a call whose level has nobody for it: any fit
// endpoint of any priority; one that the call has been to; any of a level
// whose health says that there is none; and any at all, if there is panic.
func (p *priorities) remaining(i Info) (*endpoint.Endpoint, bool) {
	fresh := i
	fresh.Tried = nil
	for _, l := range p.levels {
		if m := l.choose(i, false); m != nil {
			return m.endpoint, false
		}
	}
	if len(i.Tried) > 0 {
		for _, l := range p.levels {
			if m := l.choose(fresh, false); m != nil {
				return m.endpoint, false
			}
		}
	}
	for _, by := range [...]Info{i, fresh} {
		for _, l := range p.levels {
			if l.fit == nil {
				if m := l.all.choose(by, false); m != nil {
					return m.endpoint, false
				}
			}
		}
	}
	if p.panic == 0 {
		return nil, false
	}
	for _, by := range [...]Info{i, fresh} {
		for _, l := range p.levels {
			if m := l.all.choose(by, true); m != nil {
				return m.endpoint, true
			}
		}
	}
	return nil, false
}

// look computes the shares. Whoever comes first does it; others go by what
// there was.
func (p *priorities) look(now int64) {
	due := p.next.Load()
	if due < 0 || now < due || !p.next.CompareAndSwap(due, math.MaxInt64) {
		return
	}
	defer p.next.Store(now + p.period)
	var able float64
	for _, l := range p.levels {
		l.look(now)
		able += min(p.over*l.share, 1)
	}
	desperate := able < 1
	everybody, panicking := 0, 0
	for _, l := range p.levels {
		in := p.panic > 0 && desperate && l.share < p.panic
		l.panicking.Store(in)
		everybody += len(l.members)
		if in {
			panicking++
		}
	}
	var sum float64
	for _, l := range p.levels {
		switch {
		case panicking == len(p.levels):
			sum += float64(len(l.members)) / float64(everybody)
		case desperate && able > 0:
			sum += p.over * l.share / able
		default:
			sum += min(p.over*l.share, 1)
		}
		l.upTo.Store(uint64(min(sum, 1) * (1 << 32)))
	}
}

func (l *level) look(now int64) {
	fit := 0
	for i := range l.able {
		if l.able[i].ready(now) {
			fit++
		}
	}
	l.share = float64(fit) / float64(len(l.members))
	if l.zones != nil {
		l.zones.look(now)
	}
	if l.fit != nil {
		l.fit.look(now)
	}
	if l.all != l.fit {
		l.all.look(now)
	}
}
