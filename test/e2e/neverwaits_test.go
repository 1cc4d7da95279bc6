package e2e

import (
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// TestTelemetryNeverWaits: every call is traced, logged and written down, and
// nobody takes any of it: the backend is dead, slow or refuses, meshd hangs, and
// the access log is a pipe that is not read. No call is slower for it, memory
// stays as it is, and what is lost is counted.
func TestTelemetryNeverWaits(t *testing.T) {
	for name, backend := range map[string]func(*testing.T) string{
		"dead": func(*testing.T) string { return "http://127.0.0.1:9" },
		"slow": func(t *testing.T) string { return "http://" + rig.Deaf(t) },
		"refuses": func(t *testing.T) string {
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(http.StatusServiceUnavailable)
			}))
			t.Cleanup(s.Close)
			return s.URL
		},
	} {
		t.Run(name, func(t *testing.T) {
			pipe := filepath.Join(t.TempDir(), "pipe")
			if err := syscall.Mkfifo(pipe, 0o600); err != nil {
				t.Fatal(err)
			}
			reader, err := os.OpenFile(pipe, os.O_RDONLY|syscall.O_NONBLOCK, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer reader.Close()
			m := newMesh(t, nil, "", "")
			app := serve(t, nil, "127.0.0.1:0", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			m.instance("checkout", "checkout-0", app)
			web := m.sidecar(rig.Spec{Service: "web", Instance: "web-0", Flags: []string{"--access-log", pipe}, Env: []string{
				"OTEL_EXPORTER_OTLP_ENDPOINT=" + backend(t), "OTEL_LOGS_EXPORTER=otlp", "OTEL_TRACES_SAMPLER=always_on",
				"OTEL_BSP_MAX_QUEUE_SIZE=200", "OTEL_BLRP_MAX_QUEUE_SIZE=200", "OTEL_METRIC_EXPORT_INTERVAL=100",
			}})
			client := newClient(t, nil, 0, nil)
			took := func() time.Duration {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+web.Outbound+"/items", nil)
				if err != nil {
					t.Fatal(err)
				}
				req.Host = "checkout:8080"
				begun := time.Now()
				res, err := client.Do(req)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
				if res.StatusCode != http.StatusOK {
					t.Fatalf("status %d", res.StatusCode)
				}
				return time.Since(begun)
			}
			for range 500 { // connections and buffers are there then
				took()
			}
			before := web.RSS(t)
			process.Signal(t, syscall.SIGSTOP, m.Meshd.PID)
			defer process.Signal(t, syscall.SIGCONT, m.Meshd.PID)
			all := make([]time.Duration, 5000)
			for i := range all {
				all[i] = took()
			}
			slices.Sort(all)
			// The shortest time limit of an export is that of meshd, 1 s.
			if most := all[len(all)-1]; most > 900*time.Millisecond {
				t.Errorf("a call took %v", most)
			}
			grown := web.RSS(t) - before
			t.Logf("p50 %v, p99 %v, longest %v; %d KiB more", all[len(all)/2], all[len(all)*99/100], all[len(all)-1], grown>>10)
			if grown > 24<<20 {
				t.Errorf("memory has grown by %d KiB, to %d", grown>>10, (before+grown)>>10)
			}
			for _, what := range []string{`meshd_exporter="otel"`, `meshd_exporter="otel_logs"`} {
				if n := web.counted(t, "meshd_telemetry_dropped_total", what); n < 4000 {
					t.Errorf("%s: %d dropped", what, n)
				}
			}
			if n := web.counted(t, "meshd_access_log_dropped_total", ""); n < 1000 {
				t.Errorf("%d lines dropped", n)
			}
		})
	}
}
