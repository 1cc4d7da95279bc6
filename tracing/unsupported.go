package tracing

import "log/slog"

// unsupported are variables of the specification that are not read, and what
// there is in their place.
var unsupported = []struct{ name, instead string }{
	{"OTEL_EXPORTER_PROMETHEUS_HOST", "Prometheus scrapes /metrics on the sidecar's --admin port"},
	{"OTEL_EXPORTER_PROMETHEUS_PORT", "Prometheus scrapes /metrics on the sidecar's --admin port"},
	{"OTEL_EXPORTER_ZIPKIN_ENDPOINT", "an OpenTelemetry Collector takes OTLP and speaks to Zipkin"},
	{"OTEL_EXPORTER_ZIPKIN_PROTOCOL", "an OpenTelemetry Collector takes OTLP and speaks to Zipkin"},
	{"OTEL_EXPORTER_ZIPKIN_TIMEOUT", "an OpenTelemetry Collector takes OTLP and speaks to Zipkin"},
	{"OTEL_CONFIG_FILE", "the other variables say what it would"},
	{"OTEL_EXPERIMENTAL_CONFIG_FILE", "the other variables say what it would"},
	{"OTEL_ENTITIES", "OTEL_RESOURCE_ATTRIBUTES"},
	{"OTEL_LOG_LEVEL", "--log-level"},
}

// warnIgnored tells of variables that make no sense.
func warnIgnored(of []ignored, log *slog.Logger) {
	for _, i := range of {
		log.Warn("a variable of OpenTelemetry makes no sense, and is not heeded", "variable", i.variable, "value", i.value, "accepted", i.accepted,
			"next", "correct it, or take it out of the environment, and start again")
	}
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
