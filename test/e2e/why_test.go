package e2e

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/internal/testkit/process"
)

// A person asks why the last call failed, and is told by the sidecar that made
// it: found by way of meshd, or named.
func TestWhy(t *testing.T) {
	m := newMesh(t, nil, "", "")
	failing := serve(t, nil, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	front := m.instance("front", "front-0", failing)
	m.instance("checkout", "checkout-0", failing)
	m.instance("checkout", "checkout-1", failing)
	if got := front.call(t, "checkout:8080"); got.status != 503 {
		t.Fatalf("%+v", got)
	}
	why := func(args ...string) string {
		t.Helper()
		return process.Output(t, process.Spec{Name: "meshctl why", Path: process.Binary(t, "meshctl"),
			Args: append([]string{"why", "--meshd", "http://" + m.HTTP}, args...)})
	}
	text := why("--last-error", "checkout")
	for _, want := range []string{
		"The call to default/checkout:8080 failed", "503", "retry: 503", "checkout-0", "checkout-1",
		"BREAKER", "peak_ewma", front.Admin, "GET /",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for line := range strings.Lines(text) {
		if len([]rune(line)) > 101 {
			t.Errorf("wide: %s", line)
		}
	}
	var records []api.CallRecord
	if err := json.Unmarshal([]byte(why("--last-error", "checkout", "--sidecar", front.Admin, "-o", "json")), &records); err != nil {
		t.Fatal(err)
	}
	if len(records) != 1 || records[0].Status != 503 || len(records[0].Attempts) < 2 || len(records[0].Candidates) != 2 {
		t.Errorf("%+v", records)
	}
}
