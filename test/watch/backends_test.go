package watch

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

const (
	folder = "../../deploy/telemetry"
	parts  = "../../.cache/telemetry" // what .ci/telemetry has built

	collectorURL  = "http://127.0.0.1:4318" // OTLP over HTTP
	jaegerURL     = "http://127.0.0.1:16686"
	prometheusURL = "http://127.0.0.1:9090"
)

// backends are the processes that telemetry is sent to, and where the metrics
// that the Collector passes on come out.
type backends struct {
	client  *http.Client
	metrics *sink
	targets string // the file that tells Prometheus of sidecars
}

// newBackends starts all three with the files of deploy/telemetry as they are.
func newBackends(t *testing.T) *backends {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true}
	t.Cleanup(tr.CloseIdleConnections)
	b := &backends{client: &http.Client{Transport: tr, Timeout: rig.Patience}, metrics: &sink{}}
	part(t, "jaeger", nil, "--config", filepath.Join(folder, "jaeger.yaml"))
	b.await(t, jaegerURL+"/api/services") // a Collector that finds nobody tries again after 5 s
	part(t, "otelcol", []string{"METRICS=" + b.metrics.serve(t)}, "--config", filepath.Join(folder, "collector.yaml"))

	// Prometheus looks for the list of sidecars beside its own file.
	dir := t.TempDir()
	config, err := os.ReadFile(filepath.Join(folder, "prometheus.yml"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "prometheus.yml"), config, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	b.targets = filepath.Join(dir, "sidecars.json")
	part(t, "prometheus", nil, "--config.file", filepath.Join(dir, "prometheus.yml"), "--storage.tsdb.path", filepath.Join(dir, "data"),
		"--enable-feature=exemplar-storage", "--web.listen-address", "127.0.0.1:9090")

	b.await(t, prometheusURL+"/-/ready")
	b.await(t, collectorURL)
	return b
}

// await waits until a backend answers.
func (b *backends) await(t *testing.T, url string) {
	t.Helper()
	process.Await(t, time.Minute, func() error {
		res, err := b.client.Get(url)
		if err != nil {
			return err
		}
		_ = res.Body.Close()
		if res.StatusCode >= 500 {
			return fmt.Errorf("%s: %s", url, res.Status)
		}
		return nil
	})
}

// part starts a program that .ci/setup has built or installed.
func part(t *testing.T, name string, env []string, args ...string) *process.Process {
	t.Helper()
	path := filepath.Join(parts, name)
	if _, err := os.Stat(path); err != nil {
		if path, err = exec.LookPath(name); err != nil {
			t.Fatalf("%s is neither in %s nor on the path: `make setup` gets it", name, parts)
		}
	}
	return process.Run(t, process.Spec{Name: name, Path: path, Args: args, Env: append(os.Environ(), env...)})
}

// get reads JSON. Prometheus tells what is wrong with a query in its body.
func (b *backends) get(url string, v any) error {
	res, err := b.client.Get(url)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %.500s", url, res.Status, body)
	}
	if err == nil {
		err = json.Unmarshal(body, v)
	}
	return err
}

// environment makes a sidecar send everything to the Collector, soon.
func environment(more ...string) []string {
	return append([]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT=" + collectorURL,
		"OTEL_BSP_SCHEDULE_DELAY=100",
		"OTEL_METRIC_EXPORT_INTERVAL=500",
	}, more...)
}

// scrape makes Prometheus read these sidecars and no others, and waits until
// it has.
func (b *backends) scrape(t *testing.T, sidecars ...*rig.Sidecar) {
	t.Helper()
	group := struct {
		Targets []string `json:"targets"`
	}{}
	for _, s := range sidecars {
		group.Targets = append(group.Targets, s.Admin)
	}
	list, err := json.Marshal([]any{group})
	if err == nil {
		err = os.WriteFile(b.targets+".new", list, 0o644)
	}
	if err == nil {
		err = os.Rename(b.targets+".new", b.targets)
	}
	if err != nil {
		t.Fatal(err)
	}
	process.Await(t, time.Minute, func() error {
		got, err := b.query("sum(up)")
		if err != nil {
			return err
		}
		if len(got) != 1 || got[0].value != float64(len(sidecars)) {
			return fmt.Errorf("%v of %d sidecars are up", got, len(sidecars))
		}
		return nil
	})
}

// A sample is one line of an answer of Prometheus's.
type sample struct {
	labels map[string]string
	value  float64
}

// query asks Prometheus for what is now.
func (b *backends) query(expr string) ([]sample, error) {
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]json.RawMessage
			}
		}
	}
	if err := b.get(prometheusURL+"/api/v1/query?query="+url.QueryEscape(expr), &answer); err != nil {
		return nil, err
	}
	var out []sample
	for _, r := range answer.Data.Result {
		s := sample{labels: r.Metric}
		var text string
		if err := json.Unmarshal(r.Value[1], &text); err != nil {
			return nil, err
		}
		if _, err := fmt.Sscan(text, &s.value); err != nil {
			return nil, fmt.Errorf("%s: value %q: %w", expr, text, err)
		}
		out = append(out, s)
	}
	return out, nil
}
