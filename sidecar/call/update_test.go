package call

import (
	"slices"
	"testing"

	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/xds/resource"
)

// A change keeps what it does not touch: state by address, counters, and the
// pools of connections even where the breakers begin anew.
func TestUpdate(t *testing.T) {
	f := setUp(t, policy, 0, "10.0.0.1:80", "10.0.0.2:80")
	c := f.begin(t)
	ep := c.Pick(1)
	c.Done(1, 503, stats.ErrNone, 1)

	if err := f.cluster.Update(nil, endpoints("10.0.0.2:80", "10.0.0.3:80")); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(f.retired, []string{"10.0.0.1:80"}) {
		t.Errorf("retired %v", f.retired)
	}
	before := f.cluster.Endpoints()[0]
	cfg := policy
	cfg.Breaker.ConsecutiveFailures++
	if err := f.cluster.Update(&cfg, nil); err != nil {
		t.Fatal(err)
	}
	after := f.cluster.Endpoints()[0]
	if len(f.cluster.Endpoints()) != 2 || len(f.retired) != 1 {
		t.Errorf("%d endpoints, retired %v", len(f.cluster.Endpoints()), f.retired)
	}
	if after.Breaker == before.Breaker || after.Attachment != before.Attachment {
		t.Errorf("breaker the same: %v; pool %v, was %v", after.Breaker == before.Breaker, after.Attachment, before.Attachment)
	}
	// The call that began before sees what it saw.
	if next := c.Pick(1); next == nil || next.Address == ep.Address || next.Address == "10.0.0.3:80" {
		t.Errorf("%v after %v", next, ep)
	}
	c.Done(1, 200, stats.ErrNone, 1)
	c.End(1, 200, stats.ErrNone)
	f.rest(t, 1)
}

// A policy that cannot be is refused and changes nothing.
func TestUpdateRefused(t *testing.T) {
	f := setUp(t, policy, 0, "10.0.0.1:80")
	cfg := policy
	cfg.Balancer = "magic"
	if err := f.cluster.Update(&cfg, endpoints("10.0.0.2:80")); err == nil {
		t.Error("no error")
	}
	if f.cluster.Config().Balancer != "round_robin" || f.cluster.Endpoints()[0].Address != "10.0.0.1:80" || len(f.retired) != 0 {
		t.Errorf("%+v, %v, retired %v", f.cluster.Config(), f.cluster.Endpoints()[0].Address, f.retired)
	}
}

// Limits and budget that do not change keep their counts.
func TestUpdateKeepsCounts(t *testing.T) {
	cfg := policy
	cfg.Limits.Requests = 5
	f := setUp(t, cfg, 0, "10.0.0.1:80")
	c := f.begin(t)
	if err := f.cluster.Update(&cfg, nil); err != nil {
		t.Fatal(err)
	}
	if active, _ := f.cluster.InUse(); active != 1 {
		t.Errorf("%d active", active)
	}
	cfg.Limits = resource.Limits{Requests: 6}
	if err := f.cluster.Update(&cfg, nil); err != nil {
		t.Fatal(err)
	}
	c.End(1, 200, stats.ErrNone) // gives its place back where it took it
	f.rest(t, 1)
}
