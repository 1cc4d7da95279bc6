package watch

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/meshd/meshd/test/rig"
)

// A chain is three hops: edge calls web, web calls shop, shop calls cart, which
// has two instances. Sidecars in between; the applications hand nothing on but
// one field.
type chain struct {
	mesh            *rig.Mesh
	edge, web, shop *rig.Sidecar
	carts           [2]*rig.Sidecar
	client          *http.Client // the application beside edge

	carries string                       // the field that the applications hand on
	forget  atomic.Bool                  // shop does not hand traceparent on
	content atomic.Bool                  // shop answers 200, whatever cart says
	tracer  atomic.Pointer[trace.Tracer] // shop's own; nil: it has none

	mu     sync.Mutex
	answer func(w http.ResponseWriter) // cart's
	heard  []string                    // the trace ids of the calls that cart got
}

func newChain(t *testing.T, env ...string) *chain { return newCarrier(t, "traceparent", env...) }

// newCarrier is a chain whose applications hand on another field.
func newCarrier(t *testing.T, carries string, env ...string) *chain {
	m := rig.New(t)
	c := &chain{mesh: m, carries: carries, answer: func(http.ResponseWriter) {}}
	cart := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.heard = append(c.heard, traceID(r))
		answer := c.answer
		c.mu.Unlock()
		answer(w)
	})
	for i := range c.carts {
		c.carts[i] = m.Sidecar(t, rig.Spec{Service: "cart", Instance: fmt.Sprintf("cart-%d", i), App: rig.Serve(t, 1, cart), Env: env})
	}
	out := rig.Addrs(t, 2)
	shop := passOn(t, out[0], "http://cart:8080/items", c)
	c.shop = m.Sidecar(t, rig.Spec{Service: "shop", Instance: "shop-0", App: rig.Serve(t, 1, shop), Outbound: out[0], Env: env})
	web := passOn(t, out[1], "http://shop:8080/", &chain{carries: carries})
	c.web = m.Sidecar(t, rig.Spec{Service: "web", Instance: "web-0", App: rig.Serve(t, 1, web), Outbound: out[1], Env: env})
	c.edge = m.Sidecar(t, rig.Spec{Service: "edge", Instance: "edge-0", Env: env})
	m.AwaitReady("cart-0", "cart-1", "shop-0", "web-0")
	c.client = &http.Client{Transport: rig.Transport(t, 1, c.edge.Outbound), Timeout: 20 * time.Second}
	return c
}

// passOn is an application that answers with what a call to url through its
// sidecar comes to. What else it does, c says.
func passOn(t *testing.T, sidecar, url string, c *chain) http.Handler {
	client := &http.Client{Transport: rig.Transport(t, 1, sidecar), Timeout: 20 * time.Second}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, url, nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		tracer := c.tracer.Load()
		switch {
		case tracer != nil: // as OpenTelemetry's instrumentation of HTTP does it
			ctx := propagation.TraceContext{}.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
			ctx, span := (*tracer).Start(ctx, "look into the cart")
			defer span.End()
			propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(req.Header))
		case !c.forget.Load():
			req.Header.Set(c.carries, r.Header.Get(c.carries))
		}
		res, err := client.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		if !c.content.Load() {
			w.WriteHeader(res.StatusCode)
		}
		_, _ = io.Copy(w, res.Body)
	})
}

// traceID is the one of a request's traceparent.
func traceID(r *http.Request) string {
	if parts := strings.Split(r.Header.Get("traceparent"), "-"); len(parts) == 4 {
		return parts[1]
	}
	return ""
}

// answers sets what cart does from now on.
func (c *chain) answers(f func(w http.ResponseWriter)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer = f
}

// call makes a call from edge down to cart, whose status has to be the wanted
// one unless that is 0, and returns the traces of which cart heard meanwhile.
func (c *chain) call(t *testing.T, want int) []string {
	t.Helper()
	c.mu.Lock()
	c.heard = nil
	c.mu.Unlock()
	res, err := c.client.Get("http://web:8080/")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, res.Body)
	_ = res.Body.Close()
	if want != 0 && res.StatusCode != want {
		t.Fatalf("%s, want %d", res.Status, want)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard
}
