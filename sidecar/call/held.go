package call

import (
	"fmt"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/xds/resource"
)

// A held is the line of a cluster's calls that no endpoint can take yet
// (resource.Hold). When endpoints come, a few calls go at once, and two more for
// each that ends well: an instance that has just started is not buried under
// what waited for it. Calls may last for hours, or all end badly: so one more an
// endpoint goes at each look at the line, 50 a second.
type held struct {
	cluster *Cluster
	hold    *breaker.Hold
	line    line
}

// firstHeld is how many calls an endpoint gets at once when it comes.
const firstHeld = 8

func newHeld(c *Cluster) *held {
	h := &held{cluster: c, hold: breaker.NewHold(0, 0)}
	h.line = line{queue: h.hold, now: c.Now, poll: 20 * time.Millisecond, unwanted: func(w *Waiter) {
		w.slot.Release()
		h.letGo(1) // another may have what it was given
	}, looked: func() { h.letGo(c.view.Load().set.Len()) }}
	return h
}

// letGo lets up to n calls go on, as far as the cluster's limit has room.
func (h *held) letGo(n int) {
	for n > 0 && h.hold.Waiting() > 0 {
		v := h.cluster.view.Load()
		if v.set.Len() == 0 || !v.requests.Acquire() {
			return
		}
		list := h.hold.Release(h.cluster.Now())
		if list == nil {
			// Whoever comes now may have found the place that we had taken
			// missing, so look again.
			v.requests.Release()
			continue
		}
		n--
		list.Owner.(*Waiter).slot = v.requests
		resume(list)
	}
}

// Held are the calls that wait for an endpoint, and what became of others.
func (c *Cluster) Held() breaker.HoldStats {
	if h := c.held.Load(); h != nil {
		return h.hold.Stats()
	}
	return breaker.HoldStats{}
}

// holding is the cluster's line, made when first needed.
func (c *Cluster) holding() *held {
	if h := c.held.Load(); h != nil {
		return h
	}
	h := newHeld(c)
	if !c.held.CompareAndSwap(nil, h) {
		return c.held.Load()
	}
	return h
}

// await puts the call in its cluster's line, or refuses it with e.
func (c *Call) await(now int64, e stats.ErrorType) Step {
	if !c.mayWait() {
		return c.refuse(Refusal{Err: e})
	}
	cfg := &c.view.Hold
	h := c.cluster.holding()
	h.hold.Set(int(cfg.Calls), cfg.Wait)
	if h.hold.Waiting() >= int64(cfg.Calls) {
		h.letGo(1) // who comes while all places are taken, and endpoints are there, makes one free
	}
	w := newWaiter(c.owner, c.priority, c.cohort(), c.until, now)
	w.line = &h.line
	v, list := h.hold.Enter(now, &w.Waiter)
	resume(list)
	if v != breaker.Queued {
		return c.refuseHeld(v, e)
	}
	c.wait, c.heldFor = w, e
	h.line.queued()
	h.letGo(1) // endpoints may have come since we looked
	return Wait
}

func (c *Call) refuseHeld(v breaker.Verdict, e stats.ErrorType) Step {
	name := c.Route.Service.Name()
	why := name + " has no endpoint that takes calls"
	if e == stats.ErrConnectionLimitReached {
		why = name + " is at its limit of requests"
	}
	cfg := c.view.Hold
	switch v {
	case breaker.ShedFull:
		return c.refuse(Refusal{Err: e, Detail: fmt.Sprintf("%s, and %d calls wait for one already (hold.calls)", why, cfg.Calls)})
	case breaker.ShedDeadline:
		return c.refuse(Refusal{Err: stats.ErrHTTPResponseTimeout, Detail: why + ", and the call's deadline has passed while it waited for one"})
	}
	return c.refuse(Refusal{Err: e, Detail: fmt.Sprintf("%s, nor had for the %s that the call has waited (hold.wait)", why, cfg.Wait)})
}

// NoEndpoint follows a Pick without a result: the call waits for an endpoint
// where none is known, is refused where those that are known do not do.
func (c *Call) NoEndpoint(now int64) Step {
	if c.view = c.cluster.view.Load(); c.view.set.Len() == 0 {
		if c.slot != nil {
			c.slot.Release()
			c.slot = nil
		}
		return c.await(now, stats.ErrDestinationUnavailable)
	}
	return c.refuse(Refusal{Err: stats.ErrDestinationUnavailable})
}

// mayWait reports whether the call's cluster holds calls, and the call can be held.
func (c *Call) mayWait() bool {
	h := &c.view.Hold
	return h.Calls > 0 && h.Wait > 0 && c.owner != nil
}

// scaled reports whether a cluster at its limit is about to get more endpoints.
func scaled(h *resource.Hold) bool { return h.Scaled && h.Calls > 0 }
