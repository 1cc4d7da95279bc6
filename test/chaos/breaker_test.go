package chaos

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"
)

const impatientPolicy = `apiVersion: meshd.io/v1alpha1
kind: TrafficPolicy
metadata: {name: impatient}
spec:
  targetRefs: [{kind: Service, name: checkout}]
  timeout: {request: 3s, attempt: 100ms}
`

// TestBreaker: an instance that is up but answers badly, or not at all, is
// taken out by its breaker: callers see it open, calls go to the others.
func TestBreaker(t *testing.T) {
	for _, bad := range []struct {
		mode string
		// seen: its answers reach callers until the breaker is open, since
		// 500 is an answer and not tried again.
		seen bool
	}{{"fail", true}, {"unavailable", false}, {"hang", false}} {
		t.Run(bad.mode, func(t *testing.T) {
			r := newRig(t)
			policy := filepath.Join(r.dir, "policy.yaml")
			if err := os.WriteFile(policy, []byte(impatientPolicy), 0o600); err != nil {
				t.Fatal(err)
			}
			r.meshctl("apply", "-f", policy)
			r.run(3)
			sick := r.awaitReady(3)[1].ID
			c := r.client()
			c.awaitEndpoints(3)
			calls := c.load(300).start(t)
			calls.forSeconds(0.5)
			r.mode(sick, bad.mode)
			took := await(t, patience, func() error { return c.breakerOpen(sick) })
			t.Logf("open after %v, with %d failed calls", took.Round(time.Millisecond), calls.failures())
			table := regexp.MustCompile(`(?m)^checkout .* (\d+) +\d+$`)
			await(t, patience, func() error {
				out := r.meshctl("top", "--once")
				if m := table.FindStringSubmatch(out); m == nil || m[1] != "1" {
					return fmt.Errorf("meshctl top shows no open breaker:\n%s", out)
				}
				return nil
			})
			t.Logf("meshctl top --once:\n%s", r.meshctl("top", "--once"))
			o := calls.stop()
			t.Log(o)
			// Once open, only its trials reach the instance: three of them
			// every five seconds.
			if limit := int64(20); bad.seen && o.failed > limit || !bad.seen && o.failed > 0 {
				t.Errorf("%d calls failed", o.failed)
			}

			r.mode(sick, "ok")
			healed := c.load(300).start(t)
			took = await(t, patience, func() error {
				if c.breakerOpen(sick) == nil {
					return fmt.Errorf("the breaker of %s is still open", sick)
				}
				return nil
			})
			healed.forSeconds(0.5)
			o = healed.clean("after it is well again")
			t.Logf("closed after %v, %d calls", took.Round(time.Millisecond), o.instances[sick])
			if o.instances[sick] == 0 {
				t.Errorf("%s takes no calls although it is well: %v", sick, o.instances)
			}
		})
	}
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
