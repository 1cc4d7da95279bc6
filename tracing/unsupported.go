package tracing

import "log/slog"

// unsupported are variables of the specification that are not read, and what
// there is in their place.
var unsupported = []struct{ name, instead string }{
	{"OTEL_EXPORTER_PROMETHEUS_HOST", "Prometheus scrapes /metrics on the sidecar's --admin port"},
	{"OTEL_EXPORTER_PROMETHEUS_PORT", "Prometheus scrapes /metrics on the sidecar's --admin port"},
	{"OTEL_EXPORTER_ZIPKIN_ENDPOINT", "an OpenTelemetry Collector takes OTLP and speaks to Zipkin"},
	{"OTEL_EXPORTER_ZIPKIN_TIMEOUT", "an OpenTelemetry Collector takes OTLP and speaks to Zipkin"},
	{"OTEL_CONFIG_FILE", "the other variables say what it would"},
	{"OTEL_EXPERIMENTAL_CONFIG_FILE", "the other variables say what it would"},
	{"OTEL_LOG_LEVEL", "--log-level"},
}

// warnUnsupported tells of those that are set: nobody is to wait for what they ask.
func warnUnsupported(getenv func(string) string, log *slog.Logger) {
	for _, u := range unsupported {
		if getenv(u.name) != "" {
			log.Warn("a variable of OpenTelemetry is not supported, and not read", "variable", u.name, "instead", u.instead,
				"next", "take it out of the environment, or set what stands in its place")
		}
	}
}
