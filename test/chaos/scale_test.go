package chaos

import (
	"cmp"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
)

// TestScale: 2 -> 6 -> 2 instances under load, GETs and POSTs, on connections
// that stay and on new ones, quick ones and long ones. New instances take calls within a second of
// being ready, removed ones end without a failed call.
func TestScale(t *testing.T) {
	r := newRig(t)
	r.run(2)
	r.awaitReady(2)
	c := r.client()
	c.awaitEndpoints(2)
	gets := c.load(600).start(t)
	l := c.load(300)
	l.method, l.body = http.MethodPost, 2000
	posts := l.start(t)
	l.fresh = true
	fresh := l.start(t)
	l.fresh, l.path, l.rate, l.conns = false, "/?delay=1s", 30, 60
	long := l.start(t)
	gets.forSeconds(0.5)

	r.meshctl("scale", service, "6")
	ready := map[string]time.Time{}
	process.Await(t, patience, func() error {
		all, err := r.instances()
		if err != nil {
			return err
		}
		for _, i := range all {
			if i.Ready && ready[i.ID].IsZero() {
				ready[i.ID] = time.Now()
			}
		}
		if len(ready) < 6 {
			return fmt.Errorf("%d instances ready, want 6", len(ready))
		}
		return nil
	})
	gets.forSeconds(1)
	for i := range 6 {
		name := fmt.Sprintf("%s-%d", service, i)
		var stats appStats
		if err := r.get("http://"+r.app(name).Addr+"/-/stats", &stats); err != nil {
			t.Fatal(err)
		}
		after := time.Unix(0, stats.First).Sub(ready[name])
		if i < 2 {
			continue // was there before
		}
		t.Logf("%s: first call %v after it was seen ready, %d calls", name, after.Round(time.Millisecond), stats.Calls)
		if stats.Calls == 0 || after > time.Second {
			t.Errorf("%s took %d calls, the first %v after it was ready; want within 1 s", name, stats.Calls, after)
		}
	}

	r.meshctl("scale", service, "2")
	from := time.Now()
	r.awaitReady(2)
	t.Logf("4 of 6 were out after %v", time.Since(from).Round(time.Millisecond))
	gets.forSeconds(2.5) // until their processes have ended
	gets.clean("GETs")
	posts.clean("POSTs")
	fresh.clean("POSTs, a connection each")
	long.clean("POSTs of a second")
	if eps, err := c.endpoints(); err != nil || len(eps) != 2 {
		t.Errorf("the client knows %v (%v), want 2 endpoints", eps, cmp.Or(err))
	}
}
