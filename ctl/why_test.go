package ctl

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/meshd/meshd/ctl/api"
)

const whyTrace = "4bf92f3577b34da6a3ce929d0e0e4736"

// records are two of a trace, as its caller and its server keep them, and one
// that was refused.
func records() []api.CallRecord {
	at := time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC)
	return []api.CallRecord{
		{
			Trace: whyTrace, Time: at, Service: "default/checkout:8080", Route: "orders", Cluster: "default/checkout:8080",
			Balancer: "peak_ewma", Kept: "error", Method: "GET", Path: "/items?sku=1", Status: 502, Error: "connection_terminated",
			TookMs: 212.4, HeldMs: 100, Priority: "sheddable", DeadlineMs: 1000, Earlier: 2, Session: "checkout-1",
			Attempts: []api.CallAttempt{
				{Endpoint: "127.0.0.1:31006", Instance: "checkout-0", AtMs: 100.1, TookMs: 1.2, Cost: 2.5e6, Error: "connection_terminated"},
				{Endpoint: "127.0.0.1:31016", Instance: "checkout-1", AtMs: 110, TookMs: 90, Cost: 0, Status: 503, Retry: "reset", Shed: true},
				{Endpoint: "127.0.0.1:31026", AtMs: 150, TookMs: 50, Cost: 1e15, Hedge: true},
			},
			Notes: []string{"not tried again: the retry budget was spent"}, Budget: 0.4, Endpoints: 20,
			Candidates: []api.CallCandidate{
				{Endpoint: "127.0.0.1:31006", Instance: "checkout-0", Cost: 4e7, InFlight: 3, Breaker: "open"},
				{Endpoint: "127.0.0.1:31016", Instance: "checkout-1", Cost: 2e6, Breaker: "closed", Health: "ejected for 10s"},
			},
		},
		{Trace: whyTrace, Time: at.Add(120 * time.Millisecond), Service: "default/checkout:8080", Kept: "error", Inbound: true,
			Error: "overload", Refusal: "shed: priority", Status: 503, TookMs: 0.4, QueuedMs: 0.3},
	}
}

func TestWhy(t *testing.T) {
	var asked string
	one := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.RequestURI()
		all := records()
		if r.URL.Query().Get("service") == "cart" || strings.HasPrefix(r.URL.Query().Get("trace"), "0") {
			all = []api.CallRecord{}
		}
		_ = json.NewEncoder(w).Encode(all)
	}))
	defer one.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	addr, away := strings.TrimPrefix(one.URL, "http://"), strings.TrimPrefix(gone.URL, "http://")
	for name, tc := range map[string]struct {
		args  []string
		asked string
	}{
		"why-last-error":  {[]string{"why", "--last-error", "checkout"}, "/why?kept=error&limit=1&service=checkout"},
		"why-trace":       {[]string{"why", whyTrace}, "/why?trace=" + whyTrace},
		"why-json":        {[]string{"why", "--last-error", "checkout", "-o", "json", "--sidecar", addr}, "/why?kept=error&limit=1&service=checkout"},
		"why-none":        {[]string{"why", "--last-error", "cart"}, "/why?kept=error&limit=1&service=cart"},
		"why-no-trace":    {[]string{"why", strings.Repeat("0", 32)}, "/why?trace=" + strings.Repeat("0", 32)},
		"why-unreachable": {[]string{"why", "--last-error", "checkout", "--sidecar", away}, ""},
		"why-both":        {[]string{"why", whyTrace, "--last-error", "checkout"}, ""},
		"why-bad-trace":   {[]string{"why", "xyz"}, ""},
		"why-help":        {[]string{"why", "--help"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			m := filled(t)
			m.Status.Services[0].Instances[0].Admin, m.Status.Services[0].Instances[1].Admin = addr, away
			asked = ""
			code, out, errOut := call(m.URL, "", tc.args...)
			got := "$ meshctl " + strings.Join(tc.args, " ") + "\n" + out
			if errOut != "" {
				got += "-- stderr\n" + errOut
			}
			got += "-- exit " + string(rune('0'+code)) + "\n"
			got = strings.NewReplacer(m.URL, "http://MESHD", addr, "SIDECAR", away, "AWAY").Replace(got)
			golden(t, name, got)
			if asked != tc.asked {
				t.Errorf("asked %s, want %s", asked, tc.asked)
			}
			for line := range strings.Lines(out) {
				if utf8.RuneCountInString(strings.TrimSpace(line)) > 100 && !strings.Contains(name, "json") {
					t.Errorf("wide: %s", line)
				}
			}
		})
	}
}
