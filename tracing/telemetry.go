package tracing

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// Options say who exports what, beside the OTEL_ variables.
type Options struct {
	// ServiceName, Namespace, InstanceID and Version identify the process.
	// meshd is told these, and with spans where the process runs; to other
	// backends, OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES win over them.
	ServiceName, Namespace, InstanceID, Version string
	// MeshdAddr is where meshd's OTLP/gRPC services listen, HOST:PORT, without
	// TLS. They get the producers' metrics every MeshdInterval, whatever the
	// OTEL_ variables say, and all spans unless OTEL_SDK_DISABLED. Empty: they
	// get nothing.
	MeshdAddr string
	// MeshdInterval is a second if zero.
	MeshdInterval time.Duration
	// MeshdOmits are names of metrics that meshd has no use for.
	MeshdOmits []string
	// MeshdSparsely are names of gauges and of sums that only grow, of which meshd
	// is told a part each time: what it does not know, and the others in turn.
	MeshdSparsely []string
	// Dial opens the exporters' TCP connections; nil: as Go does. A sidecar
	// marks its own here, so that redirection leaves them alone.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Producers are read at every export, possibly by two exporters at once.
	// What they return is the reader's, to change.
	Producers []metric.Producer
	// Logger hears of failing exporters, rarely; nil discards it.
	Logger *slog.Logger
	// Getenv is os.Getenv if nil.
	Getenv func(string) string
	// Console is where the console exporters write; os.Stdout if nil.
	Console io.Writer
}

// Telemetry exports spans and metrics. All methods may be called from any
// goroutine.
type Telemetry struct {
	sampler     *Sampler
	propagators Propagators
	limits      limits
	logLimits   limits
	logs        []*queue // one an exporter of logs
	queues      []*queue // one an exporter of traces
	stopped     atomic.Bool
	resource    *resource.Resource
	scope       instrumentation.Scope
	start       time.Time

	stop []func(context.Context) error // flush and free, one an exporter
	last []func()                      // after all of those
}

// Setup reads the OTEL_ variables and starts the exporters that they and the
// options name. It dials nothing and waits for nobody. A variable that makes no
// sense is warned of and counts as unset; an error says what nobody can go on
// without. Nothing global is touched.
func Setup(ctx context.Context, o Options) (*Telemetry, error) {
	if o.Getenv == nil {
		o.Getenv = os.Getenv
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Console == nil {
		o.Console = os.Stdout
	}
	s, err := readSettings(o.Getenv)
	if err != nil {
		return nil, err
	}
	warnIgnored(s.ignored, o.Logger)
	warnUnsupported(o.Getenv, o.Logger)
	identity := o.identity()
	around := surroundings{o.Getenv, readSmall, os.Hostname}.attributes()
	res, err := resource.New(ctx,
		resource.WithTelemetrySDK(),
		resource.WithAttributes(around...),
		resource.WithAttributes(identity...),
		resource.WithAttributes(s.resource...))
	if err != nil {
		return nil, fmt.Errorf("tracing: resource: %w", err)
	}
	s.tracesOTLP.dialer, s.metricsOTLP.dialer, s.logsOTLP.dialer = o.Dial, o.Dial, o.Dial
	t := &Telemetry{
		sampler:     s.sampler,
		propagators: s.propagators,
		limits:      s.limits,
		logLimits:   s.logLimits,
		resource:    res,
		scope:       instrumentation.Scope{Name: ScopeName, Version: o.Version},
		start:       time.Now(),
	}
	out := &console{out: o.Console}
	if err := errors.Join(
		t.startTraces(ctx, s, o, out),
		t.startLogs(s, o, out),
		t.startMeshd(ctx, s, identity, around, o),
		t.startMetrics(ctx, s, o, out), // last: its readers look at the others' queues
	); err != nil {
		canceled, cancel := context.WithCancel(ctx)
		cancel() // nothing to flush
		t.Shutdown(canceled)
		return nil, err
	}
	return t, nil
}

func (o Options) identity() []attribute.KeyValue {
	var attrs []attribute.KeyValue
	for _, a := range []attribute.KeyValue{
		semconv.ServiceName(o.ServiceName),
		semconv.ServiceNamespace(o.Namespace),
		semconv.ServiceInstanceID(o.InstanceID),
		semconv.ServiceVersion(o.Version),
	} {
		if a.Value.AsString() != "" {
			attrs = append(attrs, a)
		}
	}
	return attrs
}

// Tracing says whether spans go anywhere. If not, leave traceparent and
// tracestate as they came: a proxy that starts traces decides for those behind
// it, and should not if it has no part in them.
func (t *Telemetry) Tracing() bool { return len(t.queues) > 0 }

// Sampler is the one that OTEL_TRACES_SAMPLER asks for.
func (t *Telemetry) Sampler() *Sampler { return t.sampler }

// Emit hands a finished span over for export, in the background. The span's
// slices are the caller's again when it returns. It never blocks: if too many wait for an exporter, the span is
// dropped there and counted. A span that is not sampled is ignored.
func (t *Telemetry) Emit(s Span) {
	if len(t.queues) == 0 || !s.Context.Sampled() || !s.Context.Valid() {
		return
	}
	b := encoded.Get().(*[]byte)
	*b = appendSpan((*b)[:0], &s, &t.limits)
	for _, q := range t.queues {
		if q.thin != nil && !s.Kept && !q.thin.pass(s.Context.TraceID, s.End.UnixNano()) {
			q.counts.thinned.Add(1)
			continue
		}
		q.add(*b)
	}
	encoded.Put(b)
}

// encoded has buffers for one span or record.
var encoded = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

// Shutdown exports what waits, as far as ctx allows, and ends all goroutines.
// Spans emitted from then on are dropped.
func (t *Telemetry) Shutdown(ctx context.Context) error {
	if t.stopped.Swap(true) {
		return nil
	}
	errs := make([]error, len(t.stop))
	var wg sync.WaitGroup
	for i, stop := range t.stop {
		// At once: a backend that is down must not use up the others' time.
		wg.Go(func() { errs[i] = stop(ctx) })
	}
	wg.Wait()
	for _, free := range t.last {
		free()
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("tracing: shutdown: %w", err)
	}
	return nil
}
