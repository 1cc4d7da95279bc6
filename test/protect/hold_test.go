package protect

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// Calls to a service that has no instance wait for one, and none fails.
func TestCallsWaitForTheFirstInstance(t *testing.T) {
	both(t, func(t *testing.T, version int) {
		m := rig.New(t)
		m.Apply(service)
		c := newCaller(t, version, m.Sidecar(t, rig.Spec{Service: "web"}))
		const calls = 60
		var failed atomic.Int64
		var all sync.WaitGroup
		for range calls {
			all.Go(func() {
				if a, err := c.get("http://cart:8080/"); err != nil || a.status != http.StatusOK || a.body != "here" {
					if failed.Add(1) == 1 {
						t.Logf("%d %q %v", a.status, a.body, err)
					}
				}
			})
		}
		m.Sidecar(t, rig.Spec{Service: "cart", App: rig.Serve(t, 0, says("here"))})
		all.Wait()
		if n := failed.Load(); n != 0 {
			t.Errorf("%d of %d calls failed", n, calls)
		}
	})
}

// A call waits no longer than the policy says, and is told for what.
func TestHoldEnds(t *testing.T) {
	both(t, func(t *testing.T, version int) {
		m := rig.New(t)
		m.Apply(service + "---" + policy("cart", "hold: {wait: 300ms}"))
		s := m.Sidecar(t, rig.Spec{Service: "web"})
		c := newCaller(t, version, s)
		a := c.must("http://cart:8080/")
		if a.status != http.StatusServiceUnavailable || a.took < 300*time.Millisecond || a.took > 3*time.Second {
			t.Errorf("%d after %v: %s", a.status, a.took, a.body)
		}
		if want := "hold.wait"; !contains(a.body, want) {
			t.Errorf("%q does not say %q", a.body, want)
		}
		process.Await(t, rig.Patience, func() error {
			return metric(s, `meshd_hold_calls_total{meshd_service="default/cart:8080",meshd_hold_outcome="expired"}`, 1)
		})
	})
}
