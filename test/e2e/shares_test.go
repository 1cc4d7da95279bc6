package e2e

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

const sharedPolicy = `
apiVersion: meshd.io/v1alpha1
kind: TrafficPolicy
metadata: {name: checkout}
spec:
  targetRefs: [{kind: Service, name: checkout}]
  rateLimit: {requests: 100, burst: 10, scope: mesh}
`

// A rate that is meant for all callers together is kept by two that know
// nothing of each other, in parts that follow what each wants.
func TestSharedRate(t *testing.T) {
	m := newMesh(t, nil, "", sharedPolicy)
	m.instance("checkout", "checkout-0", serve(t, nil, "127.0.0.1:0", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})))
	names := []string{"front-0", "front-1"}
	var mu sync.Mutex
	passed, every := [2]int{}, [2]time.Duration{3 * time.Millisecond, 3 * time.Millisecond}
	done := make(chan struct{})
	var callers sync.WaitGroup
	defer callers.Wait()
	defer close(done)
	for i, name := range names {
		front := m.sidecar(rig.Spec{Service: "front", Instance: name})
		client := newClient(t, nil, 0, nil)
		callers.Go(func() {
			for {
				mu.Lock()
				pause := time.NewTimer(every[i])
				mu.Unlock()
				select {
				case <-done:
					return
				case <-pause.C:
				}
				req, _ := http.NewRequest("GET", "http://"+front.Outbound, nil)
				req.Host = "checkout:8080"
				res, err := client.Do(req)
				if err != nil {
					t.Error(err)
					return
				}
				res.Body.Close()
				mu.Lock()
				switch res.StatusCode {
				case http.StatusOK:
					passed[i]++
				case http.StatusTooManyRequests:
				default:
					t.Errorf("%s: answered with %s", name, res.Status)
				}
				mu.Unlock()
			}
		})
	}
	// rates are what passed in a second or more.
	rates := func() (r [2]float64) {
		mu.Lock()
		before, at := passed, time.Now()
		mu.Unlock()
		<-time.After(1500 * time.Millisecond) // it is what is measured
		mu.Lock()
		defer mu.Unlock()
		for i := range r {
			r[i] = float64(passed[i]-before[i]) / time.Since(at).Seconds()
		}
		return r
	}
	check := func(what string, least, most [2]float64) {
		t.Helper()
		process.Await(t, patience, func() error {
			r := rates()
			for i := range r {
				if r[i] < least[i] || r[i] > most[i] {
					return fmt.Errorf("%s: %.0f calls a second pass, want from %v to %v", what, r, least, most)
				}
			}
			return nil
		})
	}
	check("both want all", [2]float64{38, 38}, [2]float64{58, 58})
	mu.Lock()
	every[1] = 100 * time.Millisecond // 10 a second at most
	mu.Unlock()
	check("one wants little", [2]float64{70, 5}, [2]float64{100, 12})
}
