package page

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshd/meshd/test/rig"
)

// A small mesh: web calls shop, which calls cart, all the time; nobody calls
// quiet and timed but the test.
type small struct {
	*rig.Mesh
	t   testing.TB
	web *rig.Sidecar
}

// rate is how many calls of shop there are a second, and of timed.
const rate = 40

// newSmall starts it, and the load, which ends with the test.
func newSmall(t testing.TB) *small {
	t.Helper()
	// Every call is kept, so that each point of p99 has a trace.
	t.Setenv("OTEL_TRACES_SAMPLER", "always_on")
	m := &small{Mesh: rig.New(t), t: t}
	m.app("cart", "cart-0", 60*time.Millisecond)
	out := rig.Addrs(t, 1)[0]
	below := rig.Transport(t, 1, out)
	m.Sidecar(t, rig.Spec{Service: "shop", Instance: "shop-0", Outbound: out, App: rig.Serve(t, 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://cart:8080"+r.URL.Path, nil)
		if err == nil {
			for _, name := range []string{"traceparent", "tracestate"} {
				if v := r.Header.Get(name); v != "" {
					req.Header.Set(name, v)
				}
			}
			var res *http.Response
			if res, err = below.RoundTrip(req); err == nil {
				defer res.Body.Close()
				w.WriteHeader(res.StatusCode)
				_, err = io.Copy(w, res.Body)
			}
		}
		if err != nil && r.Context().Err() == nil {
			t.Errorf("shop: %v", err)
		}
	}))})
	m.Sidecar(t, rig.Spec{Service: "quiet", Instance: "quiet-0", App: rig.Serve(t, 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/fail" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))})
	m.app("timed", "timed-0", 400*time.Millisecond)
	m.web = m.Sidecar(t, rig.Spec{Service: "web", Instance: "web-0"})
	m.AwaitReady("cart-0", "shop-0", "quiet-0", "timed-0")
	ctx, stop := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() { m.load(ctx, "shop") })
	t.Cleanup(func() { stop(); work.Wait() })
	return m
}

// app starts an instance. Of its calls 60 % take unit, 36 % take 1.6 of it and
// 4 % take 3, so that no percentile that is looked at is near an edge.
func (m *small) app(service, id string, unit time.Duration) {
	m.t.Helper()
	var n atomic.Int64
	m.Sidecar(m.t, rig.Spec{Service: service, Instance: id, App: rig.Serve(m.t, 1, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		wait := unit
		switch i := n.Add(1) % 25; {
		case i == 0:
			wait = 3 * unit
		case i < 10:
			wait = unit * 8 / 5
		}
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
			fmt.Fprintln(w, id)
		case <-r.Context().Done():
		}
	}))})
}

// get calls a service through web's sidecar and returns its answer's status.
func (m *small) get(tr http.RoundTripper, url string) (int, error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return 0, err
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res.StatusCode, err
}

// load calls a service at a fixed rate, whatever becomes of the calls, until ctx
// ends and all are answered; it returns how long they took, sorted.
func (m *small) load(ctx context.Context, service string) (took []time.Duration) {
	tr := rig.Transport(m.t, 1, m.web.Outbound)
	var mu sync.Mutex
	var work sync.WaitGroup
	tick := time.NewTicker(time.Second / rate)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			work.Wait()
			slices.Sort(took)
			return took
		case <-tick.C:
		}
		work.Go(func() {
			begin := time.Now()
			status, err := m.get(tr, "http://"+service+":8080/")
			d := time.Since(begin)
			if err != nil || status != http.StatusOK {
				m.t.Errorf("a call of %s: %d, %v", service, status, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			took = append(took, d)
		})
	}
}
