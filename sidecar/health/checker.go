package health

import (
	"context"
	"net/netip"
	"time"

	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

// A checker asks the endpoints of one cluster how they are. One goroutine, run,
// has all of its state; each check under way is another, which hands its result
// over and ends.
type checker struct {
	cfg      Config
	cluster  string
	check    resource.HealthCheck
	counters *counters
	newProbe func(cfg Config, cluster string, check *resource.HealthCheck, address string) probe

	cancel  context.CancelFunc
	updates chan []*endpoint.Endpoint
	results chan result
	done    chan struct{}

	targets map[netip.AddrPort]*target
	order   []*target // as the endpoints are
	running int
	traffic traffic
}

type result struct {
	target *target
	err    error
}

func startChecker(cfg Config, cluster string, check resource.HealthCheck, n *counters, endpoints []*endpoint.Endpoint,
	newProbe func(Config, string, *resource.HealthCheck, string) probe,
) *checker {
	ctx, cancel := context.WithCancel(context.Background())
	c := &checker{
		cfg: cfg, cluster: cluster, check: withDefaults(check), counters: n, newProbe: newProbe, cancel: cancel,
		updates: make(chan []*endpoint.Endpoint), results: make(chan result), done: make(chan struct{}),
		targets: map[netip.AddrPort]*target{},
	}
	c.set(endpoints)
	c.traffic = traffic{active: true, at: cfg.Now(), attempts: attempts(endpoints)}
	go c.run(ctx)
	return c
}

// update hands the endpoints of now over.
func (c *checker) update(endpoints []*endpoint.Endpoint) { c.updates <- endpoints }

// stop cancels the checks under way and waits for all goroutines.
func (c *checker) stop() {
	c.cancel()
	<-c.done
}

func (c *checker) run(ctx context.Context) {
	defer close(c.done)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-timer.C:
		case endpoints := <-c.updates:
			c.set(endpoints)
		case r := <-c.results:
			c.ended(r)
		}
		timer.Reset(c.begin(ctx))
	}
	for ; c.running > 0; c.running-- {
		<-c.results
	}
	for _, t := range c.order {
		t.probe.close()
	}
	c.counters.unhealthy.Store(0)
}

// set takes over a new list of endpoints. Those that stay keep what is known
// of them; those that are new are checked at once.
func (c *checker) set(endpoints []*endpoint.Endpoint) {
	gone := c.targets
	c.targets, c.order = make(map[netip.AddrPort]*target, len(endpoints)), c.order[:0]
	var unhealthy int64
	for _, e := range endpoints {
		t := gone[e.Addr]
		if t == nil {
			t = &target{due: c.cfg.Now(), ended: -1, verdict: e.Verdict(), probe: c.newProbe(c.cfg, c.cluster, &c.check, e.Address)}
			t.checked = t.verdict != endpoint.Unchecked
		}
		delete(gone, e.Addr)
		t.endpoint = e
		e.SetVerdict(t.verdict)
		if t.verdict == endpoint.CheckedUnhealthy {
			unhealthy++
		}
		c.targets[e.Addr], c.order = t, append(c.order, t)
	}
	c.counters.unhealthy.Store(unhealthy)
	for _, t := range gone {
		if t.gone = true; !t.running {
			t.probe.close()
		}
	}
}

// begin starts the checks that are due, the longest overdue first, and says
// when to look again.
func (c *checker) begin(ctx context.Context) time.Duration {
	now := c.cfg.Now()
	c.look(now)
	for {
		var next *target
		for _, t := range c.order {
			if !t.running && (next == nil || t.due < next.due) {
				next = t
			}
		}
		switch {
		case next == nil, c.running >= c.cfg.Concurrency:
			// The next result is what happens next.
			return c.check.Interval
		case next.due > now:
			return min(time.Duration(next.due-now), c.check.Interval)
		}
		c.start(ctx, next)
	}
}

func (c *checker) start(ctx context.Context, t *target) {
	t.running = true
	c.running++
	go func() {
		ctx, cancel := context.WithTimeout(ctx, c.check.Timeout)
		defer cancel()
		c.results <- result{t, t.probe.check(ctx)}
	}()
}

// ended takes the result of a check.
func (c *checker) ended(r result) {
	t := r.target
	t.running = false
	c.running--
	if t.gone {
		t.probe.close()
		return
	}
	if r.err == nil {
		c.counters.passed.Add(1)
	} else {
		c.counters.failed.Add(1)
	}
	before := t.verdict
	changed := t.learn(r.err == nil, &c.check)
	t.ended = c.cfg.Now()
	t.plan(&c.check, c.traffic.active)
	if !changed {
		return
	}
	t.endpoint.SetVerdict(t.verdict)
	e := Event{Cluster: c.cluster, Endpoint: t.endpoint, Rule: RuleCheck}
	switch {
	case t.verdict == endpoint.CheckedUnhealthy:
		c.counters.turnedUnhealthy.Add(1)
		c.counters.unhealthy.Add(1)
		e.Out, e.Cause = true, r.err.Error()
	case before == endpoint.Unchecked:
		return
	default:
		c.counters.turnedHealthy.Add(1)
		c.counters.unhealthy.Add(-1)
	}
	c.cfg.Event(e)
}
