package tracing

import (
	"strings"
	"testing"
	"time"
)

func getenv(vars map[string]string) func(string) string {
	return func(name string) string { return vars[name] }
}

func TestSettingsDefaults(t *testing.T) {
	s, err := readSettings(getenv(nil))
	if err != nil {
		t.Fatal(err)
	}
	if s.traces != nil || s.metrics != nil {
		t.Errorf("exporters %s and %s without an endpoint", s.traces, s.metrics)
	}
	if *s.sampler != *NewSampler(DefaultRatio) {
		t.Errorf("sampler %+v", *s.sampler)
	}
	if s.interval != time.Minute || s.batch != (batchSettings{5 * time.Second, 30 * time.Second, 2048, 512}) {
		t.Errorf("interval %v, batch %+v", s.interval, s.batch)
	}
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

func TestSamplerSettings(t *testing.T) {
	for kind, want := range map[string]Sampler{
		"always_on":                {bound: 1 << 63, fixed: true},
		"always_off":               {fixed: true},
		"traceidratio":             {bound: 1 << 62},
		"parentbased_always_on":    {bound: 1 << 63, fixed: true, parent: true},
		"parentbased_always_off":   {fixed: true, parent: true},
		"parentbased_traceidratio": {bound: 1 << 62, parent: true},
		"":                         {bound: 1 << 62, parent: true},
	} {
		s, err := readSettings(getenv(map[string]string{"OTEL_TRACES_SAMPLER": kind, "OTEL_TRACES_SAMPLER_ARG": "0.5"}))
		if err != nil || *s.sampler != want {
			t.Errorf("%q: %+v, %v", kind, *s.sampler, err)
		}
	}
}

func TestShapeSettings(t *testing.T) {
	for name, c := range map[string]struct {
		value string
		want  shape
	}{
		"": {"", shape{exemplars: true}},
		"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE":        {"DELTA", shape{delta: true, exemplars: true}},
		"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": {"explicit_bucket_histogram", shape{explicit: true, exemplars: true}},
		"OTEL_METRICS_EXEMPLAR_FILTER":                             {"always_off", shape{}},
	} {
		s, err := readSettings(getenv(map[string]string{name: c.value}))
		if err != nil || s.shape != c.want {
			t.Errorf("%s=%s: %+v, %v", name, c.value, s.shape, err)
		}
	}
	low, err := readSettings(getenv(map[string]string{"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "lowmemory"}))
	if err != nil || !low.shape.delta {
		t.Errorf("lowmemory: %+v, %v", low.shape, err)
	}
}

func TestPropagatorSettings(t *testing.T) {
	for list, want := range map[string]Propagators{
		"": {TraceContext: true}, "tracecontext,baggage": {TraceContext: true}, "none": {}, "baggage": {},
		"b3": {B3: true}, " B3multi , tracecontext,b3multi": {TraceContext: true, B3Multi: true},
	} {
		if s, err := readSettings(getenv(map[string]string{"OTEL_PROPAGATORS": list})); err != nil || s.propagators != want {
			t.Errorf("%q: %+v, %v", list, s.propagators, err)
		}
	}
}

func TestExporterLists(t *testing.T) {
	for list, want := range map[string]string{
		"": "", "none": "", "None": "", "otlp": "otlp", "console, OTLP": "console otlp", "otlp,otlp": "otlp",
		"otlp,": "!", "otlp,none": "!", "none,console": "!", "jaeger,otlp": "!",
	} {
		s, err := readSettings(getenv(map[string]string{"OTEL_TRACES_EXPORTER": list}))
		if got := strings.Join(s.traces, " "); err == nil && got != want || (err != nil) != (want == "!") {
			t.Errorf("%q: %q, %v", list, got, err)
		}
	}
}

// Logs are a record of every call: an endpoint for all signals is not enough.
func TestLogSettings(t *testing.T) {
	for want, vars := range map[string]map[string]string{
		"":           {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318"},
		exporterOTLP: {"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": "http://x:4318/v1/logs"},
	} {
		if s, err := readSettings(getenv(vars)); err != nil || strings.Join(s.logs, "") != want {
			t.Errorf("%v: %s, %v", vars, s.logs, err)
		}
	}
	s, err := readSettings(getenv(map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x:4318", "OTEL_LOGS_EXPORTER": "otlp"}))
	if err != nil || len(s.logs) != 1 || s.logs[0] != exporterOTLP || s.logsOTLP.endpoint.String() != "http://x:4318/v1/logs" {
		t.Errorf("%s to %v, %v", s.logs, s.logsOTLP.endpoint, err)
	}
	if s.logBatch != (batchSettings{time.Second, 30 * time.Second, 2048, 512}) {
		t.Errorf("%+v", s.logBatch)
	}
}

func TestBadSettings(t *testing.T) {
	for _, tc := range []struct {
		vars map[string]string
		want []string // in the error
	}{
		{map[string]string{"OTEL_TRACES_EXPORTER": "zipkin"}, []string{`OTEL_TRACES_EXPORTER="zipkin"`, "otlp, console, both"}},
		{map[string]string{"OTEL_METRICS_EXPORTER": "prometheus"}, []string{`OTEL_METRICS_EXPORTER="prometheus"`, "otlp, console, both"}},
		{map[string]string{"OTEL_TRACES_SAMPLER": "xray"}, []string{`OTEL_TRACES_SAMPLER="xray"`, "parentbased_traceidratio"}},
		{map[string]string{"OTEL_TRACES_SAMPLER_ARG": "1 %"}, []string{`OTEL_TRACES_SAMPLER_ARG="1 %"`, "from 0 to 1"}},
		{map[string]string{"OTEL_TRACES_SAMPLER_ARG": "NaN"}, []string{`OTEL_TRACES_SAMPLER_ARG="NaN"`}},
		{map[string]string{"OTEL_METRIC_EXPORT_INTERVAL": "10s"}, []string{`OTEL_METRIC_EXPORT_INTERVAL="10s"`, "milliseconds"}},
		{map[string]string{"OTEL_BSP_MAX_QUEUE_SIZE": "0"}, []string{`OTEL_BSP_MAX_QUEUE_SIZE="0"`}},
		{map[string]string{"OTEL_SDK_DISABLED": "yes"}, []string{`OTEL_SDK_DISABLED="yes"`, "true or false"}},
		{map[string]string{"OTEL_RESOURCE_ATTRIBUTES": "a=b,c"}, []string{`OTEL_RESOURCE_ATTRIBUTES="a=b,c"`, "KEY=VALUE"}},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, []string{`OTEL_EXPORTER_OTLP_ENDPOINT="collector:4318"`, "http://HOST:PORT"}},
		{map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "ftp://x"}, []string{`OTEL_EXPORTER_OTLP_TRACES_ENDPOINT="ftp://x"`}},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"}, []string{`OTEL_EXPORTER_OTLP_PROTOCOL="http/json"`, "grpc, http/protobuf"}},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_COMPRESSION": "zstd"}, []string{`OTEL_EXPORTER_OTLP_COMPRESSION="zstd"`}},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://x", "OTEL_EXPORTER_OTLP_CERTIFICATE": "/none/ca.pem"}, []string{"OTEL_EXPORTER_OTLP_CERTIFICATE", "/none/ca.pem"}},
		{map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://x", "OTEL_EXPORTER_OTLP_CLIENT_KEY": "/none/key.pem"}, []string{"OTEL_EXPORTER_OTLP_CLIENT_KEY", "/none/key.pem"}},
		{map[string]string{"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE": "x"}, []string{"TEMPORALITY_PREFERENCE", "cumulative, delta, lowmemory"}},
		{map[string]string{"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "x"}, []string{"HISTOGRAM_AGGREGATION", "explicit_bucket_histogram, base2_exponential_bucket_histogram"}},
		{map[string]string{"OTEL_METRICS_EXEMPLAR_FILTER": "x"}, []string{"EXEMPLAR_FILTER", "trace_based, always_on, always_off"}},
		{map[string]string{"OTEL_PROPAGATORS": "tracecontext,jaeger"}, []string{"OTEL_PROPAGATORS", "b3multi"}},
		{map[string]string{"OTEL_PROPAGATORS": "b3,none"}, []string{"OTEL_PROPAGATORS", "or none"}},
		{map[string]string{"OTEL_TRACES_SAMPLER": "parentbased_ratelimiting", "OTEL_TRACES_SAMPLER_ARG": "-1"}, []string{`OTEL_TRACES_SAMPLER_ARG="-1"`, "traces a second"}},
		{map[string]string{"OTEL_ATTRIBUTE_COUNT_LIMIT": "-1"}, []string{`OTEL_ATTRIBUTE_COUNT_LIMIT="-1"`, "from 0"}},
		{map[string]string{"OTEL_SPAN_LINK_COUNT_LIMIT": "x", "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT": "y"}, []string{"OTEL_SPAN_LINK_COUNT_LIMIT", "OTEL_LINK_ATTRIBUTE_COUNT_LIMIT"}},
		{map[string]string{"OTEL_BLRP_MAX_QUEUE_SIZE": "0"}, []string{"OTEL_BLRP_MAX_QUEUE_SIZE", "records"}},
		{map[string]string{"OTEL_LOGS_EXPORTER": "file"}, []string{`OTEL_LOGS_EXPORTER="file"`, "otlp, console, both"}},
		{map[string]string{"OTEL_TRACES_EXPORTER": "x", "OTEL_BSP_SCHEDULE_DELAY": "y"}, []string{"OTEL_TRACES_EXPORTER", "OTEL_BSP_SCHEDULE_DELAY"}},
	} {
		_, err := readSettings(getenv(tc.vars))
		if err == nil {
			t.Errorf("%v: accepted", tc.vars)
			continue
		}
		for _, want := range tc.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v: %q does not say %q", tc.vars, err, want)
			}
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
				"OTEL_TRACES_SAMPLER_ARG":     ratio,
			}))
			if err == nil && len(s.traces) > 0 && s.tracesOTLP.endpoint == nil {
				t.Fatal("accepted, and goes nowhere")
			}
		}
	})
}
