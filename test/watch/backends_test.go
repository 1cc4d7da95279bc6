package watch

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
// and logs that the Collector passes on come out.
type backends struct {
	client *http.Client
	out    *sink
}

// newBackends starts all three with the files of deploy/telemetry as they are;
// there are two for Prometheus.
func newBackends(t *testing.T, config string) *backends {
	t.Helper()
	tr := &http.Transport{DisableKeepAlives: true}
	t.Cleanup(tr.CloseIdleConnections)
	b := &backends{client: &http.Client{Transport: tr, Timeout: rig.Patience}, out: &sink{}}
	part(t, "jaeger", nil, "--config", filepath.Join(folder, "jaeger.yaml"))
	b.await(t, jaegerURL+"/api/services") // a Collector that finds nobody tries again after 5 s
	out := b.out.serve(t)
	part(t, "otelcol", []string{"METRICS=" + out, "LOGS=" + out}, "--config", filepath.Join(folder, "collector.yaml"))

	part(t, "prometheus", nil, "--config.file", filepath.Join(folder, config), "--storage.tsdb.path", t.TempDir(),
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

// scrape waits until Prometheus has metrics of all of a chain's sidecars.
func (b *backends) scrape(t *testing.T) {
	t.Helper()
	process.Await(t, time.Minute, func() error {
		got, err := b.query("group by (instance) (meshd_connections)")
		if err != nil {
			return err
		}
		var from []string
		for _, s := range got {
			from = append(from, s.labels["instance"])
		}
		slices.Sort(from)
		if want := []string{"cart-0", "cart-1", "edge-0", "shop-0", "web-0"}; !slices.Equal(from, want) {
			return fmt.Errorf("Prometheus has metrics of %q, want %q", from, want)
		}
		return nil
	})
}

// meshdAt serves meshd where the files expect it, which is where it is unless
// it is told otherwise.
func meshdAt(t *testing.T, m *rig.Mesh) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:15020")
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	srv := &http.Server{Handler: &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: m.HTTP}) },
		Transport: tr,
	}}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
		tr.CloseIdleConnections()
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
