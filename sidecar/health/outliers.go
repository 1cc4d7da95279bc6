package health

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"sync"
	"time"

	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

// outliers ejects the endpoints of one cluster that do worse than the others
// (envoy.config.cluster.v3.OutlierDetection, gRFC A50). A failing call brings
// its own endpoint out where that rule is on; one goroutine looks at the rates
// of each interval, and at whose time is over.
type outliers struct {
	cfg      Config
	cluster  string
	counters *counters

	cancel context.CancelFunc
	wake   chan struct{} // there are events, or another time to look at
	done   chan struct{}

	mu      sync.Mutex // held by failing calls, too: never while anything waits
	rules   resource.Outlier
	members map[netip.AddrPort]*member
	out     []*member // who is ejected
	events  []Event
	sweepAt int64 // ns: the end of the interval
}

// A member is an endpoint as the outliers of its cluster have it.
type member struct {
	endpoint *endpoint.Endpoint
	before   endpoint.Tally // at the beginning of the interval
	rule     Rule           // of the last ejection
	until    int64          // ns: when that is over; 0: it is
	times    uint32         // that the next ejection time is multiplied by, but for one
	was      bool           // out in some of the present interval
}

func startOutliers(cfg Config, cluster string, rules resource.Outlier, n *counters, endpoints []*endpoint.Endpoint) *outliers {
	ctx, cancel := context.WithCancel(context.Background())
	o := &outliers{
		cfg: cfg, cluster: cluster, counters: n, cancel: cancel,
		wake: make(chan struct{}, 1), done: make(chan struct{}), members: map[netip.AddrPort]*member{},
	}
	o.update(rules, endpoints)
	o.sweepAt = cfg.Now() + int64(o.rules.Interval)
	go o.run(ctx)
	return o
}

// update says which rules there are, and for whom.
func (o *outliers) update(rules resource.Outlier, endpoints []*endpoint.Endpoint) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.cfg.Now()
	o.rules = rulesWithDefaults(rules)
	gone := o.members
	o.members, o.out = make(map[netip.AddrPort]*member, len(endpoints)), o.out[:0]
	for _, e := range endpoints {
		m := gone[e.Addr]
		switch {
		case m == nil:
			m = &member{before: e.Tally()}
		case m.endpoint.State != e.State:
			m.endpoint.OnFailure(nil)
			m.before = e.Tally()
			e.Eject(m.until)
		}
		delete(gone, e.Addr)
		m.endpoint = e
		o.watch(m)
		o.members[e.Addr] = m
		if m.until != 0 {
			o.out = append(o.out, m)
		}
	}
	for _, m := range gone {
		m.endpoint.OnFailure(nil)
	}
	// With fewer endpoints, fewer may be out.
	for len(o.out) > o.most() {
		first := o.out[0]
		for _, m := range o.out {
			if m.until < first.until {
				first = m
			}
		}
		o.back(first)
	}
	o.settle(now)
}

// watch lets failing calls come to o, if there is a rule for them.
func (o *outliers) watch(m *member) {
	limit, e := o.rules.Consecutive, m.endpoint
	if limit == 0 {
		e.OnFailure(nil)
		return
	}
	e.OnFailure(func(now int64, consecutive uint32) {
		if consecutive >= limit && e.Ejected(now) == 0 {
			o.consecutive(now, m)
		}
	})
}

// consecutive is called by a call whose failure is one too many.
func (o *outliers) consecutive(now int64, m *member) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.members[m.endpoint.Addr] != m {
		return
	}
	o.settle(now)
	// It may have come back just now, and what failed while it was out counts
	// for nothing.
	switch n := m.endpoint.Consecutive(); {
	case n < o.rules.Consecutive:
	case o.common(m):
		o.counters.spared.Add(1)
	default:
		o.eject(now, m, RuleConsecutive, fmt.Sprintf("%d calls in a row failed", n))
	}
}

// common reports whether most of the others fail, too: they are out, or failed
// in their last call or in most of the interval's. Then the cause is a common
// one, and who is out only leaves more for the rest.
func (o *outliers) common(m *member) bool {
	others, failing := 0, 0
	for _, x := range o.members {
		if x == m {
			continue
		}
		others++
		successes, failures, _ := x.endpoint.Tally().Since(x.before)
		if x.until != 0 || x.endpoint.Consecutive() > 0 || failures > successes {
			failing++
		}
	}
	return failing > others/2
}

// most is how many endpoints may be out: one always, of two or more.
func (o *outliers) most() int {
	n := len(o.members)
	if n < 2 {
		return 0
	}
	// The share is a decimal fraction, and a tenth of ten is one.
	return max(1, int(o.rules.MaxEjected*float64(n)+1e-9))
}

func (o *outliers) eject(now int64, m *member, rule Rule, cause string) {
	switch {
	case m.until != 0:
		return
	case len(o.out) >= o.most():
		o.counters.spared.Add(1)
		return
	}
	m.times++
	for_ := min(time.Duration(m.times)*o.rules.BaseEjection, o.rules.MaxEjection)
	if for_ == o.rules.MaxEjection {
		m.times = max(uint32((o.rules.MaxEjection+o.rules.BaseEjection-1)/o.rules.BaseEjection), 1)
	}
	if o.rules.Jitter > 0 {
		for_ += rand.N(o.rules.Jitter)
	}
	m.until, m.was, m.rule = now+int64(for_), true, rule
	m.endpoint.Eject(m.until)
	o.out = append(o.out, m)
	o.counters.ejections[rule].Add(1)
	m.endpoint.Ejections[rule].Add(1)
	o.tell(Event{Cluster: o.cluster, Endpoint: m.endpoint, Rule: rule, Out: true, For: for_, Cause: cause})
}

// settle brings back those whose time is over.
func (o *outliers) settle(now int64) {
	for k := len(o.out) - 1; k >= 0; k-- {
		if m := o.out[k]; now >= m.until {
			o.back(m)
		}
	}
	o.counters.ejected.Store(int64(len(o.out)))
}

// back lets m take calls; what came of those that it got nevertheless is
// forgotten. For one whose calls failed in a row the first is a trial, as for a
// breaker: a failure puts it out again, a success makes it one like the others.
func (o *outliers) back(m *member) {
	m.until = 0
	m.endpoint.Eject(0)
	m.endpoint.SetConsecutive(0)
	if m.rule == RuleConsecutive && o.rules.Consecutive > 0 {
		m.endpoint.SetConsecutive(o.rules.Consecutive - 1)
	}
	m.before = m.endpoint.Tally()
	for k := range o.out {
		if o.out[k] == m {
			o.out[k] = o.out[len(o.out)-1]
			o.out = o.out[:len(o.out)-1]
			break
		}
	}
	o.tell(Event{Cluster: o.cluster, Endpoint: m.endpoint, Rule: m.rule})
}

// tell leaves an event to the goroutine.
func (o *outliers) tell(e Event) {
	o.counters.ejected.Store(int64(len(o.out)))
	o.events = append(o.events, e)
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// The defaults of what an Outlier leaves out, as Envoy has them.
const (
	defaultSweep        = 10 * time.Second
	defaultBaseEjection = 30 * time.Second
	defaultMaxEjection  = 300 * time.Second
)

func rulesWithDefaults(r resource.Outlier) resource.Outlier {
	r.Interval = cmp.Or(r.Interval, defaultSweep)
	r.BaseEjection = cmp.Or(r.BaseEjection, defaultBaseEjection)
	r.MaxEjection = max(cmp.Or(r.MaxEjection, defaultMaxEjection), r.BaseEjection)
	return r
}
