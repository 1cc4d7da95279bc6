package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// TestOnlyCalls: a sidecar without an instance behind it is found by its name all
// the same, and by Prometheus.
func TestOnlyCalls(t *testing.T) {
	m := newMesh(t, nil, "", "")
	failing := serve(t, nil, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	checkout := m.instance("checkout", "checkout-0", failing)
	gate := m.sidecar(rig.Spec{Service: "gate", Instance: "gate-0"})
	if got := gate.call(t, "checkout:8080"); got.status != 503 {
		t.Fatalf("%+v", got)
	}
	meshctl := func(args ...string) process.Spec {
		return process.Spec{Name: "meshctl " + args[0], Path: process.Binary(t, "meshctl"), Args: append(args, "--meshd", "http://"+m.HTTP)}
	}

	var targets []struct {
		Targets []string
		Labels  map[string]string
	}
	if err := fetchJSON(m.client, "http://"+m.HTTP+"/api/v1/targets", &targets); err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, g := range targets {
		listed[g.Targets[0]] = g.Labels["namespace"] + "/" + g.Labels["service"] + "/" + g.Labels["instance"]
	}
	if len(listed) != 2 || listed[gate.Admin] != "default/gate/gate-0" || listed[checkout.Admin] != "default/checkout/checkout-0" {
		t.Errorf("targets %v", listed)
	}

	// Its record says more than that of the instance: it is first.
	if text := process.Output(t, meshctl("why", "--last-error", "checkout")); !strings.Contains(text, gate.Admin) {
		t.Errorf("why does not ask %s:\n%s", gate.Admin, text)
	}
	if text := process.Output(t, meshctl("log-level", "gate", "debug")); !strings.Contains(text, "gate-0") || !strings.Contains(text, "debug") {
		t.Errorf("log-level:\n%s", text)
	}
	if text := process.Output(t, meshctl("check")); !strings.Contains(text, "1 service with 1 instance, 2 clients; 2 sidecars asked") {
		t.Errorf("check:\n%s", text)
	}

	tap := process.Run(t, meshctl("tap", "gate", "--view", "out", "--limit", "1", "-o", "json"))
	calling, stop := context.WithCancel(t.Context())
	called := make(chan struct{})
	go func() {
		defer close(called)
		for calling.Err() == nil {
			req, err := http.NewRequestWithContext(calling, http.MethodGet, "http://"+gate.Outbound, nil)
			if err != nil {
				return
			}
			req.Host = "checkout:8080"
			if res, err := gate.client.Do(req); err == nil {
				_ = res.Body.Close()
			}
		}
	}()
	<-tap.Done
	stop()
	<-called
	if code, text := tap.ExitCode(), tap.Out.String(); code != 0 || !strings.Contains(text, `"reporter":"gate-0"`) || !strings.Contains(text, `"side":"out"`) {
		t.Errorf("tap: exit status %d\n%s", code, text)
	}
}
