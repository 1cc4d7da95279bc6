package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/test/rig"
)

// A tapped is a sidecar that somebody looks at.
type tapped struct {
	calls  chan api.TapCall
	closed chan error
}

// tap looks at a sidecar's calls until the test ends, and returns when it does.
func tap(t *testing.T, s *sidecar, query url.Values) tapped {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out := tapped{calls: make(chan api.TapCall, 100), closed: make(chan error, 1)}
	open := make(chan struct{})
	go func() {
		out.closed <- api.Tap(ctx, s.Admin, query, func(e api.TapEvent) {
			if e.Call != nil {
				out.calls <- *e.Call
			} else if e.Missed == nil {
				close(open)
			}
		})
		close(out.closed)
	}()
	t.Cleanup(func() {
		cancel()
		for range out.closed {
		}
	})
	select {
	case <-open:
	case err := <-out.closed:
		t.Fatal(err)
	}
	return out
}

// next is the next call that is shown.
func (d tapped) next(t *testing.T) api.TapCall {
	t.Helper()
	select {
	case c := <-d.calls:
		return c
	case <-time.After(patience):
		t.Fatal("no call is shown")
		return api.TapCall{}
	}
}

// TestTap looks at calls at both ends, of HTTP/1.1 and HTTP/2: those that match
// are shown with the headers that were asked for, and no secrets.
func TestTap(t *testing.T) {
	m := newMesh(t, nil, "", "")
	app := serve(t, nil, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	checkout := m.instance("checkout", "checkout-0", app)
	web := m.sidecar(rig.Spec{Service: "web", Instance: "web-0"})
	out := tap(t, web, url.Values{"side": {"out"}, "service": {"checkout"}, "headers": {"x-user,authorization,x-none"}})
	in := tap(t, checkout, url.Values{"side": {"in"}})
	bad := tap(t, checkout, url.Values{"error": {"true"}, "status": {"5xx"}})

	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: &protocols}
	t.Cleanup(tr.CloseIdleConnections)
	for version, client := range map[string]*http.Client{"1.1": web.client, "2": {Transport: tr, Timeout: patience}} {
		req, err := http.NewRequest("GET", "http://"+web.Outbound+"/items?token=secret", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "checkout:8080"
		req.Header.Set("X-User", "ann")
		req.Header.Set("Authorization", "Bearer secret")
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		for side, got := range map[string]api.TapCall{"out": out.next(t), "in": in.next(t)} {
			if got.Side != side || got.Service != "default/checkout:8080" || got.Method != "GET" || got.Path != "/items" ||
				got.Status != 200 || got.Failed || got.Instance != "checkout-0" || got.TookMs <= 0 || got.Attempts != 1 {
				t.Errorf("%s, HTTP/%s: %+v", side, version, got)
			}
			if side == "out" && (got.HTTP != version || fmt.Sprint(got.Headers) != "map[authorization:REDACTED x-user:ann]") {
				t.Errorf("HTTP/%s: %s, headers %v", version, got.HTTP, got.Headers)
			}
			if strings.Contains(fmt.Sprintf("%+v", got), "secret") {
				t.Errorf("a secret is shown: %+v", got)
			}
		}
	}
	if got := web.callPath(t, "checkout:8080", "/bad"); got.status != 503 {
		t.Fatalf("%+v", got)
	}
	if got := bad.next(t); got.Path != "/bad" || got.Status != 503 || !got.Failed {
		t.Errorf("%+v", got)
	}
	// A tap ends with its sidecar, which does not wait for it.
	checkout.Terminate(t, patience)
	select {
	case <-bad.closed:
	case <-time.After(patience):
		t.Error("the tap goes on")
	}
}
