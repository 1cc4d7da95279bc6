package health

import (
	"cmp"
	"math/rand/v2"
	"reflect"
	"time"

	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

// A target is an endpoint as its checker sees it.
type target struct {
	endpoint *endpoint.Endpoint
	probe    probe
	running  bool // a check is under way
	gone     bool // it has left, and the check's result is nobody's

	checked bool // there has been a result
	verdict endpoint.Verdict
	streak  uint32 // results in a row that speak against the verdict

	ended int64   // ns: the last check; -1 before the first
	late  float64 // the jitter of the present interval, 0 to 1
	due   int64   // ns: the next check
}

// learn takes a result and reports whether it changes the verdict. The first
// one is the verdict; then it takes as many in a row as the thresholds say.
func (t *target) learn(passed bool, check *resource.HealthCheck) bool {
	says, enough := endpoint.CheckedUnhealthy, check.Unhealthy
	if passed {
		says, enough = endpoint.CheckedHealthy, check.Healthy
	}
	if says == t.verdict {
		t.streak = 0
		return false
	}
	t.streak++
	if t.checked && t.streak < enough {
		return false
	}
	t.checked, t.verdict, t.streak = true, says, 0
	return true
}

// plan sets when the next check is due, after one has ended.
func (t *target) plan(check *resource.HealthCheck, active bool) {
	t.late = rand.Float64()
	t.replan(check, active)
}

// replan is plan where activity has changed between two checks.
func (t *target) replan(check *resource.HealthCheck, active bool) {
	every := check.Interval
	switch {
	case !active:
		every = check.NoTrafficInterval
	case t.verdict == endpoint.CheckedUnhealthy:
		every = check.UnhealthyInterval
	}
	t.due = t.ended + int64(float64(every)*(1+check.Jitter*t.late))
}

// traffic is whether the cluster is called, looked at once an Interval.
type traffic struct {
	active   bool
	at       int64 // ns: of the last look
	attempts uint64
}

// look sees whether the cluster is called, and moves the checks that are due
// earlier or later for that.
func (c *checker) look(now int64) {
	if now-c.traffic.at < int64(c.check.Interval) {
		return
	}
	was := c.traffic
	n := uint64(0)
	busy := false
	for _, t := range c.order {
		n += t.endpoint.Requests.Load()
		busy = busy || t.endpoint.Load.InFlight() > 0
	}
	c.traffic = traffic{active: n != was.attempts || busy || c.cfg.Active(c.cluster), at: now, attempts: n}
	if c.traffic.active == was.active {
		return
	}
	for _, t := range c.order {
		if t.ended >= 0 {
			t.replan(&c.check, c.traffic.active)
		}
	}
}

func attempts(endpoints []*endpoint.Endpoint) (n uint64) {
	for _, e := range endpoints {
		n += e.Requests.Load()
	}
	return n
}

// The defaults of what a HealthCheck leaves out.
const (
	defaultInterval  = 10 * time.Second
	defaultTimeout   = time.Second
	defaultNoTraffic = time.Minute
)

func withDefaults(c resource.HealthCheck) resource.HealthCheck {
	c.Interval = cmp.Or(c.Interval, defaultInterval)
	c.Timeout = cmp.Or(c.Timeout, defaultTimeout)
	c.UnhealthyInterval = cmp.Or(c.UnhealthyInterval, c.Interval)
	c.NoTrafficInterval = cmp.Or(c.NoTrafficInterval, defaultNoTraffic)
	c.Unhealthy, c.Healthy = max(c.Unhealthy, 1), max(c.Healthy, 1)
	return c
}

// sameCheck reports whether b, before its defaults, is a.
func sameCheck(a, b *resource.HealthCheck) bool { return reflect.DeepEqual(*a, withDefaults(*b)) }
