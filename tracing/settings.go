package tracing

import (
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// What OTEL_TRACES_EXPORTER, OTEL_METRICS_EXPORTER and OTEL_LOGS_EXPORTER may say.
const (
	exporterOTLP    = "otlp"
	exporterConsole = "console"
	exporterNone    = "none"
)

// settings is what the environment says.
type settings struct {
	traces, metrics, logs []string // of the first two above
	disabled              bool     // OTEL_SDK_DISABLED
	tracesOTLP            otlp
	metricsOTLP           otlp
	logsOTLP              otlp

	sampler     *Sampler
	propagators Propagators
	batch       batchSettings // of spans
	logBatch    batchSettings
	limits      limits
	logLimits   limits
	shape       shape
	interval    time.Duration // between two exports of metrics
	timeout     time.Duration // of one

	resource []attribute.KeyValue
	ignored  []ignored // variables
}

type batchSettings struct {
	delay, timeout  time.Duration
	queue, perBatch int
}

// readSettings reads the variables of OpenTelemetry's specification. What makes
// no sense counts as unset; the error names what nobody can go on without.
func readSettings(getenv func(string) string) (settings, error) {
	e := &env{get: getenv}
	s := settings{
		sampler:     e.sampler(),
		propagators: e.propagators(),
		resource:    e.resource(),
		shape:       e.shape(),
		interval:    e.millis(1, time.Minute, "OTEL_METRIC_EXPORT_INTERVAL"),
		timeout:     e.timeout(30*time.Second, "OTEL_METRIC_EXPORT_TIMEOUT"),
		batch:       e.batch("OTEL_BSP_", 5*time.Second),
		logBatch:    e.batch("OTEL_BLRP_", time.Second),
		disabled:    e.boolean("OTEL_SDK_DISABLED"),
	}
	s.limits, s.logLimits = e.limits()
	if !s.disabled {
		s.traces, s.tracesOTLP = e.signal("TRACES", "v1/traces")
		s.metrics, s.metricsOTLP = e.signal("METRICS", "v1/metrics")
		s.logs, s.logsOTLP = e.signal("LOGS", "v1/logs")
	}
	s.ignored = e.ignored
	return s, e.err()
}

func (e *env) batch(prefix string, delay time.Duration) batchSettings {
	queue := e.number(1, math.MaxInt32, 2048, "a number", prefix+"MAX_QUEUE_SIZE")
	return batchSettings{
		delay:    e.delay(delay, prefix+"SCHEDULE_DELAY"),
		timeout:  e.timeout(30*time.Second, prefix+"EXPORT_TIMEOUT"),
		queue:    queue,
		perBatch: e.number(1, queue, min(512, queue), "a number, not more than "+prefix+"MAX_QUEUE_SIZE", prefix+"MAX_EXPORT_BATCH_SIZE"),
	}
}

// signal reads one signal's exporter. The standard's default is otlp; here it
// is otlp only where an endpoint is named, so that a sidecar alone does not
// call localhost for ever. For logs it has to be named for them: they are a
// record of every call.
func (e *env) signal(signal, path string) ([]string, otlp) {
	names := []string{"OTEL_EXPORTER_OTLP_" + signal + "_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"}
	if signal == "LOGS" {
		names = names[:1]
	}
	_, endpoint := e.first(names...)
	exporters, said := e.words("OTEL_"+signal+"_EXPORTER", []string{exporterOTLP, exporterConsole})
	if !said && endpoint != "" {
		exporters = []string{exporterOTLP}
	}
	if !slices.Contains(exporters, exporterOTLP) {
		return exporters, otlp{}
	}
	return exporters, e.otlp(signal, path)
}

// samplers are what OTEL_TRACES_SAMPLER may say; jaeger_remote and xray are
// not among them.
var samplers = []string{
	"always_on", "always_off", "traceidratio",
	"parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio",
	"ratelimiting", "parentbased_ratelimiting",
}

// sampler reads the argument only where it goes with a sampler that is named.
func (e *env) sampler() *Sampler {
	kind := e.choice("", samplers, "OTEL_TRACES_SAMPLER")
	if kind == "" {
		if name, value := e.first("OTEL_TRACES_SAMPLER_ARG"); value != "" {
			e.ignore(name, value, "one beside an OTEL_TRACES_SAMPLER that takes it")
		}
		return NewSampler(DefaultRatio)
	}
	base, parent := strings.CutPrefix(kind, "parentbased_")
	switch base {
	case "always_on":
		return &Sampler{bound: ratioBound(1), parent: parent, fixed: true}
	case "always_off":
		return &Sampler{bound: ratioBound(0), parent: parent, fixed: true}
	case "ratelimiting":
		return &Sampler{bound: ratioBound(1), parent: parent, limit: rate(e.argument(1e6, "traces a second, from 0 to 1000000"))}
	}
	return &Sampler{bound: ratioBound(e.argument(1, "a ratio, from 0 to 1")), parent: parent}
}

// argument reads a sampler's; 1 is the specification's default.
func (e *env) argument(most float64, accepted string) float64 {
	name, value := e.first("OTEL_TRACES_SAMPLER_ARG")
	if value == "" {
		return 1
	}
	n, err := strconv.ParseFloat(value, 64)
	if err != nil || !(n >= 0 && n <= most) {
		e.ignore(name, value, accepted)
		return 1
	}
	return n
}

// resource reads OTEL_RESOURCE_ATTRIBUTES, percent-encoded pairs separated by
// commas, all of them or none, and OTEL_SERVICE_NAME, which wins.
func (e *env) resource() []attribute.KeyValue {
	attrs := e.pairs("OTEL_RESOURCE_ATTRIBUTES")
	if _, service := e.first("OTEL_SERVICE_NAME"); service != "" {
		attrs = append(attrs, semconv.ServiceName(service))
	}
	return attrs
}

func (e *env) pairs(variable string) (attrs []attribute.KeyValue) {
	_, list := e.first(variable)
	for pair := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		key, badKey := url.PathUnescape(strings.TrimSpace(key))
		value, badValue := url.PathUnescape(strings.TrimSpace(value))
		if !ok || key == "" || badKey != nil || badValue != nil {
			e.ignore(variable, list, "KEY=VALUE,KEY=VALUE…, percent-encoded")
			return nil
		}
		attrs = append(attrs, attribute.String(key, value))
	}
	return attrs
}
