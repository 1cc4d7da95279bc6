package chaos

import (
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
)

// illnesses are how an instance is up and yet of no use.
var illnesses = []struct {
	mode string
	// seen: its answers reach callers until the breaker is open, since 500 is
	// an answer, and not tried again.
	seen bool
	// attempt is the time-out of one attempt: only a hang needs it, and where
	// it is short, a machine that is busy looks like one.
	attempt string
}{{"fail", true, "0s"}, {"unavailable", false, "0s"}, {"hang", false, "800ms"}}

// sickbed is a service of three with one that can be made sick.
func sickbed(t *testing.T) (r *rig, c *client, sick string) {
	t.Helper()
	r = newRig(t)
	r.run(3)
	sick = r.awaitReady(3)[1].ID
	c = r.client()
	c.awaitEndpoints(3)
	return r, c, sick
}

func (r *rig) applyFor(balancer, attempt string) {
	r.t.Helper()
	r.apply(fmt.Sprintf("balancer: %s\n  timeout: {request: 4s, attempt: %s}\n  breaker: {openFor: 1s}", balancer, attempt))
}

// TestBreaker: an instance that answers badly, or not at all, is taken out by
// its breaker: callers' sidecars and meshctl top show it open, calls go to the
// others, and come back when it is well.
func TestBreaker(t *testing.T) {
	r, c, sick := sickbed(t)
	for _, ill := range illnesses {
		t.Run(ill.mode, func(t *testing.T) {
			// Round robin goes on asking, whatever the answers: only the
			// breaker helps.
			r.applyFor("round_robin", ill.attempt)
			calls := c.load(300).start(t)
			calls.forSeconds(0.5)
			r.mode(sick, ill.mode)
			took := process.Await(t, patience, func() error { return c.breakerOpen(sick) })
			t.Logf("open after %v, with %d failed calls", took.Round(time.Millisecond), calls.failures())
			took = process.Await(t, patience, func() error { return r.topShows(1) })
			t.Logf("meshctl top shows it %v later", took.Round(time.Millisecond))
			calls.forSeconds(1)
			o := calls.stop()
			t.Log(o)
			// Five open it; then three trials a second, at most.
			limit := int64(0)
			if ill.seen {
				limit = 10 + 3*(o.calls/300+1)
			}
			if o.failed > limit {
				t.Errorf("%d calls failed, want at most %d", o.failed, limit)
			}

			r.mode(sick, "ok")
			healed := c.load(300).start(t)
			took = process.Await(t, patience, func() error {
				if c.breakerOpen(sick) == nil {
					return fmt.Errorf("the breaker of %s is still open", sick)
				}
				return nil
			})
			process.Await(t, patience, func() error { return r.topShows(0) })
			healed.forSeconds(0.5)
			o = healed.clean("well again")
			t.Logf("closed after %v, %d calls", took.Round(time.Millisecond), o.instances[sick])
			if o.instances[sick] == 0 {
				t.Errorf("%s takes no calls although it is well: %v", sick, o.instances)
			}
		})
	}
}

// TestSickInstance: the default balancer turns away from such an instance by
// itself, before a breaker opens.
func TestSickInstance(t *testing.T) {
	r, c, sick := sickbed(t)
	for _, ill := range illnesses {
		t.Run(ill.mode, func(t *testing.T) {
			r.applyFor("peak_ewma", ill.attempt)
			calls := c.load(300).start(t)
			calls.forSeconds(0.5)
			r.mode(sick, ill.mode)
			calls.forSeconds(3)
			o := calls.stop()
			t.Log(o)
			if !ill.seen && o.failed > 0 || o.failed > o.calls/100 {
				t.Errorf("%d of %d calls failed, want none that can be tried again, and at most 1 %% else", o.failed, o.calls)
			}
			r.mode(sick, "ok")
		})
	}
}

// topShows is nil if meshctl top shows that many open breakers of the service.
func (r *rig) topShows(open int) error {
	r.t.Helper()
	out := r.meshctl("top", "--once")
	m := regexp.MustCompile(`(?m)^checkout .* (\d+) +\d+$`).FindStringSubmatch(out)
	if m == nil || m[1] != strconv.Itoa(open) {
		return fmt.Errorf("meshctl top does not show %d open breakers:\n%s", open, out)
	}
	return nil
}

// breakerOpen is nil if the client's breaker of an instance is not closed.
func (c *client) breakerOpen(instance string) error {
	eps, err := c.endpoints()
	if err != nil {
		return err
	}
	for _, ep := range eps {
		if ep.ID == instance && ep.Breaker != "closed" {
			return nil
		}
	}
	return fmt.Errorf("no breaker of %s is open: %v", instance, eps)
}
