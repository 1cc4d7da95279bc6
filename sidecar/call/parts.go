package call

import (
	"time"

	"github.com/meshd/meshd/sidecar/stats"
)

// The parts of a call's time, so that "slow" has a name. What they leave is, of
// a call that goes out, the answer: the network and the service called; of one
// that comes in, the application's own work.

// Sending says that the attempt's request begins to go out, on a connection
// that is there.
func (c *Call) Sending(now int64) {
	if c.picked {
		c.log.try(c.nth).sent = now
	}
}

// parts are in ns; below is what part has returned.
func (c *Call) parts(now, below int64) (p [stats.Parts]int64) {
	if c.Route.Server {
		p[stats.PartQueued] = c.queued
		p[stats.PartDownstream] = max(min(below, now-c.Start-c.queued), 0)
		return p
	}
	if c.attempts == 0 {
		p[stats.PartHeld] = now - c.Start // of a call that waited and was not made
		return p
	}
	first, last := c.log.try(0), c.log.try(c.nth)
	if c.heldNs > 0 || c.delayed {
		p[stats.PartHeld] = first.began - c.Start
	}
	p[stats.PartRetried] = last.began - first.began
	if last.sent > 0 {
		p[stats.PartConnect] = last.sent - last.began
	}
	return p
}

// spent counts the parts. Most calls have none.
func (c *Call) spent(p *[stats.Parts]int64) {
	for i, ns := range p {
		if ns > 0 {
			c.Route.Service.Spent(stats.Part(i), time.Duration(ns))
		}
	}
}

// out and back bracket a call that the application makes for an inbound one.
// They have the shard's lock, and so has below.
func (e *Joined) out(now int64) {
	if e.outside++; e.outside == 1 {
		e.since = now
	}
}

func (e *Joined) back(now int64) {
	if e.outside--; e.outside == 0 {
		e.busy += max(now-e.since, 0)
	}
}

// below is for how long some call that the application makes for the trace's
// sake has been under way.
func (e *Joined) below(now int64) int64 {
	if e.outside > 0 {
		return e.busy + max(now-e.since, 0)
	}
	return e.busy
}
