package chaos

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// TestKillInstance: one of five dies, in two ways, at 2,000 calls a second,
// and no caller notices.
func TestKillInstance(t *testing.T) {
	r := newRig(t)
	r.run(5)
	all := r.awaitReady(5)
	c := r.client()
	c.awaitEndpoints(5)
	for i, what := range []string{"the application", "the application and its sidecar"} {
		t.Run(what, func(t *testing.T) {
			calls := c.load(2000).start(t)
			calls.forSeconds(0.7)
			victim := all[i]
			pids := []int{r.app(victim.ID).PID}
			if i == 1 {
				pids = append(pids, victim.PID)
			}
			kill9(t, pids...)
			calls.forSeconds(2.3)
			o := calls.clean("kill -9 of " + what)
			if len(o.instances) != 5 {
				t.Errorf("%d instances answered, want 5: %v", len(o.instances), o.instances)
			}
		})
	}
}

// TestSidecarIsBack: its supervisor has a killed sidecar serving again at once.
func TestSidecarIsBack(t *testing.T) {
	const limit = 300 * time.Millisecond
	r := newRig(t)
	r.run(4)
	all := r.awaitReady(4)
	c := r.client()
	c.awaitEndpoints(4)
	calls := c.load(500).start(t)
	var took []time.Duration
	for _, victim := range all[:3] {
		from := time.Now()
		kill9(t, victim.PID)
		await(t, patience, func() error {
			if !gone(victim.PID) {
				return fmt.Errorf("pid %d is still there", victim.PID)
			}
			return nil
		})
		await(t, patience, func() error {
			_, err := load{addr: victim.Address, host: authority}.once()
			return err
		})
		took = append(took, time.Since(from))
		calls.forSeconds(0.3)
	}
	calls.clean("3 sidecars killed one after the other")
	slices.Sort(took)
	t.Logf("from kill -9 to the first answer: %v", took)
	// The middle one: this machine may be busy with other tests.
	if took[1] > limit {
		t.Errorf("a killed sidecar was back after %v, want less than %v", took[1], limit)
	}
	r.awaitReady(4)
}

// TestLostInstance: one that does not come back is out of its callers'
// endpoints within a second.
func TestLostInstance(t *testing.T) {
	r := newRig(t)
	r.run(1)
	r.awaitReady(1)
	lost := r.run(1, "--instance-prefix", "lost")
	r.awaitReady(2)
	c, other := r.client(), r.client()
	c.awaitEndpoints(2)
	other.awaitEndpoints(2)
	calls := c.load(500).start(t)
	calls.forSeconds(0.5)
	from := time.Now()
	lost.kill() // what it started goes with it
	c.awaitEndpoints(1)
	other.awaitEndpoints(1)
	took := time.Since(from)
	calls.forSeconds(0.5)
	calls.clean("an instance and its supervisor killed")
	t.Logf("out of everybody's endpoints after %v", took)
	if took > time.Second {
		t.Errorf("the lost instance was an endpoint for %v, want at most 1 s", took)
	}
}
