package protect

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// A chain is web -> shop -> cart. The application of shop calls cart through
// its sidecar and forwards traceparent, and nothing else of what it was told.
type chain struct {
	web      *caller
	cart     func(w http.ResponseWriter, r *http.Request)
	sidecars map[string]*rig.Sidecar
}

func newChain(t *testing.T, version int, objects string) *chain {
	m := rig.New(t)
	ch := &chain{sidecars: map[string]*rig.Sidecar{}}
	if objects != "" {
		m.Apply(objects)
	}
	out := rig.Addrs(t, 1)[0]
	client := &http.Client{Transport: rig.Transport(t, version, out), Timeout: 20 * time.Second}
	shop := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, _ := http.NewRequestWithContext(r.Context(), "GET", "http://cart:8080"+r.URL.Path, nil)
		if r.Header.Get("X-No-Trace") == "" {
			req.Header.Set("traceparent", r.Header.Get("traceparent"))
		}
		res, err := client.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		if r.Header.Get("X-Whatever") == "" {
			w.WriteHeader(res.StatusCode)
		}
		_, _ = w.Write(b)
	})
	ch.sidecars["shop"] = m.Sidecar(t, rig.Spec{Service: "shop", App: rig.Serve(t, 0, shop), Outbound: out, Flags: tracing})
	ch.sidecars["cart"] = m.Sidecar(t, rig.Spec{Service: "cart", App: rig.Serve(t, 0, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { ch.cart(w, r) }))})
	m.AwaitReady("shop", "cart")
	ch.sidecars["web"] = m.Sidecar(t, rig.Spec{Service: "web", Flags: tracing})
	ch.web = newCaller(t, version, ch.sidecars["web"])
	return ch
}

// tracing is on by default only where spans go somewhere; propagation is what
// the tests need, and their own header begins the trace.
var tracing []string

const parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"

func TestDeadlineCrossesTheApplication(t *testing.T) {
	both(t, func(t *testing.T, version int) {
		told := make(chan string, 10)
		ch := newChain(t, version, "")
		ch.cart = func(w http.ResponseWriter, r *http.Request) {
			told <- r.Header.Get("X-Envoy-Expected-Rq-Timeout-Ms")
			select {
			case <-r.Context().Done():
			case <-time.After(5 * time.Second):
			}
		}
		a := ch.web.must("http://shop:8080/", parent, "x-envoy-expected-rq-timeout-ms: 400")
		if a.status != http.StatusGatewayTimeout || a.took > 2*time.Second || a.took < 300*time.Millisecond {
			t.Errorf("%d after %v: %s", a.status, a.took, a.body)
		}
		var ms int
		if _, err := fmt.Sscan(<-told, &ms); err != nil || ms <= 0 || ms > 400 {
			t.Errorf("the last hop was told %d ms of 400 (%v)", ms, err)
		}
	})
}

func TestPriorityCrossesTheApplication(t *testing.T) {
	both(t, func(t *testing.T, version int) {
		ch := newChain(t, version, "")
		ch.cart = func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "%q", r.Header.Get("Meshd-Priority")) }
		for _, tc := range []struct{ headers, want string }{
			{"meshd-priority: sheddable", `"sheddable"`}, {"x-no-trace: 1", `""`},
		} {
			if a := ch.web.must("http://shop:8080/", parent, tc.headers); a.body != tc.want {
				t.Errorf("%s: the last hop was told %s", tc.headers, a.body)
			}
		}
	})
}

// Of three tiers one tries again: the last hop sees three attempts and not nine.
func TestOneTierRetries(t *testing.T) {
	both(t, func(t *testing.T, version int) {
		var seen atomic.Int64
		ch := newChain(t, version, "")
		ch.cart = func(w http.ResponseWriter, r *http.Request) {
			seen.Add(1)
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if a := ch.web.must("http://shop:8080/", parent); a.status != http.StatusServiceUnavailable {
			t.Errorf("%d: %s", a.status, a.body)
		}
		if n := seen.Load(); n != 3 {
			t.Errorf("the last hop saw %d attempts, want 3", n)
		}
	})
}

// Of a call that nobody samples, and that fails deep down where an application
// makes the best of it, the whole way is kept up to the first caller.
func TestKeptAllTheWay(t *testing.T) {
	both(t, func(t *testing.T, version int) {
		ch := newChain(t, version, "")
		fails := func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
		ch.cart = func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "well") }
		ordinary := strings.Replace(parent, "0af7", "0af8", 1)
		if a := ch.web.must("http://shop:8080/", ordinary); a.body != "well" || a.header.Get("Traceresponse") != "" {
			t.Fatalf("%d %s, traceresponse %q", a.status, a.body, a.header.Get("Traceresponse"))
		}
		ch.cart = fails
		a := ch.web.must("http://shop:8080/", parent, "x-whatever: 1")
		if said := a.header.Get("Traceresponse"); a.status != 200 || !strings.HasPrefix(said, parent[len("traceparent: "):][:36]) || !strings.HasSuffix(said, "-01") {
			t.Errorf("%d, traceresponse %q", a.status, said)
		}
		type record struct {
			Kept    string
			Inbound bool
		}
		for service, want := range map[string][]record{
			"cart": {{"error", true}}, "shop": {{"error", false}, {"joined", true}}, "web": {{"joined", false}},
		} {
			process.Await(t, rig.Patience, func() error {
				var got []record
				if err := ch.sidecars[service].Get("/why?trace=0af7651916cd43dd8448eb211c80319c", &got); err != nil {
					return err
				}
				slices.SortFunc(got, func(a, b record) int { return strings.Compare(a.Kept, b.Kept) })
				if !slices.Equal(got, want) {
					return fmt.Errorf("%s keeps %v, want %v", service, got, want)
				}
				return nil
			})
			var got []record
			if err := ch.sidecars[service].Get("/why?trace=0af8651916cd43dd8448eb211c80319c", &got); err != nil || len(got) > 0 {
				t.Errorf("%s keeps an ordinary call: %v, %v", service, got, err)
			}
		}
	})
}

// An application that speaks B3, and forwards it, is joined as one that forwards
// traceparent is.
func TestB3CrossesTheApplication(t *testing.T) {
	both(t, func(t *testing.T, version int) {
		for propagators, forwarded := range map[string][]string{
			"b3": {"B3"}, "b3multi": {"X-B3-Traceid", "X-B3-Spanid", "X-B3-Sampled"},
		} {
			m := rig.New(t)
			out := rig.Addrs(t, 1)[0]
			client := &http.Client{Transport: rig.Transport(t, version, out), Timeout: 20 * time.Second}
			shop := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				req, _ := http.NewRequestWithContext(r.Context(), "GET", "http://cart:8080/", nil)
				for _, name := range forwarded {
					req.Header.Set(name, r.Header.Get(name))
				}
				res, err := client.Do(req)
				if err != nil {
					http.Error(w, err.Error(), http.StatusInternalServerError)
					return
				}
				defer res.Body.Close()
				_, _ = io.Copy(w, res.Body)
			})
			env := []string{"OTEL_PROPAGATORS=" + propagators}
			m.Sidecar(t, rig.Spec{Service: "shop", App: rig.Serve(t, 0, shop), Outbound: out, Env: env})
			m.Sidecar(t, rig.Spec{Service: "cart", Env: env, App: rig.Serve(t, 0, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprintf(w, "%q %q", r.Header.Get("Meshd-Priority"), r.Header.Get("Traceparent"))
			}))})
			m.AwaitReady("shop", "cart")
			web := newCaller(t, version, m.Sidecar(t, rig.Spec{Service: "web", Env: env}))
			if a := web.must("http://shop:8080/", "meshd-priority: sheddable"); a.body != `"sheddable" ""` {
				t.Errorf("%s: the last hop was told %s", propagators, a.body)
			}
		}
	})
}
