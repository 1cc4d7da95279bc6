package chaos

import (
	"fmt"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/internal/testkit/race"
)

// TestKillInstance: one of five dies, in several ways, at 2,000 calls a second,
// and no caller notices.
func TestKillInstance(t *testing.T) {
	r := newRig(t)
	r.run(5)
	all := r.awaitReady(5)
	c := r.client()
	c.awaitEndpoints(5)
	for i, kill := range []struct {
		what    string
		sidecar bool
		delay   string // of answers: with it, many calls are under way at the kill
	}{
		{what: "the application"},
		{what: "the application and its sidecar", sidecar: true},
		{what: "a slow application", delay: "20ms"},
		{what: "a slow application and its sidecar", sidecar: true, delay: "20ms"},
	} {
		t.Run(kill.what, func(t *testing.T) {
			l := c.load(2000)
			if race.Enabled {
				l.rate = 400 // more would wait in line, and an instance be killed before it has answered any
			}
			if kill.delay != "" {
				l.path, l.conns = "/?delay="+kill.delay, 128
			}
			calls := l.start(t)
			calls.forSeconds(0.7)
			victim := all[i]
			pids := []int{r.app(victim.ID).PID}
			if kill.sidecar {
				pids = append(pids, victim.PID)
			}
			process.Signal(t, syscall.SIGKILL, pids...)
			calls.forSeconds(2.3)
			o := calls.clean("kill -9 of " + kill.what)
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
		process.Signal(t, syscall.SIGKILL, victim.PID)
		process.Await(t, patience, func() error {
			if !process.Gone(victim.PID) {
				return fmt.Errorf("pid %d is still there", victim.PID)
			}
			return nil
		})
		process.Await(t, patience, func() error {
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
	lost.Kill() // what it started goes with it
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

// TestFrozenInstance: one that neither answers nor closes its connections, as
// behind a broken network, is out within its lease (5 s) and the time that it
// takes to tell. Callers with a time-out for an attempt notice nothing.
func TestFrozenInstance(t *testing.T) {
	const limit = 7 * time.Second
	r := newRig(t)
	r.apply("balancer: round_robin\n  timeout: {attempt: 1s}")
	r.run(3)
	frozen := r.awaitReady(3)[1]
	c := r.client()
	c.awaitEndpoints(3)
	calls := c.load(500).start(t)
	calls.forSeconds(1)
	from := time.Now()
	process.Signal(t, syscall.SIGSTOP, frozen.PID)
	c.awaitEndpoints(2)
	took := time.Since(from)
	calls.clean("the sidecar of an instance stopped")
	t.Logf("out of its callers' endpoints after %v", took.Round(time.Millisecond))
	if took > limit {
		t.Errorf("the frozen instance was an endpoint for %v, want at most %v", took, limit)
	}
	process.Signal(t, syscall.SIGCONT, frozen.PID)
	r.awaitReady(3)
	c.awaitEndpoints(3)
}
