package tracing

import (
	"context"
	"maps"
	"net"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// within fails the test if done does not become true.
func within(t *testing.T, patience time.Duration, what string, done func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// TestSpansToMeshd: meshd gets a span soon enough to show it within two
// seconds, beside the backend, whose exporter the variables name.
func TestSpansToMeshd(t *testing.T) {
	for _, name := range []string{"alone", "beside a backend"} {
		t.Run(name, func(t *testing.T) {
			meshd, backend := newSink(), newSink()
			env := map[string]string{"KUBERNETES_SERVICE_HOST": "10.96.0.1", "POD_NAME": "checkout-7d4b9c6f5-x2x9k", "POD_NAMESPACE": "shop"}
			if name != "alone" {
				env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = backend.http(t) + "/v1/traces"
				env["OTEL_SERVICE_NAME"] = "shop"
			}
			telemetry := setup(t, Options{
				ServiceName: "checkout", Namespace: "default", InstanceID: "checkout-0", Version: "v1",
				MeshdAddr: meshd.grpc(t), Getenv: getenv(env),
			})
			if !telemetry.Tracing() {
				t.Fatal("spans go nowhere")
			}
			sc := telemetry.Sampler().Start(SpanContext{}, false, 1)
			telemetry.Emit(Span{Context: sc, Name: "GET", Start: time.Unix(1, 0), End: time.Unix(2, 0)})
			within(t, 2*time.Second, "the span at meshd", func() bool { spans, _ := meshd.flat(); return len(spans) == 1 })
			spans, resource := meshd.flat()
			if [16]byte(spans[0].TraceId) != sc.TraceID || [8]byte(spans[0].SpanId) != sc.SpanID {
				t.Errorf("span %v, want %v", spans[0], sc)
			}
			delete(resource, "container.id") // of where the test runs
			if want := map[string]any{
				"service.name": "checkout", "service.namespace": "default", "service.instance.id": "checkout-0", "service.version": "v1",
				"k8s.pod.name": "checkout-7d4b9c6f5-x2x9k", "k8s.namespace.name": "shop",
			}; !maps.Equal(resource, want) {
				t.Errorf("resource %v", resource)
			}
			if err := shutdown(t, telemetry); err != nil {
				t.Error(err)
			}
			if got := telemetry.Counts("meshd"); got != (Counts{Exported: 1}) {
				t.Errorf("meshd: counts %+v", got)
			}
			spans, resource = backend.flat()
			if name == "alone" {
				if len(spans) != 0 || telemetry.Counts("otel") != (Counts{}) {
					t.Errorf("without a backend: %v, %+v", spans, telemetry.Counts("otel"))
				}
				return
			}
			if len(spans) != 1 || resource["service.name"] != "shop" || telemetry.Counts("otel") != (Counts{Exported: 1}) {
				t.Errorf("the backend has %v of %v, counts %+v", spans, resource, telemetry.Counts("otel"))
			}
		})
	}
}

// traceServer is a meshd that does what the test says.
type traceServer struct {
	coltracepb.UnimplementedTraceServiceServer
	export func(ctx context.Context) error
}

func (s *traceServer) Export(ctx context.Context, _ *coltracepb.ExportTraceServiceRequest) (*coltracepb.ExportTraceServiceResponse, error) {
	return &coltracepb.ExportTraceServiceResponse{}, s.export(ctx)
}

func (s *traceServer) serve(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	coltracepb.RegisterTraceServiceServer(server, s)
	done := make(chan struct{})
	go func() { defer close(done); server.Serve(l) }()
	t.Cleanup(func() { server.Stop(); <-done })
	return l.Addr().String()
}

// TestBadMeshd: one that hangs, that refuses, or is older and has no such
// service costs spans, which are counted, within a bounded queue; the backend
// beside it gets all of them.
func TestBadMeshd(t *testing.T) {
	for name, export := range map[string]func(context.Context) error{
		"hangs":   func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
		"refuses": func(context.Context) error { return status.Error(codes.ResourceExhausted, "too much") },
		"is older": func(context.Context) error {
			return status.Error(codes.Unimplemented, "unknown service")
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			backend := newSink()
			meshd := &traceServer{export: export}
			telemetry := setup(t, Options{ServiceName: "s", MeshdAddr: meshd.serve(t), Getenv: getenv(map[string]string{
				"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": backend.http(t) + "/v1/traces",
				"OTEL_BSP_MAX_QUEUE_SIZE":            "20000",
				"OTEL_BSP_SCHEDULE_DELAY":            "20",
			})})
			const emitted = 10_000
			begun := time.Now()
			for range emitted {
				telemetry.Emit(Span{Context: telemetry.Sampler().Start(SpanContext{}, false, 1), Name: "GET", Kept: true})
				if n := telemetry.Counts("meshd").Pending; n > int64(meshdBatch.queue) {
					t.Fatalf("%d spans wait", n)
				}
			}
			// Far below what one hanging export takes; Emit waits for none.
			if took := time.Since(begun); took > meshdTimeout {
				t.Errorf("%d spans took %v to hand over", emitted, took)
			}
			within(t, 10*time.Second, "all spans at the backend", func() bool {
				spans, _ := backend.flat()
				return len(spans) == emitted
			})
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			if err := telemetry.Shutdown(ctx); name != "hangs" && err != nil {
				t.Error(err)
			}
			within(t, 10*time.Second, "what meshd has not taken fails", func() bool { return telemetry.Counts("meshd").Pending == 0 })
			got := telemetry.Counts("meshd")
			if got.Dropped+got.Failed != emitted || got.Exported != 0 || got.Pending != 0 {
				t.Errorf("meshd: counts %+v", got)
			}
			if name == "hangs" && got.Dropped == 0 {
				t.Errorf("nothing was dropped: counts %+v", got)
			}
		})
	}
}

// kept is a producer of a histogram with exemplars of certain ages.
type kept []time.Duration

func (k kept) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	now := time.Unix(1_700_000_000, 0)
	p := metricdata.ExponentialHistogramDataPoint[float64]{Time: now, Count: 1}
	for _, age := range k {
		p.Exemplars = append(p.Exemplars, metricdata.Exemplar[float64]{Time: now.Add(-age), Value: age.Seconds()})
	}
	return []metricdata.ScopeMetrics{{
		Scope: instrumentation.Scope{Name: "test"},
		Metrics: []metricdata.Metrics{{Name: "latency", Data: metricdata.ExponentialHistogram[float64]{
			DataPoints: []metricdata.ExponentialHistogramDataPoint[float64]{p},
		}}},
	}}, nil
}

func TestRecentExemplars(t *testing.T) {
	all := kept{59 * time.Second, 5 * time.Second, 3 * time.Second, 0}
	ages := func(of []metric.Producer) (out []float64) {
		scopes, err := of[0].Produce(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range scopes[0].Metrics[0].Data.(metricdata.ExponentialHistogram[float64]).DataPoints[0].Exemplars {
			out = append(out, x.Value)
		}
		return out
	}
	if got := ages(recent([]metric.Producer{all})); len(got) != 2 || got[0] != 3 || got[1] != 0 {
		t.Errorf("meshd gets exemplars of %v s ago", got)
	}
	if got := ages(withExemplars([]metric.Producer{all}, 0)); got != nil {
		t.Errorf("who wants none gets those of %v s ago", got)
	}
}

// TestThinnedOut: what meshd has no use for is counted, and goes to others.
func TestThinnedOut(t *testing.T) {
	meshd, backend := newSink(), newSink()
	telemetry := setup(t, Options{ServiceName: "s", MeshdAddr: meshd.grpc(t), Getenv: getenv(map[string]string{
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": backend.http(t) + "/v1/traces", "OTEL_TRACES_SAMPLER": "always_on",
	})})
	const emitted = 10 * thinRate
	for range emitted {
		telemetry.Emit(Span{Context: telemetry.Sampler().Start(SpanContext{}, false, -1), Name: "x", End: time.Unix(1, 0)})
	}
	if err := shutdown(t, telemetry); err != nil {
		t.Error(err)
	}
	if got := telemetry.Counts("meshd"); got.Thinned < emitted/2 || got.Thinned+got.Exported != emitted {
		t.Errorf("meshd: %+v", got)
	}
	if got := telemetry.Counts("otel"); got != (Counts{Exported: emitted}) {
		t.Errorf("the backend: %+v", got)
	}
}
