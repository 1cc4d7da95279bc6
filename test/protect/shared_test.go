package protect

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// Two callers keep one limit together, however differently they call.
func TestSharedRateLimit(t *testing.T) {
	m := rig.New(t)
	m.Apply(policy("cart", "rateLimit: {requests: 100, per: 1s, burst: 10, scope: mesh}"))
	m.Sidecar(t, rig.Spec{Service: "cart", App: rig.Serve(t, 0, says("cart"))})
	m.AwaitReady("cart")
	ctx, stop := context.WithCancel(context.Background())
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	var served, made [2]atomic.Int64
	for i, rate := range []time.Duration{20, 400} { // calls a second
		c := newCaller(t, 1, m.Sidecar(t, rig.Spec{Service: "web", Instance: []string{"web-0", "web-1"}[i]}))
		all.Go(func() {
			tick := time.NewTicker(time.Second / rate)
			defer tick.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-tick.C:
				}
				if a, err := c.get("http://cart:8080/"); err == nil {
					made[i].Add(1)
					if a.status == 200 {
						served[i].Add(1)
					}
				}
			}
		})
	}
	// Of the second that is looked at, the limit and no more; and who wants
	// little gets it.
	process.Await(t, 2*rig.Patience, func() error {
		var before, tried [2]int64
		for i := range before {
			before[i], tried[i] = served[i].Load(), made[i].Load()
		}
		began := time.Now()
		pause := time.NewTimer(2 * time.Second)
		<-pause.C
		seconds := time.Since(began).Seconds()
		var rates, offered [2]float64
		for i := range before {
			rates[i], offered[i] = float64(served[i].Load()-before[i])/seconds, float64(made[i].Load()-tried[i])/seconds
		}
		sum := rates[0] + rates[1]
		if sum > 110 || sum < 85 || rates[0] < 0.85*offered[0] {
			return fmt.Errorf("%.0f and %.0f calls a second are served of %.0f and %.0f, limit 100", rates[0], rates[1], offered[0], offered[1])
		}
		return nil
	})
}
