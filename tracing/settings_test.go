package tracing

import (
	"strings"
	"testing"
)

func getenv(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestEndpoints(t *testing.T) {
	for _, tc := range []struct {
		vars            map[string]string
		traces, metrics string // protocol and endpoint
	}{
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"},
			"http/protobuf http://collector:4318/v1/traces", "http/protobuf http://collector:4318/v1/metrics"},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector/otlp/"},
			"http/protobuf https://collector/otlp/v1/traces", "http/protobuf https://collector/otlp/v1/metrics"},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://jaeger:4318/custom"},
			"http/protobuf http://jaeger:4318/custom", ""},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_METRICS_EXPORTER": "none"},
			"grpc http://collector:4317", ""},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc", "OTEL_EXPORTER_OTLP_METRICS_INSECURE": "TRUE"},
			"grpc https://collector:4317", "grpc http://collector:4317"},
		{map[string]string{"OTEL_TRACES_EXPORTER": "otlp", "OTEL_METRICS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc"},
			"http/protobuf http://localhost:4318/v1/traces", "grpc http://localhost:4317"},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318", "OTEL_SDK_DISABLED": "true"}, "", ""},
	} {
		s, err := readSettings(getenv(tc.vars))
		if err != nil {
			t.Errorf("%v: %v", tc.vars, err)
			continue
		}
		text := func(exporters []string, o otlp) string {
			if exporters == nil {
				return ""
			}
			return o.protocol + " " + o.endpoint.String()
		}
		if got := text(s.traces, s.tracesOTLP); got != tc.traces {
			t.Errorf("%v: traces to %q, want %q", tc.vars, got, tc.traces)
		}
		if got := text(s.metrics, s.metricsOTLP); got != tc.metrics {
			t.Errorf("%v: metrics to %q, want %q", tc.vars, got, tc.metrics)
		}
	}
}

func TestHeadersKeepSecrets(t *testing.T) {
	vars := map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT":       "http://x",
		"OTEL_EXPORTER_OTLP_HEADERS":        "Authorization=Bearer%20hunter2, x-tenant=a=b",
		"OTEL_EXPORTER_OTLP_TRACES_HEADERS": "",
	}
	s, err := readSettings(getenv(vars))
	if err != nil {
		t.Fatal(err)
	}
	if h := s.tracesOTLP.headers; h["authorization"] != "Bearer hunter2" || h["x-tenant"] != "a=b" || len(h) != 2 {
		t.Errorf("headers %v", h)
	}
	for _, bad := range []string{"hunter2", "x=1,a b=hunter2", "a=%zzhunter2", "a=hunter2%0d%0ab"} {
		vars["OTEL_EXPORTER_OTLP_HEADERS"] = bad
		_, err := readSettings(getenv(vars))
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "OTEL_EXPORTER_OTLP_HEADERS, entry") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzSettings(f *testing.F) {
	f.Add("a=b", "http://h:1/p", "authorization=x", "0.5")
	f.Add("a=%zz,", "h:1", ",,=", "-1")
	f.Fuzz(func(t *testing.T, resource, endpoint, headers, ratio string) {
		for _, protocol := range []string{protocolGRPC, protocolHTTP} {
			s, err := readSettings(getenv(map[string]string{
				"OTEL_RESOURCE_ATTRIBUTES":    resource,
				"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
				"OTEL_EXPORTER_OTLP_HEADERS":  headers,
				"OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
				"OTEL_TRACES_SAMPLER":         "traceidratio",
				"OTEL_TRACES_SAMPLER_ARG":     ratio,
			}))
			if err == nil && len(s.traces) > 0 && s.tracesOTLP.endpoint == nil {
				t.Fatal("accepted, and goes nowhere")
			}
		}
	})
}
