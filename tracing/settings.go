package tracing

import (
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
}

type batchSettings struct {
	delay, timeout  time.Duration
	queue, perBatch int
}

// readSettings reads the variables of OpenTelemetry's specification. Its error
// names every variable that is wrong, its value and what is accepted.
func readSettings(getenv func(string) string) (settings, error) {
	e := &env{get: getenv}
	s := settings{
		sampler:     e.sampler(),
		propagators: e.propagators(),
		resource:    e.resource(),
		shape:       e.shape(),
		interval:    e.millis(time.Minute, "OTEL_METRIC_EXPORT_INTERVAL"),
		timeout:     e.millis(30*time.Second, "OTEL_METRIC_EXPORT_TIMEOUT"),
		batch: batchSettings{
			delay:    e.millis(5*time.Second, "OTEL_BSP_SCHEDULE_DELAY"),
			timeout:  e.millis(30*time.Second, "OTEL_BSP_EXPORT_TIMEOUT"),
			queue:    e.number(2048, "a number of spans from 1 to 1000000", 1_000_000, "OTEL_BSP_MAX_QUEUE_SIZE"),
			perBatch: e.number(512, "a number of spans from 1 to 1000000", 1_000_000, "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
		},
		logBatch: batchSettings{
			delay:    e.millis(time.Second, "OTEL_BLRP_SCHEDULE_DELAY"),
			timeout:  e.millis(30*time.Second, "OTEL_BLRP_EXPORT_TIMEOUT"),
			queue:    e.number(2048, "a number of records from 1 to 1000000", 1_000_000, "OTEL_BLRP_MAX_QUEUE_SIZE"),
			perBatch: e.number(512, "a number of records from 1 to 1000000", 1_000_000, "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE"),
		},
	}
	s.batch.perBatch = min(s.batch.perBatch, s.batch.queue)
	s.logBatch.perBatch = min(s.logBatch.perBatch, s.logBatch.queue)
	s.limits, s.logLimits = e.limits()
	s.traces, s.tracesOTLP = e.signal("TRACES", "v1/traces")
	s.metrics, s.metricsOTLP = e.signal("METRICS", "v1/metrics")
	s.logs, s.logsOTLP = e.signal("LOGS", "v1/logs")
	if s.disabled = e.boolean("OTEL_SDK_DISABLED"); s.disabled {
		s.traces, s.metrics, s.logs = nil, nil, nil
	}
	return s, e.err()
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
	name, list := e.first("OTEL_" + signal + "_EXPORTER")
	if list == "" && endpoint != "" {
		list = exporterOTLP
	}
	exporters := e.exporters(name, list)
	if !slices.Contains(exporters, exporterOTLP) {
		return exporters, otlp{}
	}
	return exporters, e.otlp(signal, path)
}

// exporters reads a list of them, each once.
func (e *env) exporters(name, list string) (out []string) {
	if strings.EqualFold(strings.TrimSpace(list), exporterNone) || list == "" {
		return nil
	}
	for word := range strings.SplitSeq(list, ",") {
		word = strings.ToLower(strings.TrimSpace(word))
		if word != exporterOTLP && word != exporterConsole {
			e.refuse(name, list, "otlp, console, both with a comma between them, or none")
			return nil
		}
		if !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return out
}

// samplers are what OTEL_TRACES_SAMPLER may say; jaeger_remote and xray are
// not among them.
var samplers = []string{
	"always_on", "always_off", "traceidratio",
	"parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio",
	"ratelimiting", "parentbased_ratelimiting",
}

func (e *env) sampler() *Sampler {
	kind := e.choice("", samplers, "OTEL_TRACES_SAMPLER")
	unset := 1.0 // the specification's, for a sampler that was named
	if kind == "" {
		kind, unset = "parentbased_traceidratio", DefaultRatio
	}
	base, parent := strings.CutPrefix(kind, "parentbased_")
	switch base {
	case "always_on":
		return &Sampler{bound: ratioBound(1), parent: parent, fixed: true}
	case "always_off":
		return &Sampler{bound: ratioBound(0), parent: parent, fixed: true}
	}
	if base == "ratelimiting" {
		return &Sampler{bound: ratioBound(1), parent: parent, limit: e.rate()}
	}
	ratio := unset
	name, value := e.first("OTEL_TRACES_SAMPLER_ARG")
	if value != "" {
		parsed, err := strconv.ParseFloat(value, 64)
		if err != nil || !(parsed >= 0 && parsed <= 1) {
			e.refuse(name, value, "a ratio from 0 to 1")
		} else {
			ratio = parsed
		}
	}
	return &Sampler{bound: ratioBound(ratio), parent: parent}
}

// resource reads OTEL_RESOURCE_ATTRIBUTES, pairs with percent-encoded values
// separated by commas, and OTEL_SERVICE_NAME, which wins.
func (e *env) resource() []attribute.KeyValue {
	var attrs []attribute.KeyValue
	const accepted = "KEY=VALUE,KEY=VALUE… with percent-encoded values"
	name, list := e.first("OTEL_RESOURCE_ATTRIBUTES")
	for pair := range strings.SplitSeq(list, ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(value))
		if key = strings.TrimSpace(key); !ok || key == "" || err != nil {
			e.refuse(name, list, accepted)
			return nil
		}
		attrs = append(attrs, attribute.String(key, value))
	}
	if _, service := e.first("OTEL_SERVICE_NAME"); service != "" {
		attrs = append(attrs, semconv.ServiceName(service))
	}
	return attrs
}
