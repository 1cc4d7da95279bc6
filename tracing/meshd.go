package tracing

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/sdk/resource"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// meshdTimeout is the longest that one export to meshd may take; the next one
// of metrics, a second later, carries the same sums.
const meshdTimeout = time.Second

// meshdBatch is how spans go to meshd: a call is to be on the page within two
// seconds of its end, and of hundreds of sidecars each export costs more than
// the few spans that are in it.
var meshdBatch = batchSettings{delay: time.Second, timeout: meshdTimeout, queue: 2048, perBatch: 256}

// startMeshd sends meshd the producers' metrics and the spans, on one
// connection, under the process's own identity. Spans say what is around it too;
// metrics, which go every second, need not.
func (t *Telemetry) startMeshd(ctx context.Context, s settings, identity, around []attribute.KeyValue, o Options) error {
	if o.MeshdAddr == "" {
		return nil
	}
	h := newHandover()
	conn, err := dialMeshd(o.MeshdAddr, o.Dial, h)
	if err != nil {
		return err
	}
	// Shutdown waits for both exporters before this: it is the last to stop.
	t.last = append(t.last, func() { conn.Close() })
	metrics, err := otlpmetricgrpc.New(ctx,
		otlpmetricgrpc.WithGRPCConn(conn),
		otlpmetricgrpc.WithHeaders(nil),
		otlpmetricgrpc.WithTimeout(meshdTimeout),
		otlpmetricgrpc.WithTemporalitySelector(metric.CumulativeTemporalitySelector),
		otlpmetricgrpc.WithRetry(otlpmetricgrpc.RetryConfig{Enabled: false}))
	if err != nil {
		return fmt.Errorf("tracing: metrics to meshd: %w", err)
	}
	told := sparsely(without(recent(o.Producers), o.MeshdOmits), o.MeshdSparsely)
	var producers []metric.Producer
	for _, p := range told {
		producers = append(producers, p)
	}
	t.startReader(reader{
		exporter:  &guardedMetrics{&retelling{metrics, told}, newGuard(o.Logger, "metrics to meshd")},
		free:      func() {},
		resource:  resource.NewSchemaless(identity...),
		producers: producers,
		interval:  cmp.Or(o.MeshdInterval, time.Second),
		timeout:   meshdTimeout,
	})
	if s.disabled {
		return nil // whoever turns the SDK off wants no traces begun
	}
	spans := otlptracegrpc.NewClient(
		otlptracegrpc.WithGRPCConn(conn),
		otlptracegrpc.WithHeaders(nil),
		otlptracegrpc.WithTimeout(meshdTimeout),
		otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{Enabled: false}))
	q := &queue{name: "meshd", limits: meshdBatch, guard: newGuard(o.Logger, "spans to meshd"), thin: &thinner{}, busy: h.busy}
	return t.startQueue(q, resource.NewSchemaless(slices.Concat(around, identity)...), spans, func() {})
}

// An omitting wrapper leaves metrics out.
type omitting struct {
	metric.Producer
	names []string
}

func without(of []metric.Producer, names []string) []metric.Producer {
	for i, p := range of {
		of[i] = omitting{p, names}
	}
	return of
}

// Produce changes what the producer returns in place: it is the caller's.
func (o omitting) Produce(ctx context.Context) ([]metricdata.ScopeMetrics, error) {
	scopes, err := o.Producer.Produce(ctx)
	for i := range scopes {
		scopes[i].Metrics = slices.DeleteFunc(scopes[i].Metrics, func(m metricdata.Metrics) bool { return slices.Contains(o.names, m.Name) })
	}
	return scopes, err
}

// dialMeshd makes a connection that does not go through an HTTP proxy, and
// finds a meshd that comes back within two seconds. It dials when it is used.
func dialMeshd(addr string, dial dialFunc, h *handover) (*grpc.ClientConn, error) {
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return nil, fmt.Errorf("tracing: meshd's address %q: accepted is HOST:PORT", addr)
	}
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	conn, err := grpc.NewClient(addr, append(dial.grpc(addr),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(),
		h.option(),
		grpc.WithReadBufferSize(4<<10),
		grpc.WithWriteBufferSize(128<<10), // a report wakes meshd once
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: meshdTimeout,
		}))...)
	if err != nil {
		return nil, fmt.Errorf("tracing: meshd at %s: %w", addr, err)
	}
	return conn, nil
}
