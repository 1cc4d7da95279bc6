package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

type accessLine struct {
	Side, Reporter, Service, Method, Path, Instance, Trace, Span, Kept string
	Status, Attempts                                                   int
	TookMs                                                             float64
	Failed                                                             bool
}

// accessLines reads a log; a line that is not whole is an error.
func accessLines(path string) (out []accessLine, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	for line := range bytes.Lines(b) {
		var l accessLine
		if err := json.Unmarshal(line, &l); err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
		out = append(out, l)
	}
	return out, nil
}

// TestAccessLog: both ends of a call write it down, in one trace; a log of
// errors has those only, and Prometheus sees how many lines there are.
func TestAccessLog(t *testing.T) {
	dir := t.TempDir()
	out, in, bad := filepath.Join(dir, "out"), filepath.Join(dir, "in"), filepath.Join(dir, "bad")
	m := newMesh(t, nil, "", "")
	app := serve(t, nil, "127.0.0.1:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/bad" {
			w.WriteHeader(http.StatusInternalServerError)
		}
	}))
	m.instance("checkout", "checkout-0", app, "MESHD_ACCESS_LOG="+in)
	web := m.sidecar(rig.Spec{Service: "web", Instance: "web-0", Flags: []string{"--access-log", out}})
	other := m.sidecar(rig.Spec{Service: "other", Instance: "other-0", Flags: []string{"--access-log", bad, "--access-log-filter", "errors"}})
	if got := web.callPath(t, "checkout:8080", "/items?token=secret"); got.status != 200 {
		t.Fatalf("%+v", got)
	}
	for _, path := range []string{"/", "/bad", "/"} {
		other.callPath(t, "checkout:8080", path)
	}
	process.Await(t, patience, func() error {
		for path, want := range map[string]int{out: 1, in: 4, bad: 1} {
			if lines, err := accessLines(path); err != nil || len(lines) != want {
				return fmt.Errorf("%s has %v, %v, want %d lines", path, lines, err, want)
			}
		}
		return nil
	})
	sent, _ := accessLines(out)
	got, _ := accessLines(in)
	s, r := sent[0], got[0]
	if s.Side != "out" || s.Reporter != "web-0" || s.Service != "default/checkout:8080" || s.Method != "GET" || s.Path != "/items" ||
		s.Status != 200 || s.Attempts != 1 || s.Instance != "checkout-0" || s.TookMs <= 0 || s.Failed {
		t.Errorf("web's line is %+v", s)
	}
	if r.Side != "in" || r.Reporter != "checkout-0" || r.Path != "/items" || r.Trace != s.Trace || len(s.Trace) != 32 || r.Span == s.Span {
		t.Errorf("checkout's line is %+v, web's %+v", r, s)
	}
	failed, _ := accessLines(bad)
	if l := failed[0]; l.Path != "/bad" || !l.Failed || l.Kept != "error" || l.Status != 500 {
		t.Errorf("the line of the call that failed is %+v", l)
	}
	text, err := web.get("/metrics")
	if err != nil || !strings.Contains(text, "\nmeshd_access_log_written_total 1\n") || !strings.Contains(text, "\nmeshd_access_log_dropped_total 0\n") ||
		!strings.Contains(text, `meshd_telemetry_dropped_total{meshd_exporter="meshd"}`) {
		t.Errorf("metrics: %v\n%s", err, text)
	}
	told := refusal(t, nil, "--service", "a", "--inbound", "", "--admin", "", "--meshd", "", "--outbound", "127.0.0.1:0", "--access-log", dir)
	if !strings.Contains(told, "--access-log") || !strings.Contains(told, "is a directory") {
		t.Errorf("a folder: %q", told)
	}
}

// TestLogRecords: a call is an OpenTelemetry log record, whose attributes are documented.
func TestLogRecords(t *testing.T) {
	m := newMesh(t, nil, "", "")
	m.instance("checkout", "checkout-0", serve(t, nil, "127.0.0.1:0", http.NotFoundHandler()))
	web := m.sidecar(rig.Spec{Service: "web", Instance: "web-0", Env: []string{"OTEL_LOGS_EXPORTER=console", "OTEL_BLRP_SCHEDULE_DELAY=10"}})
	if got := web.callPath(t, "checkout:8080", "/none"); got.status != 404 {
		t.Fatalf("%+v", got)
	}
	var record struct {
		Severity, Event, Body, Trace, Span string
		Attributes                         map[string]any
	}
	process.Await(t, patience, func() error {
		for line := range strings.Lines(web.Out.String()) {
			if strings.HasPrefix(line, `{"time":`) {
				return json.Unmarshal([]byte(line), &record)
			}
		}
		return fmt.Errorf("no record in %s", web.Out.String())
	})
	if record.Severity != "INFO" || record.Event != "meshd.call" || record.Body != "GET /none 404" || len(record.Trace) != 32 || len(record.Span) != 16 {
		t.Errorf("%+v", record)
	}
	if record.Attributes["meshd.endpoint.id"] != "checkout-0" || record.Attributes["http.response.status_code"] != 404.0 {
		t.Errorf("%+v", record)
	}
	for key := range record.Attributes {
		documented(t, key)
	}
}

// TestLogLevel: the level of a sidecar's and of meshd's log changes while they run.
func TestLogLevel(t *testing.T) {
	m := newMesh(t, nil, "", "")
	web := m.sidecar(rig.Spec{Service: "web", Instance: "web-0"})
	for _, url := range []string{"http://" + web.Admin + "/log-level", "http://" + m.HTTP + "/api/v1/log-level"} {
		for _, c := range []struct{ method, query, want string }{
			{http.MethodGet, "", `{"level":"info"}`},
			{http.MethodPut, "?level=debug", `{"level":"debug"}`},
			{http.MethodPut, "?level=loud", `{"error":"level \"loud\": debug, info, warn or error is accepted"}`},
			{http.MethodGet, "", `{"level":"debug"}`},
		} {
			req, err := http.NewRequestWithContext(t.Context(), c.method, url+c.query, nil)
			if err != nil {
				t.Fatal(err)
			}
			res, err := web.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			_, err = b.ReadFrom(res.Body)
			res.Body.Close()
			if err != nil || strings.TrimSpace(b.String()) != c.want {
				t.Errorf("%s %s%s: %s, want %s", c.method, url, c.query, b.String(), c.want)
			}
		}
	}
	process.Await(t, patience, func() error {
		if out := web.Out.String(); !strings.Contains(out, "the log level has been changed") || !strings.Contains(out, "from=info to=debug") {
			return fmt.Errorf("the sidecar's log does not say so: %s", out)
		}
		return nil
	})
}
