package tracing

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// calls is a producer with one sum.
type calls struct{}

func (calls) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	return []metricdata.ScopeMetrics{{
		Scope: instrumentation.Scope{Name: "test"},
		Metrics: []metricdata.Metrics{
			{Name: "calls", Data: metricdata.Sum[int64]{
				Temporality: metricdata.CumulativeTemporality, IsMonotonic: true,
				DataPoints: []metricdata.DataPoint[int64]{{Value: 42}},
			}},
			{Name: "latency", Data: metricdata.ExponentialHistogram[float64]{
				Temporality: metricdata.CumulativeTemporality,
				DataPoints: []metricdata.ExponentialHistogramDataPoint[float64]{{
					Count: 3, Sum: 0.5, Scale: 5,
					PositiveBucket: metricdata.ExponentialBucket{Offset: -200, Counts: []uint64{1, 2}},
				}},
			}},
		},
	}}, nil
}

func setup(t *testing.T, o Options) *Telemetry {
	t.Helper()
	telemetry, err := Setup(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return telemetry
}

func shutdown(t *testing.T, telemetry *Telemetry) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return telemetry.Shutdown(ctx)
}

func TestSpansArrive(t *testing.T) {
	for _, protocol := range []string{protocolGRPC, protocolHTTP} {
		for _, compression := range []string{"none", "gzip"} {
			t.Run(protocol+"/"+compression, func(t *testing.T) { testSpansArrive(t, protocol, compression) })
		}
	}
}

func testSpansArrive(t *testing.T, protocol, compression string) {
	backend := newSink()
	telemetry := setup(t, Options{
		ServiceName: "checkout", Namespace: "default", InstanceID: "checkout-0", Version: "v1",
		Producers: []metric.Producer{calls{}},
		Getenv: getenv(map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT":    backend.serve(t, protocol),
			"OTEL_EXPORTER_OTLP_PROTOCOL":    protocol,
			"OTEL_EXPORTER_OTLP_COMPRESSION": compression,
			"OTEL_EXPORTER_OTLP_HEADERS":     "authorization=Bearer%20secret",
			"OTEL_TRACES_SAMPLER":            "parentbased_always_on",
			"OTEL_RESOURCE_ATTRIBUTES":       "deployment.environment.name=test,service.name=ignored",
			"OTEL_SERVICE_NAME":              "shop",
		}),
	})
	if !telemetry.Tracing() {
		t.Fatal("spans go nowhere")
	}
	caller, _ := ParseTraceparent([]byte("00-" + traceHex + "-" + spanHex + "-01"))
	call := telemetry.Sampler().Start(caller, true, -1)
	attempt := telemetry.Sampler().Start(call, true, -1)
	start := time.Unix(1_700_000_000, 5)
	telemetry.Emit(Span{
		Context: attempt, Parent: call, Kind: KindClient, Name: SpanName("GET", "/orders"),
		Start: start.Add(time.Millisecond), End: start.Add(2 * time.Millisecond),
		Attributes: AttributesOf(HTTPStatus.Int(503), MeshRetryReason.String("503")),
		Failed:     true,
	})
	telemetry.Emit(Span{
		Context: call, Parent: caller, RemoteParent: true, TraceState: "rojo=00f067aa0ba902b7",
		Kind: KindServer, Name: SpanName("BREW", ""), Start: start, End: start.Add(3 * time.Millisecond),
		Events: []Event{{Name: "retry", Time: start, Attributes: []attribute.KeyValue{HTTPResendCount.Int(1)}}},
		Error:  "tea only",
	})
	telemetry.Emit(Span{Context: SpanContext{TraceID: call.TraceID, SpanID: call.SpanID}, Name: "not sampled"})
	if err := shutdown(t, telemetry); err != nil {
		t.Error(err)
	}

	spans, resource := backend.flat()
	if len(spans) != 2 {
		t.Fatalf("%d spans arrived: %v", len(spans), spans)
	}
	for key, want := range map[string]any{
		"service.name": "shop", "service.namespace": "default", "service.instance.id": "checkout-0",
		"service.version": "v1", "deployment.environment.name": "test", "telemetry.sdk.language": "go",
	} {
		if resource[key] != want {
			t.Errorf("resource %s = %v, want %v", key, resource[key], want)
		}
	}
	a, c := spans[0], spans[1]
	if a.Name != "GET /orders" || c.Name != "HTTP" {
		t.Errorf("names %q and %q", a.Name, c.Name)
	}
	if [16]byte(a.TraceId) != caller.TraceID || [16]byte(c.TraceId) != caller.TraceID {
		t.Error("not in the caller's trace")
	}
	if [8]byte(a.SpanId) != attempt.SpanID || [8]byte(a.ParentSpanId) != call.SpanID ||
		[8]byte(c.SpanId) != call.SpanID || [8]byte(c.ParentSpanId) != caller.SpanID {
		t.Error("ids or parents were changed on the way")
	}
	if a.Kind != tracepb.Span_SPAN_KIND_CLIENT || c.Kind != tracepb.Span_SPAN_KIND_SERVER {
		t.Errorf("kinds %v and %v", a.Kind, c.Kind)
	}
	const hasRemote, isRemote = 0x100, 0x200
	if a.Flags&isRemote != 0 || c.Flags&(hasRemote|isRemote) != hasRemote|isRemote || c.TraceState != "rojo=00f067aa0ba902b7" {
		t.Errorf("flags %x and %x, tracestate %q", a.Flags, c.Flags, c.TraceState)
	}
	if c.StartTimeUnixNano != uint64(start.UnixNano()) || c.EndTimeUnixNano-c.StartTimeUnixNano != 3_000_000 {
		t.Error("times were changed on the way")
	}
	if got := attrs(a.Attributes); got["http.response.status_code"] != int64(503) || got["meshd.retry.reason"] != "503" {
		t.Errorf("attributes %v", got)
	}
	if a.Status.GetCode() != tracepb.Status_STATUS_CODE_ERROR || c.Status.GetMessage() != "tea only" {
		t.Errorf("status %v and %v", a.Status, c.Status)
	}
	if len(c.Events) != 1 || c.Events[0].Name != "retry" || attrs(c.Events[0].Attributes)["http.request.resend_count"] != int64(1) {
		t.Errorf("events %v", c.Events)
	}
	if got := telemetry.Counts("otel"); got != (Counts{Exported: 2}) {
		t.Errorf("counts %+v", got)
	}

	// Shutdown exported the metrics too.
	names := map[string]bool{}
	for _, rm := range backend.metrics {
		for _, sm := range rm.ScopeMetrics {
			for _, m := range sm.Metrics {
				names[m.Name] = true
			}
		}
	}
	if !names["calls"] || !names["latency"] || !names["otel.sdk.processor.span.processed"] {
		t.Errorf("metrics %v", names)
	}
	for _, h := range backend.headers {
		if h != "Bearer secret" {
			t.Errorf("authorization %q", h)
		}
	}
	for _, p := range backend.paths {
		if p != "/v1/traces" && p != "/v1/metrics" {
			t.Errorf("path %s", p)
		}
	}
}

// TestMeshd: meshd gets metrics under the sidecar's own identity, whatever the
// environment says for other backends.
func TestMeshd(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret")
	t.Setenv("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative")
	t.Setenv("OTEL_SDK_DISABLED", "true")
	t.Setenv("OTEL_SERVICE_NAME", "shop")
	meshd := newSink()
	telemetry := setup(t, Options{
		ServiceName: "checkout", Namespace: "default", InstanceID: "checkout-0",
		MeshdAddr: meshd.grpc(t), MeshdInterval: 10 * time.Millisecond, MeshdOmits: []string{"calls"},
		Producers: []metric.Producer{calls{}},
	})
	patience, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	select {
	case <-meshd.gotMetrics:
	case <-patience.Done():
		t.Error("no metrics")
	}
	if err := shutdown(t, telemetry); err != nil {
		t.Error(err)
	}
	rm := meshd.metrics[0]
	resource := attrs(rm.Resource.Attributes)
	if len(resource) != 3 || resource["service.name"] != "checkout" || resource["service.namespace"] != "default" || resource["service.instance.id"] != "checkout-0" {
		t.Errorf("resource %v", resource)
	}
	if len(rm.ScopeMetrics) != 1 {
		t.Fatalf("scopes %v", rm.ScopeMetrics)
	}
	if n := len(rm.ScopeMetrics[0].Metrics); n != 1 {
		t.Fatalf("%d metrics, of which one is not for meshd", n)
	}
	latency := rm.ScopeMetrics[0].Metrics[0].GetExponentialHistogram().GetDataPoints()[0]
	if latency.Scale != 5 || latency.Positive.Offset != -200 || len(latency.Positive.BucketCounts) != 2 || latency.GetSum() != 0.5 {
		t.Errorf("latency %v", latency)
	}
	for _, h := range meshd.headers {
		if h != "" {
			t.Errorf("the environment's headers went to meshd: %q", h)
		}
	}
	if telemetry.Tracing() {
		t.Error("tracing although OTEL_SDK_DISABLED")
	}
}

// TestDeadBackend: nothing listens; Emit does not block, every span lost is
// counted and the log stays short.
func TestDeadBackend(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	dead := l.Addr().String()
	l.Close()
	var log bytes.Buffer
	telemetry := setup(t, Options{
		ServiceName: "s", MeshdAddr: dead, MeshdInterval: time.Millisecond,
		Producers: []metric.Producer{calls{}},
		Logger:    slog.New(slog.NewTextHandler(&log, nil)),
		Getenv: getenv(map[string]string{
			"OTEL_EXPORTER_OTLP_ENDPOINT": "http://" + dead,
			"OTEL_BSP_MAX_QUEUE_SIZE":     "100",
			"OTEL_TRACES_SAMPLER":         "always_on",
		}),
	})
	const emitted = 10_000
	for range emitted {
		telemetry.Emit(Span{Context: telemetry.Sampler().Start(SpanContext{}, false, -1), Name: "x", Kept: true})
	}
	if err := shutdown(t, telemetry); err != nil {
		t.Error(err)
	}
	otel, meshd := telemetry.Counts("otel"), telemetry.Counts("meshd")
	telemetry.Emit(Span{Context: telemetry.Sampler().Start(SpanContext{}, false, -1), Kept: true})
	for exporter, got := range map[string]Counts{"otel": otel, "meshd": meshd} {
		if got.Dropped+got.Failed != emitted || got.Pending != 0 || got.Exported != 0 {
			t.Errorf("%s: counts %+v", exporter, got)
		}
		if telemetry.Counts(exporter).Dropped != got.Dropped+1 {
			t.Errorf("%s: a span after shutdown is not counted", exporter)
		}
	}
	if lines := strings.Count(log.String(), "\n"); lines < 1 || lines > 4 {
		t.Errorf("%d lines logged, one is due for each of four exporters:\n%s", lines, log.String())
	}
}

// TestSlowBackend: one export hangs; spans beyond the queue are dropped, and
// Shutdown ends with its context.
func TestSlowBackend(t *testing.T) {
	release := make(chan struct{})
	entered := make(chan struct{}, 10)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-release
	}))
	defer server.Close()
	defer close(release)
	telemetry := setup(t, Options{ServiceName: "s", Getenv: getenv(map[string]string{
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": server.URL,
		"OTEL_BSP_MAX_QUEUE_SIZE":            "50",
		"OTEL_BSP_SCHEDULE_DELAY":            "1",
		"OTEL_BSP_MAX_EXPORT_BATCH_SIZE":     "1",
	})})
	emit := func() {
		telemetry.Emit(Span{Context: telemetry.Sampler().Start(SpanContext{}, false, 1), Name: "x"})
	}
	emit()
	<-entered
	for range 60 {
		emit()
	}
	if got, want := telemetry.Counts("otel"), (Counts{Pending: 50, Dropped: 11}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := telemetry.Shutdown(ctx); err == nil {
		t.Error("shutdown hides that spans were lost")
	}
	for telemetry.Counts("otel").Pending > 0 { // what was left fails at once
		runtime.Gosched()
	}
	if got, want := telemetry.Counts("otel"), (Counts{Failed: 50, Dropped: 11}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
}

func TestConsole(t *testing.T) {
	var out bytes.Buffer
	telemetry := setup(t, Options{ServiceName: "s", Producers: []metric.Producer{calls{}}, Console: &out, Getenv: getenv(map[string]string{
		"OTEL_TRACES_EXPORTER":  "console",
		"OTEL_METRICS_EXPORTER": "console",
	})})
	caller, _ := ParseTraceparent([]byte("00-" + traceHex + "-" + spanHex + "-01"))
	telemetry.Emit(Span{
		Context: telemetry.Sampler().Start(caller, true, -1), Parent: caller, Kind: KindClient, Name: "GET",
		Attributes: AttributesOf(HTTPStatus.Int(200)),
	})
	if err := shutdown(t, telemetry); err != nil {
		t.Error(err)
	}
	for _, want := range []string{`"trace":"` + traceHex, `"parent":"` + spanHex, `"http.response.status_code":200`, `"Name":"calls"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, out.String())
		}
	}
}

// TestTwoExporters: what is named twice gets everything twice.
func TestTwoExporters(t *testing.T) {
	backend := newSink()
	var out bytes.Buffer
	env := map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": backend.http(t), "OTEL_SERVICE_NAME": "shop"}
	for _, signal := range []string{"TRACES", "METRICS", "LOGS"} {
		env["OTEL_"+signal+"_EXPORTER"] = "otlp,console"
	}
	telemetry := setup(t, Options{ServiceName: "s", Producers: []metric.Producer{calls{}}, Console: &out, Getenv: getenv(env)})
	telemetry.Emit(Span{Context: telemetry.Sampler().Start(SpanContext{}, false, 1), Name: "GET"})
	telemetry.Log(exampleRecord())
	if err := shutdown(t, telemetry); err != nil {
		t.Error(err)
	}
	spans, _ := backend.flat()
	if len(spans) != 1 || len(backend.logs) != 1 || len(backend.metrics) != 1 {
		t.Errorf("the backend has %d spans, %d logs, %d metrics", len(spans), len(backend.logs), len(backend.metrics))
	}
	for _, want := range []string{`"name":"GET"`, `"body":"GET /orders 503"`, `"Name":"calls"`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, out.String())
		}
	}
	for _, e := range telemetry.Exporters() {
		if e.Counts != (Counts{Exported: 1}) {
			t.Errorf("%+v", e)
		}
	}
}

func TestSetupRefuses(t *testing.T) {
	for _, o := range []Options{
		{MeshdAddr: "meshd", Getenv: getenv(nil)},
		{Getenv: getenv(map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"})},
		// An exporter that runs already is stopped again.
		{MeshdAddr: "meshd", Getenv: getenv(map[string]string{"OTEL_TRACES_EXPORTER": "console"})},
	} {
		if telemetry, err := Setup(t.Context(), o); err == nil || telemetry != nil {
			t.Errorf("%+v: accepted", o)
		}
	}
}

func TestGuard(t *testing.T) {
	var log bytes.Buffer
	g := newGuard(slog.New(slog.NewTextHandler(&log, nil)), "traces")
	g.note(nil)
	for range 100 {
		g.note(context.DeadlineExceeded)
	}
	g.note(nil)
	g.note(nil)
	if lines := strings.Count(log.String(), "\n"); lines != 2 || !strings.Contains(log.String(), "failed_exports=100") {
		t.Errorf("log:\n%s", log.String())
	}
}

func TestMethod(t *testing.T) {
	if kv, known := Method("PATCH"); !known || kv.Value.AsString() != "PATCH" {
		t.Errorf("PATCH: %v", kv)
	}
	if kv, known := Method("get"); known || kv.Value.AsString() != "_OTHER" {
		t.Errorf("get: %v", kv)
	}
}

func BenchmarkEmit(b *testing.B) {
	telemetry, err := Setup(b.Context(), Options{ServiceName: "s", Console: discard{}, Getenv: getenv(map[string]string{"OTEL_TRACES_EXPORTER": "console"})})
	if err != nil {
		b.Fatal(err)
	}
	defer telemetry.Shutdown(context.Background())
	s := Span{Context: telemetry.Sampler().Start(SpanContext{}, false, 1), Name: "GET", Attributes: AttributesOf(HTTPStatus.Int(200))}
	b.ReportAllocs()
	for b.Loop() {
		telemetry.Emit(s)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }

// produced is a producer that says when it is asked.
type produced chan struct{}

func (p produced) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	select {
	case p <- struct{}{}:
	default:
	}
	return nil, nil
}

// The first metrics may be due before Setup has returned; the race detector
// looks at what they read.
func TestMetricsAtOnce(t *testing.T) {
	asked := make(produced)
	telemetry := setup(t, Options{
		ServiceName: "checkout", Producers: []metric.Producer{asked}, Console: io.Discard, MeshdAddr: "127.0.0.1:1",
		Getenv: getenv(map[string]string{
			"OTEL_TRACES_EXPORTER": "console", "OTEL_LOGS_EXPORTER": "console",
			"OTEL_METRICS_EXPORTER": "console", "OTEL_METRIC_EXPORT_INTERVAL": "1",
		}),
	})
	<-asked
	_ = shutdown(t, telemetry) // nobody is at meshd's address
}
