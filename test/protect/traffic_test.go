package protect

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meshd/meshd/test/rig"
)

func TestFaults(t *testing.T) {
	both(t, func(t *testing.T, version int) {
		m := rig.New(t)
		m.Apply(policy("cart", `
fault:
  headers: [{name: x-test, exact: fault}]
  delay: {duration: 300ms, percent: 100}
  abort: {httpStatus: 418, percent: 100}
`))
		m.Sidecar(t, rig.Spec{Service: "cart", App: rig.Serve(t, 0, says("cart"))})
		m.AwaitReady("cart")
		c := newCaller(t, version, m.Sidecar(t, rig.Spec{Service: "web"}))
		if a := c.must("http://cart:8080/"); a.status != 200 || a.took > 250*time.Millisecond && a.took > time.Second {
			t.Errorf("without the header: %d after %v", a.status, a.took)
		}
		a := c.must("http://cart:8080/", "x-test: fault")
		if a.status != 418 || a.took < 300*time.Millisecond || !strings.Contains(a.header.Get("Proxy-Status"), "fault") {
			t.Errorf("%d after %v, Proxy-Status %q", a.status, a.took, a.header.Get("Proxy-Status"))
		}
	})
}

func TestRateLimit(t *testing.T) {
	both(t, func(t *testing.T, version int) {
		m := rig.New(t)
		m.Apply(policy("cart", "rateLimit: {requests: 1, per: 1m, burst: 5}"))
		m.Sidecar(t, rig.Spec{Service: "cart", App: rig.Serve(t, 0, says("cart"))})
		m.AwaitReady("cart")
		c := newCaller(t, version, m.Sidecar(t, rig.Spec{Service: "web"}))
		for i := range 8 {
			a := c.must("http://cart:8080/")
			if want := map[bool]int{true: 200, false: 429}[i < 5]; a.status != want {
				t.Errorf("call %d: %d, want %d", i, a.status, want)
			}
			if a.status == 429 && a.header.Get("Retry-After") == "" {
				t.Error("429 without Retry-After")
			}
		}
	})
}

func TestMirror(t *testing.T) {
	both(t, func(t *testing.T, version int) {
		m := rig.New(t)
		m.Apply(strings.ReplaceAll(service, "cart", "shadow") + "---" + policy("cart", "mirror: [{service: shadow, port: 8080, percent: 100}]"))
		copies := make(chan string, 10)
		m.Sidecar(t, rig.Spec{Service: "cart", App: rig.Serve(t, 0, says("cart"))})
		m.Sidecar(t, rig.Spec{Service: "shadow", App: rig.Serve(t, 0, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			copies <- r.Host + r.URL.String() + " " + r.Header.Get("X-Who")
			http.Error(w, "nobody sees this", 500)
		}))})
		m.AwaitReady("cart", "shadow")
		c := newCaller(t, version, m.Sidecar(t, rig.Spec{Service: "web"}))
		if a := c.must("http://cart:8080/x?y=1", "x-who: ann"); a.status != 200 || a.body != "cart" {
			t.Errorf("%d %s", a.status, a.body)
		}
		select {
		case got := <-copies:
			if got != "cart-shadow:8080/x?y=1 ann" {
				t.Errorf("the copy is %q", got)
			}
		case <-time.After(rig.Patience):
			t.Error("no copy came")
		}
	})
}

// An instance that has too much to do sheds, says so, and is not held to have failed.
func TestShedIsNoFailure(t *testing.T) {
	both(t, func(t *testing.T, version int) {
		m := rig.New(t)
		m.Apply(policy("cart", "admission: {min: 2, max: 2, queue: 2, maxWait: 100ms}\nretry: {attempts: 0}"))
		release := make(chan struct{})
		m.Sidecar(t, rig.Spec{Service: "cart", App: rig.Serve(t, 0, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { <-release }))})
		m.AwaitReady("cart")
		s := m.Sidecar(t, rig.Spec{Service: "web"})
		c := newCaller(t, version, s)
		var all sync.WaitGroup
		answers := make(chan answer, 64)
		for range 30 {
			all.Go(func() {
				if a, err := c.get("http://cart:8080/"); err == nil {
					answers <- a
				}
			})
		}
		for range 28 {
			a := <-answers
			if a.status != 503 || a.header.Get("Retry-After") == "" || !strings.Contains(a.header.Get("Proxy-Status"), "shed: ") {
				t.Errorf("%d, Retry-After %q, Proxy-Status %q", a.status, a.header.Get("Retry-After"), a.header.Get("Proxy-Status"))
			}
		}
		close(release)
		all.Wait()
		close(answers)
		for a := range answers {
			if a.status != 200 {
				t.Errorf("one that was let in: %d %s", a.status, a.body)
			}
		}
		var stats struct {
			Client []struct {
				Endpoints []struct {
					Failures int
					Breaker  string
				}
			}
		}
		if err := s.Get("/stats", &stats); err != nil {
			t.Fatal(err)
		}
		for _, svc := range stats.Client {
			for _, ep := range svc.Endpoints {
				if ep.Failures != 0 || ep.Breaker != "closed" {
					t.Errorf("the endpoint counts %d failures, its breaker is %s", ep.Failures, ep.Breaker)
				}
			}
		}
	})
}

// The server's word is on the answers of its sidecar, and does not reach callers.
func TestServersWord(t *testing.T) {
	both(t, func(t *testing.T, version int) {
		m := rig.New(t)
		in := m.Sidecar(t, rig.Spec{Service: "cart", App: rig.Serve(t, 0, says("cart"))})
		m.AwaitReady("cart")
		direct := &caller{t, &http.Client{Transport: rig.Transport(t, version, in.Inbound), Timeout: 5 * time.Second}}
		if v := direct.must("http://cart:8080/").header.Get("Endpoint-Load-Metrics"); !strings.HasPrefix(v, "TEXT named_metrics.meshd_inflight=1,") {
			t.Errorf("endpoint-load-metrics: %q", v)
		}
		c := newCaller(t, version, m.Sidecar(t, rig.Spec{Service: "web"}))
		if v := c.must("http://cart:8080/").header.Get("Endpoint-Load-Metrics"); v != "" {
			t.Errorf("the caller was told %q", v)
		}
	})
}

func contains(s, part string) bool { return strings.Contains(s, part) }

// metric reads one sample of a sidecar's metrics.
func metric(s *rig.Sidecar, name string, want float64) error {
	var text string
	if err := s.Get("/metrics", &text); err != nil {
		return err
	}
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, name+" "); ok {
			var got float64
			if _, err := fmt.Sscan(v, &got); err != nil || got != want {
				return fmt.Errorf("%s is %s, want %v", name, strings.TrimSpace(v), want)
			}
			return nil
		}
	}
	return fmt.Errorf("%s is not there", name)
}
