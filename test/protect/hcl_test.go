package protect

import (
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// The balancer hcl keeps away from an instance that somebody else keeps busy: its
// sidecar says so by datagram, and nothing else could tell a caller that makes
// one call at a time.
func TestLoadIsAskedFor(t *testing.T) {
	m := rig.New(t)
	m.Apply(policy("cart", "balancer: hcl"))
	quit := make(chan struct{})
	var stuck atomic.Int64
	busy := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Stay") != "" {
			stuck.Add(1)
			<-quit
		}
		fmt.Fprint(w, "cart-0")
	})
	first := m.Sidecar(t, rig.Spec{Service: "cart", Instance: "cart-0", App: rig.Serve(t, 0, busy)})
	m.Sidecar(t, rig.Spec{Service: "cart", Instance: "cart-1", App: rig.Serve(t, 0, says("cart-1"))})
	m.AwaitReady("cart-0", "cart-1")
	caller := newCaller(t, 1, m.Sidecar(t, rig.Spec{Service: "web"}))

	const others = 8
	straight := newCaller(t, 1, &rig.Sidecar{Outbound: first.Inbound}) // past its own sidecar
	var all sync.WaitGroup
	for range others {
		all.Go(func() {
			if _, err := straight.get("http://cart:8080/", "x-stay: 1"); err != nil {
				t.Error(err)
			}
		})
	}
	defer all.Wait()
	defer close(quit)
	process.Await(t, rig.Patience, func() error {
		if n := stuck.Load(); n != others {
			return fmt.Errorf("%d of %d calls are with the instance", n, others)
		}
		return nil
	})
	// By calls in flight of its own, the caller would send every other one there.
	process.Await(t, rig.Patience, func() error {
		n := 0
		for range 50 {
			if caller.must("http://cart:8080/").body == "cart-0" {
				n++
			}
		}
		if n > 5 {
			return fmt.Errorf("%d of 50 calls went to the busy instance", n)
		}
		return nil
	})
}
