package health

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/balancer"
	"github.com/meshd/meshd/xds/resource"
)

// dead has 200 calls a second for ten minutes, and one of ten endpoints dead
// from 10 s on until 5 min; it counts the calls that fail, and says when the
// endpoint is back.
func dead(t *testing.T, b breaker.Config, o resource.Outlier) (lost int, back time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		cfg, _ := fake()
		m := New(cfg)
		defer m.Close()
		set := setWith(b, nil, upTo(10)...)
		m.Update(resource.Cluster{Name: "a", Outlier: o}, set)
		p, err := balancer.New(balancer.Config{Policy: "round_robin", Balancing: resource.DefaultBalancing(), Time: time.Now()}, set)
		if err != nil {
			t.Fatal(err)
		}
		for now := time.Duration(0); now < 10*time.Minute; now = time.Duration(cfg.Now()) {
			e, _ := p.Pick(balancer.Info{Now: int64(now)})
			ticket, ok := e.Breaker.Allow()
			if !ok {
				t.Fatalf("%v: the breaker refuses what was picked", now)
			}
			failed := e.ID == "3" && now > 10*time.Second && now < 5*time.Minute
			if e.ID == "3" && !failed && now > 5*time.Minute && back == 0 {
				back = now
			}
			if failed {
				lost++
			}
			e.Breaker.Done(ticket, !failed)
			e.Outcome(int64(now), failed, int64(time.Millisecond))
			time.Sleep(5 * time.Millisecond)
		}
	})
	return lost, back
}

// The breaker's trials of one that is dead wait for the end of its ejection, and
// one that fails begins a longer one.
func TestEjectionSparesTrials(t *testing.T) {
	b := breaker.Config{ConsecutiveFailures: 5, OpenFor: 5 * time.Second}
	o := resource.Outlier{Consecutive: 5, MaxEjected: 0.5, BaseEjection: 30 * time.Second}
	alone, _ := dead(t, b, resource.Outlier{Disabled: true})
	both, back := dead(t, b, o)
	ejections, _ := dead(t, breaker.Config{Disabled: true}, o)
	if alone < 55 || alone > 70 {
		t.Errorf("with the breaker alone %d calls failed, want one every 5 s", alone)
	}
	if both > 15 {
		t.Errorf("with both %d calls failed, with the breaker alone %d", both, alone)
	}
	if ejections > 15 {
		t.Errorf("with ejection alone %d calls failed", ejections)
	}
	if back > 8*time.Minute {
		t.Errorf("back at %v", back)
	}
}
