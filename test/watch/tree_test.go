package watch

import (
	"errors"
	"net/http"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// TestSampled: all calls are sampled: one that goes over three hops, with a retry at the
// last, is one tree in Jaeger. An application that does not hand traceparent on
// makes two of it, and its sidecar says so. What Prometheus reads of the sidecars
// leads to traces, and fills Grafana's dashboards.
func TestSampled(t *testing.T) {
	b := newBackends(t, "prometheus.yml")
	c := newChain(t, environment("OTEL_TRACES_SAMPLER=parentbased_always_on")...)
	meshdAt(t, c.mesh)
	t.Run("one", func(t *testing.T) { oneTree(t, b, c) })
	t.Run("two", func(t *testing.T) { twoTrees(t, b, c) })
	t.Run("sdk", func(t *testing.T) { ownSpan(t, b, c) })
	t.Run("b3", func(t *testing.T) {
		oneTree(t, b, newCarrier(t, "b3", environment("OTEL_TRACES_SAMPLER=parentbased_always_on", "OTEL_PROPAGATORS=tracecontext,b3")...))
	})
	t.Run("exemplars", func(t *testing.T) { exemplars(t, b, c) })
	t.Run("dashboards", func(t *testing.T) { dashboards(t, b, c) })
}

func oneTree(t *testing.T, b *backends, c *chain) {
	var attempts atomic.Int64
	c.answers(func(w http.ResponseWriter) {
		if attempts.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	heard := c.call(t, http.StatusOK)
	if len(heard) != 2 || heard[0] != heard[1] {
		t.Fatalf("cart heard of traces %q", heard)
	}
	b.awaitTree(t, heard[0], is(`client edge-0 status_code=200
  client edge-0 attempt status_code=200
    server web-0 status_code=200
      client web-0 status_code=200
        client web-0 attempt status_code=200
          server shop-0 status_code=200
            client shop-0 status_code=200 resend_count=1 [retry]
              client shop-0 attempt status_code=503 type=503
                server cart-A status_code=503 type=503
              client shop-0 attempt status_code=200 resend_count=1 reason=503
                server cart-B status_code=200
`))
}

func twoTrees(t *testing.T, b *backends, c *chain) {
	c.answers(func(http.ResponseWriter) {})
	before := outbound(t, c.shop)
	first, err := b.newest("edge")
	if err != nil {
		t.Fatal(err)
	}
	c.forget.Store(true)
	defer c.forget.Store(false)
	heard := c.call(t, http.StatusOK)
	if len(heard) != 1 {
		t.Fatalf("cart heard of traces %q", heard)
	}
	b.awaitTree(t, heard[0], is(`client shop-0 status_code=200
  client shop-0 attempt status_code=200
    server cart-A status_code=200
`))
	var above string
	process.Await(t, rig.Patience, func() error {
		if above, err = b.newest("edge"); err == nil && above == first {
			err = errors.New("the newest trace of edge's is the one before")
		}
		return err
	})
	b.awaitTree(t, above, is(`client edge-0 status_code=200
  client edge-0 attempt status_code=200
    server web-0 status_code=200
      client web-0 status_code=200
        client web-0 attempt status_code=200
          server shop-0 status_code=200
`))
	after := outbound(t, c.shop)
	if after["false"] != before["false"]+1 || after["true"] != before["true"] {
		t.Errorf("shop's calls, by whether they are joined: %v, before %v", after, before)
	}
	if got := outbound(t, c.web); got["false"] != 0 || got["true"] == 0 {
		t.Errorf("web's calls, by whether they are joined: %v", got)
	}
}

// ownSpan: spans of an application that has OpenTelemetry's SDK and sends them to
// the same Collector come between those of its sidecar.
func ownSpan(t *testing.T, b *backends, c *chain) {
	exporter, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpointURL(collectorURL+"/v1/traces"))
	if err != nil {
		t.Fatal(err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))
	defer func() {
		if err := provider.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	tracer := provider.Tracer("shop")
	c.tracer.Store(&tracer)
	defer c.tracer.Store(nil)
	heard := c.call(t, http.StatusOK)
	if len(heard) != 1 {
		t.Fatalf("cart heard of traces %q", heard)
	}
	b.awaitTree(t, heard[0], is(`client edge-0 status_code=200
  client edge-0 attempt status_code=200
    server web-0 status_code=200
      client web-0 status_code=200
        client web-0 attempt status_code=200
          server shop-0 status_code=200
            internal look into the cart
              client shop-0 status_code=200
                client shop-0 attempt status_code=200
                  server cart-A status_code=200
`))
}

// outbound is meshd_server_outbound_calls_total, by meshd_joined.
func outbound(t *testing.T, s *rig.Sidecar) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for _, x := range metrics(t, s)["meshd_server_outbound_calls_total"].GetMetric() {
		for _, l := range x.GetLabel() {
			if l.GetName() == "meshd_joined" {
				out[l.GetValue()] += x.GetCounter().GetValue()
			}
		}
	}
	return out
}
