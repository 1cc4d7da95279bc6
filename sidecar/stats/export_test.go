package stats

import (
	"bytes"
	"context"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

var update = flag.Bool("update", false, "rewrite the goldens")

// filled has something in every metric, and a fixed clock.
func filled() *Registry {
	r := NewRegistry()
	r.start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	r.now = func() time.Time { return r.start.Add(time.Minute) }
	c := r.Client("default/checkout:8080")
	c.Active.Add(2)
	all := c.Route("all")
	all.Record(200, ErrNone, 1*time.Millisecond)
	all.Record(200, ErrNone, 2*time.Millisecond)
	all.Record(200, ErrNone, 1500*time.Millisecond)
	all.Record(200, ErrNone, 100*time.Second)
	all.Record(503, ErrDestinationUnavailable, 20*time.Microsecond)
	all.Record(GRPC(0), ErrNone, 4*time.Millisecond)
	all.Record(GRPC(14), ErrNone, 5*time.Millisecond)
	all.Record(GRPC(14), ErrConnectionRefused, 6*time.Millisecond)
	c.Retry(Retry503)
	c.Retry(RetryConnectFailure)
	c.Retry(RetryIdleReset)
	c.RetryDenied()
	c.SetEndpoints(func() []EndpointStat {
		return []EndpointStat{
			{Address: "127.0.0.1:31006", ID: "checkout-0", Requests: 5, Failures: 1, InFlight: 2, Breaker: BreakerOpen, BreakerRule: "error-ratio",
				Ejections: map[string]uint64{"latency": 2, "consecutive": 1}},
			{Address: "[::1]:31016", ID: `odd "id"\`, Requests: 1, Weight: 1},
		}
	})
	c.Spent(PartRetried, 1500*time.Millisecond)
	c.Spent(PartConnect, 100*time.Microsecond)
	c.SetFigures(func() []Figure { return []Figure{{Held, 1, ""}, {Ejections, 2, "failures"}} })
	front := r.Server("default/front:80")
	front.Route("all").Record(204, ErrNone, 3*time.Millisecond)
	front.Spent(PartDownstream, time.Second)
	front.SetFigures(func() []Figure { return []Figure{{CallsOut, 3, "true"}, {CallsOut, 4, "false"}, {GateShed, 5, "full"}} })
	kept := Exemplar{Trace: [16]byte{0xab, 15: 1}, Span: [8]byte{0xcd, 7: 2}, Time: r.start.Add(59 * time.Second)}
	front.Route("all").RecordKept(204, ErrNone, 3100*time.Microsecond, kept)
	kept.Trace[15]++
	kept.Time = r.start.Add(-time.Second) // too old by now
	front.Route("all").RecordKept(204, ErrNone, 20*time.Millisecond, kept)
	db := r.Client("default/db:5432").TCP()
	db.Begin()
	db.Begin()
	db.Begin()
	db.Sent.Add(100)
	db.Received.Add(1 << 40)
	db.End(ErrNone, 90*time.Second)
	db.End(ErrConnectionRefused, time.Millisecond)
	r.Server("default/front:80").TCP().Begin()
	r.Refuse(ErrConnectionLimitReached)
	r.Downstream.Add(7)
	r.Upstream.Add(3)
	r.Panics.Inc()
	r.Malformed.Add(4)
	r.Passthrough.Add(1_000_000)
	r.SetFigures(func() []Figure {
		return []Figure{{LogWritten, 9, ""}, {LogDropped, 1, ""}, {Exported, 50, "meshd"}, {Unexported, 5, "meshd"}, {Thinned, 3, "meshd"}}
	})
	return r
}

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(name, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("differs from %s (-update rewrites it):\n%s", name, got)
	}
}

// Prometheus itself reads it in test/watch.
func TestOpenMetrics(t *testing.T) {
	if f := AcceptedFormat("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"); f != OpenMetrics {
		t.Error("what Prometheus asks for is not understood")
	}
	if f := AcceptedFormat("text/html,*/*"); f != PrometheusText {
		t.Error("a browser gets OpenMetrics")
	}
	var text bytes.Buffer
	if err := filled().WritePrometheus(&text, OpenMetrics); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/metrics.om", text.Bytes())
}

func TestExemplars(t *testing.T) {
	scopes, _ := filled().Produce(context.Background())
	for _, m := range scopes[0].Metrics {
		if m.Name != "http.server.request.duration" {
			continue
		}
		of := m.Data.(metricdata.ExponentialHistogram[float64]).DataPoints[0].Exemplars
		if len(of) != 1 || of[0].Value != 0.0031 || of[0].TraceID[15] != 1 || of[0].SpanID[0] != 0xcd {
			t.Errorf("%+v", of)
		}
		return
	}
	t.Error("no histogram")
}

func TestPrometheus(t *testing.T) {
	var text bytes.Buffer
	if err := filled().WritePrometheus(&text, PrometheusText); err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/metrics.prom", text.Bytes())

	// Prometheus's own parser reads it.
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(&text)
	if err != nil {
		t.Fatal(err)
	}
	latency := families["http_client_request_duration_seconds"].GetMetric()[0]
	for _, b := range latency.GetHistogram().GetBucket() {
		var exact uint64
		for _, s := range []float64{0.001, 0.002, 1.5, 100} {
			if s <= b.GetUpperBound() {
				exact++
			}
		}
		if b.GetCumulativeCount() != exact {
			t.Errorf("le %v: %d, want %d", b.GetUpperBound(), b.GetCumulativeCount(), exact)
		}
	}
	endpoints := families["meshd_endpoint_requests_total"].GetMetric()
	if got := endpoints[1].GetLabel()[2].GetValue(); got != `odd "id"\` {
		t.Errorf("label came back as %q", got)
	}
}

// TestContract holds what is produced against docs/reference/wire.md.
func TestContract(t *testing.T) {
	doc, err := os.ReadFile("../../docs/reference/wire.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(doc), "## Metrics")
	if !ok {
		t.Fatal("wire.md has no section on metrics")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	documented := map[string]map[string]bool{} // metric -> attributes
	quoted := regexp.MustCompile("`([a-z][a-z0-9_.]*)`")
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || !strings.HasPrefix(cells[1], " `") {
			continue
		}
		attrs := map[string]bool{}
		for _, m := range quoted.FindAllStringSubmatch(cells[3], -1) {
			attrs[m[1]] = true
		}
		for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
			documented[m[1]] = attrs
		}
	}

	scopes, err := filled().Produce(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	produced := map[string]bool{}
	for _, m := range scopes[0].Metrics {
		produced[m.Name] = true
		attrs, ok := documented[m.Name]
		if !ok {
			t.Errorf("%s is produced and not documented", m.Name)
		}
		for _, set := range attributeSets(m.Data) {
			for _, kv := range set.ToSlice() {
				if !attrs[string(kv.Key)] {
					t.Errorf("%s has the attribute %s, which is not documented", m.Name, kv.Key)
				}
			}
		}
	}
	for name := range documented {
		if !produced[name] {
			t.Errorf("%s is documented and not produced", name)
		}
	}
}

// TestSameMetrics: what OTLP has, Prometheus has, under the names that OpenTelemetry's
// rules make of them, and the other way round.
func TestSameMetrics(t *testing.T) {
	scopes, err := filled().Produce(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	otlp := map[string]bool{}
	for _, m := range scopes[0].Metrics {
		name, kind := strings.ReplaceAll(m.Name, ".", "_"), "gauge"
		name += map[string]string{"s": "_seconds", "By": "_bytes"}[m.Unit]
		switch data := m.Data.(type) {
		case metricdata.ExponentialHistogram[float64]:
			kind = "histogram"
		case metricdata.Sum[int64]:
			if data.IsMonotonic {
				kind = "counter"
			}
		case metricdata.Sum[float64]:
			kind = "counter"
		}
		if kind == "counter" {
			name += "_total"
		}
		otlp[name+" "+kind] = true
	}
	var text bytes.Buffer
	if err := filled().WritePrometheus(&text, PrometheusText); err != nil {
		t.Fatal(err)
	}
	prometheus := map[string]bool{}
	for line := range strings.Lines(text.String()) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "# TYPE "); ok {
			prometheus[name] = true
		}
	}
	for name := range otlp {
		if !prometheus[name] {
			t.Errorf("%s is exported by OTLP only", name)
		}
	}
	for name := range prometheus {
		if !otlp[name] {
			t.Errorf("%s is at /metrics only", name)
		}
	}
}

func attributeSets(data metricdata.Aggregation) []attribute.Set {
	var sets []attribute.Set
	switch data := data.(type) {
	case metricdata.ExponentialHistogram[float64]:
		for _, p := range data.DataPoints {
			sets = append(sets, p.Attributes)
		}
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			sets = append(sets, p.Attributes)
		}
	case metricdata.Gauge[int64]:
		for _, p := range data.DataPoints {
			sets = append(sets, p.Attributes)
		}
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			sets = append(sets, p.Attributes)
		}
	}
	return sets
}

func TestProduce(t *testing.T) {
	scopes, err := filled().Produce(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	byName := map[string]metricdata.Metrics{}
	for _, m := range scopes[0].Metrics {
		byName[m.Name] = m
	}
	latency := byName["http.client.request.duration"].Data.(metricdata.ExponentialHistogram[float64])
	if latency.Temporality != metricdata.CumulativeTemporality {
		t.Error("latency is not cumulative")
	}
	ok, failed := latency.DataPoints[0], latency.DataPoints[1]
	if ok.Count != 4 || ok.Scale != 5 || ok.Sum < 101.502 || ok.Sum > 101.504 || !ok.StartTime.Before(ok.Time) {
		t.Errorf("latency: %+v", ok)
	}
	wantOK := attribute.NewSet(
		attribute.String("meshd.service", "default/checkout:8080"),
		attribute.String("meshd.route", "all"),
		attribute.Int("http.response.status_code", 200))
	if !ok.Attributes.Equals(&wantOK) {
		t.Errorf("attributes %v", ok.Attributes.ToSlice())
	}
	if v, _ := failed.Attributes.Value("error.type"); v.AsString() != "destination_unavailable" {
		t.Errorf("attributes %v", failed.Attributes.ToSlice())
	}
	wantRPC := attribute.NewSet(
		attribute.String("meshd.service", "default/checkout:8080"),
		attribute.String("meshd.route", "all"),
		attribute.Int("http.response.status_code", 200),
		attribute.String("rpc.response.status_code", "UNAVAILABLE"),
		attribute.String("error.type", "connection_refused"))
	if rpc := latency.DataPoints[4]; rpc.Count != 1 || !rpc.Attributes.Equals(&wantRPC) {
		t.Errorf("%d calls with %v", rpc.Count, rpc.Attributes.ToSlice())
	}
	for name, want := range map[string]int64{
		"http.client.active_requests": 2, "meshd.client.retries_denied": 1, "meshd.breaker.open": 1,
		"meshd.endpoint.requests": 5, "meshd.malformed_requests": 4, "meshd.connections": 7,
	} {
		var got int64
		switch data := byName[name].Data.(type) {
		case metricdata.Sum[int64]:
			got = data.DataPoints[0].Value
		case metricdata.Gauge[int64]:
			got = data.DataPoints[0].Value
		}
		if got != want {
			t.Errorf("%s = %d, want %d", name, got, want)
		}
	}
	if sum := byName["meshd.client.retries"].Data.(metricdata.Sum[int64]); !sum.IsMonotonic || len(sum.DataPoints) != 2 {
		t.Errorf("retries: %+v", sum)
	}
}
