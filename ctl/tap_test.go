package ctl

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/meshd/meshd/ctl/api"
)

// tapLines are what a sidecar shows.
func tapLines() []any {
	at := time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
	return []any{
		api.TapCall{Time: at, Side: "in", Reporter: "checkout-0", Service: "default/checkout:8080", Method: "GET", Path: "/items", Status: 200,
			TookMs: 12.34, Attempts: 1, Endpoint: "127.0.0.1:31006", Instance: "checkout-0", PartsMs: map[string]float64{"queued": 2, "downstream": 8, "connect": 0.01}},
		api.TapCall{Time: at, Side: "out", Service: "default/checkout:8080", Method: "POST", Path: "/shop.Cart/Add", GRPC: "UNAVAILABLE", Failed: true,
			TookMs: 1250, Attempts: 3, Endpoint: "127.0.0.1:31016", PartsMs: map[string]float64{"retried": 1200}, Kept: "error", Trace: whyTrace,
			Headers: map[string]string{"x-user": "ann\x1b[2J", "authorization": "REDACTED"}},
		map[string]any{"missed": api.TapMissed{Over: 7, Lost: 3}},
		api.TapCall{Time: at, Side: "out", Service: "shop/cart:80", Method: "GET", Path: "/", Status: 503, Error: "connection_limit_reached", Failed: true,
			Refusal: "too many calls", TookMs: 0.04},
		api.TapCall{Time: at, Side: "out", Service: "default/db:5432", TCP: true, Sent: 10, Received: 4096, TookMs: 61000, Instance: "db-0"},
	}
}

func TestTap(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	sidecar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.RequestURI())
		mu.Unlock()
		if r.URL.Query().Get("status") == "6xx" {
			http.Error(w, `status "6xx": want such as 503`, http.StatusBadRequest)
			return
		}
		for _, l := range tapLines() {
			_ = json.NewEncoder(w).Encode(l)
		}
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer sidecar.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	addr, away := strings.TrimPrefix(sidecar.URL, "http://"), strings.TrimPrefix(gone.URL, "http://")
	for name, tc := range map[string]struct {
		args  string
		asked string
	}{
		"tap":         {"tap checkout --limit 4", "/tap?max-rps=100&service=checkout&side=in"},
		"tap-json":    {"tap checkout --limit 1 -o json", "/tap?max-rps=100&service=checkout&side=in"},
		"tap-callers": {"tap default/checkout:8080 --view callers --limit 1 --error --method POST", "/tap?error=true&max-rps=100&method=POST&service=default%2Fcheckout%3A8080&side=out"},
		"tap-sidecar": {"tap checkout --view out --limit 1 --sidecar " + addr + " --path /items --status 5xx,UNAVAILABLE --min-latency 100ms --instance i --headers x-user,cookie --max-rps 0.5",
			"/tap?headers=x-user%2Ccookie&instance=i&max-rps=0.5&min-latency=100ms&path=%2Fitems&side=out&status=5xx%2CUNAVAILABLE"},
		"tap-client":      {"tap gate --view out --limit 1", "/tap?max-rps=100&side=out"},
		"tap-client-in":   {"tap gate", ""},
		"tap-bad-status":  {"tap checkout --status 6xx", "/tap?max-rps=100&service=checkout&side=in&status=6xx"},
		"tap-over":        {"tap checkout --max-rps 2 --for 300ms", "/tap?max-rps=2&service=checkout&side=in"},
		"tap-unreachable": {"tap checkout --sidecar " + away, ""},
		"tap-unknown":     {"tap payment", ""},
		"tap-no-instance": {"tap shop/cart", ""},
		"tap-bad-view":    {"tap checkout --view up", ""},
		"tap-bad-rate":    {"tap checkout --max-rps 5000", ""},
		"tap-yaml":        {"tap checkout -o yaml", ""},
		"tap-help":        {"tap --help", ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := filled(t)
			m.Status.Services[0].Instances[0].Admin = addr
			m.Status.Clients = append(m.Status.Clients, api.XDSClient{ID: "gate.default/gate-0", Service: "gate", Namespace: "default", Admin: addr})
			asked = nil
			code, out, errOut := call(m.URL, "", strings.Fields(tc.args)...)
			got := fmt.Sprintf("$ meshctl %s\n%s", tc.args, out)
			if errOut != "" {
				got += "-- stderr\n" + errOut
			}
			got += fmt.Sprintf("-- exit %d\n", code)
			golden(t, name, strings.NewReplacer(m.URL, "http://MESHD", addr, "SIDECAR", away, "AWAY").Replace(got))
			mu.Lock()
			defer mu.Unlock()
			if got := strings.Join(asked, " "); got != tc.asked {
				t.Errorf("asked %s, want %s", got, tc.asked)
			}
			if !utf8.ValidString(out) || strings.Contains(out, "\x1b") {
				t.Errorf("not fit for a terminal: %q", out)
			}
		})
	}
}

// No sidecar that meshd knows can be reached: the tap ends, and says what to do.
func TestTapWithoutSidecars(t *testing.T) {
	m := filled(t)
	m.Status.Services[0].Instances[0].Admin = "127.0.0.1:1"
	code, _, err := call(m.URL, "", "tap", "checkout")
	if code != exitFailed || !strings.Contains(err, "sidecar 127.0.0.1:1: dial tcp") || !strings.Contains(err, "port-forward") {
		t.Errorf("exit %d, %s", code, err)
	}
}

// Others tap it already: that is said, and not that it cannot be reached.
func TestTapOfABusySidecar(t *testing.T) {
	sidecar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "4 readers tap this sidecar already: as many as can", http.StatusTooManyRequests)
	}))
	defer sidecar.Close()
	m := filled(t)
	m.Status.Services[0].Instances[0].Admin = strings.TrimPrefix(sidecar.URL, "http://")
	code, _, err := call(m.URL, "", "tap", "checkout")
	if code != exitFailed || !strings.Contains(err, "429: 4 readers") || !strings.Contains(err, "no sidecar can be tapped now") {
		t.Errorf("exit %d, %s", code, err)
	}
}

// Ctrl-C is how a tap ends; it is no failure.
func TestTapEndsWithInterrupt(t *testing.T) {
	sidecar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = json.NewEncoder(w).Encode(tapLines()[0])
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	}))
	defer sidecar.Close()
	m := filled(t)
	m.Status.Services[0].Instances[0].Admin = strings.TrimPrefix(sidecar.URL, "http://")
	interrupts := make(chan os.Signal, 1)
	var stderr buffer
	out := writerFunc(func([]byte) {
		select {
		case interrupts <- syscall.SIGINT:
		default:
		}
	})
	app := App{Out: out, Err: &stderr, Interrupts: interrupts, Getenv: func(string) string { return m.URL }}
	if code := app.Main([]string{"tap", "checkout"}); code != exitOK || stderr.String() != "" {
		t.Errorf("exit %d, %s", code, stderr.String())
	}
}
