package e2e

import (
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// metrics is what meshd has heard of a service, and over how many seconds.
func (m *mesh) metrics(service string) (api.ServiceMetrics, float64, error) {
	var all api.Metrics
	if err := fetchJSON(m.client, "http://"+m.HTTP+"/api/v1/metrics", &all); err != nil {
		return api.ServiceMetrics{}, 0, err
	}
	for _, s := range all.Services {
		if s.Name == service && s.Namespace == "default" {
			return s, all.WindowSeconds, nil
		}
	}
	return api.ServiceMetrics{}, 0, fmt.Errorf("meshd has heard nothing of %s: %+v", service, all)
}

// reported asks for more than rps calls a second of a service.
func (m *mesh) reported(service string, rps float64) error {
	s, _, err := m.metrics(service)
	if err == nil && s.RPS <= rps {
		err = fmt.Errorf("%s: %+v", service, s)
	}
	return err
}

// Calls are in meshd's figures within 3 s: as many as there were, as they were,
// by instance; and in the sidecars' own, for Prometheus.
func TestMetrics(t *testing.T) {
	const calls, failing = 100, 20 // every fifth, in turn to each: no breaker opens
	m := newMesh(t, nil, "", inTurn)
	slow := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		<-time.After(10 * time.Millisecond) // what the percentiles are to show
		if r.Header.Get("Fail") != "" {
			w.WriteHeader(http.StatusInternalServerError) // no reason to try again
		}
	})
	for i := range 2 {
		m.instance("checkout", fmt.Sprintf("checkout-%d", i), serve(t, nil, "127.0.0.1:0", slow))
	}
	front := m.sidecar(rig.Spec{Service: "front", Instance: "front-0"})

	client := newClient(t, nil, 0, nil)
	for i := range calls {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+front.Outbound+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = "checkout:8080"
		want := http.StatusOK
		if i%(calls/failing) == 0 {
			req.Header.Set("Fail", "yes")
			want = http.StatusInternalServerError
		}
		res, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		_ = res.Body.Close()
		if res.StatusCode != want {
			t.Fatalf("call %d: %s", i, res.Status)
		}
		if i == 0 { // by which it has asked for them: to be counted in turn, both must be there
			process.Await(t, patience, func() error {
				s, err := front.Stats()
				if n := len(s.Of("default/checkout:8080").Endpoints); err == nil && n != 2 {
					err = fmt.Errorf("%d endpoints", n)
				}
				return err
			})
		}
	}
	process.Await(t, 3*time.Second, func() error {
		s, window, err := m.metrics("checkout")
		if err != nil {
			return err
		}
		// The window moves on; the calls were made within it, in 1 s or so.
		if got := s.RPS * window; math.Abs(got-calls) > calls/50 {
			return fmt.Errorf("%v calls in %v s, want %d", got, window, calls)
		}
		if math.Abs(s.Success-(1-float64(failing)/calls)) > 0.01 {
			return fmt.Errorf("success %v", s.Success)
		}
		if s.P50Ms < 10 || s.P50Ms > 100 || s.P50Ms > s.P90Ms || s.P90Ms > s.P99Ms || s.P99Ms > 1000 {
			return fmt.Errorf("percentiles %v, %v, %v", s.P50Ms, s.P90Ms, s.P99Ms)
		}
		if s.Instances != 2 || len(s.Endpoints) != 2 || s.InFlight != 0 || s.OpenBreakers != 0 || s.RetriesPerSecond != 0 {
			return fmt.Errorf("%+v", s)
		}
		for _, e := range s.Endpoints {
			if !strings.HasPrefix(e.ID, "checkout-") || math.Abs(e.RPS*window-calls/2) > calls/50 {
				return fmt.Errorf("endpoints %+v over %v s", s.Endpoints, window)
			}
		}
		return nil
	})
	prometheus(t, front, calls, failing)
}

// prometheus reads a sidecar's metrics with Prometheus's own parser.
func prometheus(t *testing.T, s *sidecar, calls, failing int) {
	t.Helper()
	res, err := s.client.Get("http://" + s.Admin + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if f := expfmt.ResponseFormat(res.Header); f.FormatType() != expfmt.TypeTextPlain {
		t.Errorf("Content-Type %q", res.Header.Get("Content-Type"))
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	for name, f := range families {
		if f.GetHelp() == "" || f.GetType().String() == "UNTYPED" {
			t.Errorf("%s has no help or no type", name)
		}
		documented(t, name)
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				documented(t, l.GetName())
			}
		}
	}
	got := map[string]uint64{}
	for _, m := range families["http_client_request_duration_seconds"].GetMetric() {
		labels := map[string]string{}
		for _, l := range m.GetLabel() {
			labels[l.GetName()] = l.GetValue()
		}
		if labels["meshd_service"] != "default/checkout:8080" {
			t.Errorf("labels %v", labels)
		}
		h := m.GetHistogram()
		got[labels["http_response_status_code"]] += h.GetSampleCount()
		var below uint64
		for _, b := range h.GetBucket() {
			if b.GetCumulativeCount() < below {
				t.Errorf("bucket %v holds fewer than the one before", b)
			}
			below = b.GetCumulativeCount()
			if b.GetUpperBound() < 0.01 && below != 0 {
				t.Errorf("calls of 10 ms are in the bucket up to %v s", b.GetUpperBound())
			}
		}
		if below != h.GetSampleCount() || h.GetSampleSum() < 0.01*float64(h.GetSampleCount()) {
			t.Errorf("the last bucket holds %d of %d, the sum is %v s", below, h.GetSampleCount(), h.GetSampleSum())
		}
	}
	if got["200"] != uint64(calls-failing) || got["500"] != uint64(failing) {
		t.Errorf("by status: %v", got)
	}
	for _, name := range []string{
		"http_client_active_requests", "meshd_client_retries_denied_total", "meshd_client_idle_resets_total",
		"meshd_breaker_open", "meshd_endpoint_requests_total", "meshd_endpoint_failures_total",
		"meshd_connections", "meshd_panics_total", "meshd_malformed_requests_total", "meshd_passthrough_total",
	} {
		if len(families[name].GetMetric()) == 0 {
			t.Errorf("%s is missing", name)
		}
	}
}
