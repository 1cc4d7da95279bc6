package tracing

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// specified are the variables of OpenTelemetry's specification (1.55); of the
// three that an OTLP exporter has for a signal, only the common one.
var specified = strings.Fields(`
	OTEL_SDK_DISABLED OTEL_ENTITIES OTEL_RESOURCE_ATTRIBUTES OTEL_SERVICE_NAME OTEL_LOG_LEVEL OTEL_PROPAGATORS
	OTEL_TRACES_SAMPLER OTEL_TRACES_SAMPLER_ARG
	OTEL_BSP_SCHEDULE_DELAY OTEL_BSP_EXPORT_TIMEOUT OTEL_BSP_MAX_QUEUE_SIZE OTEL_BSP_MAX_EXPORT_BATCH_SIZE
	OTEL_BLRP_SCHEDULE_DELAY OTEL_BLRP_EXPORT_TIMEOUT OTEL_BLRP_MAX_QUEUE_SIZE OTEL_BLRP_MAX_EXPORT_BATCH_SIZE
	OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT OTEL_ATTRIBUTE_COUNT_LIMIT
	OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT OTEL_SPAN_EVENT_COUNT_LIMIT OTEL_SPAN_LINK_COUNT_LIMIT
	OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT OTEL_LINK_ATTRIBUTE_COUNT_LIMIT
	OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT
	OTEL_EXPORTER_OTLP_ENDPOINT OTEL_EXPORTER_OTLP_INSECURE OTEL_EXPORTER_OTLP_CERTIFICATE OTEL_EXPORTER_OTLP_CLIENT_KEY
	OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE OTEL_EXPORTER_OTLP_HEADERS OTEL_EXPORTER_OTLP_COMPRESSION OTEL_EXPORTER_OTLP_TIMEOUT
	OTEL_EXPORTER_OTLP_PROTOCOL
	OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION
	OTEL_EXPORTER_ZIPKIN_ENDPOINT OTEL_EXPORTER_ZIPKIN_PROTOCOL OTEL_EXPORTER_ZIPKIN_TIMEOUT
	OTEL_EXPORTER_PROMETHEUS_HOST OTEL_EXPORTER_PROMETHEUS_PORT
	OTEL_TRACES_EXPORTER OTEL_METRICS_EXPORTER OTEL_LOGS_EXPORTER
	OTEL_METRICS_EXEMPLAR_FILTER OTEL_METRIC_EXPORT_INTERVAL OTEL_METRIC_EXPORT_TIMEOUT
	OTEL_EXPERIMENTAL_CONFIG_FILE OTEL_CONFIG_FILE`)

// What of the settings a variable is to change, as text.
var (
	disabled    = func(s settings) string { return fmt.Sprint(s.disabled) }
	sampled     = func(s settings) string { return samplerText(s.sampler) }
	propagated  = func(s settings) string { return fmt.Sprintf("%+v", s.propagators) }
	spanBatch   = func(s settings) string { return batchText(s.batch) }
	logBatch    = func(s settings) string { return batchText(s.logBatch) }
	spanLimits  = func(s settings) string { return fmt.Sprint(s.limits) }
	logLimited  = func(s settings) string { return fmt.Sprint(s.logLimits) }
	bothLimited = func(s settings) string { return fmt.Sprint(s.limits, s.logLimits) }
	metricShape = func(s settings) string { return fmt.Sprintf("%+v", s.shape) }
	metricTimes = func(s settings) string { return fmt.Sprint(s.interval, s.timeout) }
	resources   = func(s settings) string { return fmt.Sprint(s.resource) }
	exporters   = func(s settings) string { return fmt.Sprint(s.traces, s.metrics, s.logs) }
	traced      = func(s settings) string { return otlpText(s.traces, s.tracesOTLP) }
	measured    = func(s settings) string { return otlpText(s.metrics, s.metricsOTLP) }
	logged      = func(s settings) string { return otlpText(s.logs, s.logsOTLP) }
)

func samplerText(s *Sampler) string {
	text := fmt.Sprintf("%.4g parent %v fixed %v", float64(s.bound)/(1<<63), s.parent, s.fixed)
	if s.limit != nil {
		text += " limited"
	}
	return text
}

func batchText(b batchSettings) string {
	return fmt.Sprintf("{%v %v %d %d}", b.delay, b.timeout, b.queue, b.perBatch)
}

func otlpText(exporters []string, o otlp) string {
	if o.endpoint == nil {
		return fmt.Sprint(exporters)
	}
	return fmt.Sprint(o.protocol, " ", o.endpoint, " ", o.headers, " ", o.timeout, " gzip ", o.gzip, " tls ", o.tls != nil)
}

type vars map[string]string

// endpointed has a place for everything to go to.
var endpointed = vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1", "OTEL_LOGS_EXPORTER": "otlp"}

const (
	noLimit    = "596h31m23.647s"
	toTraces   = "http/protobuf http://c:1/v1/traces map[] 10s gzip false tls false"
	toMetrics  = "http/protobuf http://c:1/v1/metrics map[] 10s gzip false tls false"
	someLimits = "{-1 128 128 128}"
)

// variableRows: with each of the values, what of the settings is as told; and
// where it is not heeded, as without the variable.
var variableRows = []struct {
	variable string
	beside   vars
	of       func(settings) string
	values   map[string]string
	bad      []string // are warned of
}{
	{"OTEL_SDK_DISABLED", nil, disabled, map[string]string{"": "false", "true": "true", "TRUE": "true", "false": "false", "False": "false"}, []string{"1", "yes", "t"}},
	{"OTEL_SDK_DISABLED", endpointed, exporters, map[string]string{"": "[otlp] [otlp] [otlp]", "true": "[] [] []"}, nil},
	{"OTEL_SDK_DISABLED", vars{"OTEL_PROPAGATORS": "b3"}, propagated, map[string]string{"": "{TraceContext:false B3:true B3Multi:false}", "true": "{TraceContext:false B3:true B3Multi:false}"}, nil},

	{"OTEL_RESOURCE_ATTRIBUTES", nil, resources, map[string]string{
		"": "[]", " a=b , c%2Cd=e%3Df%20g ,": `[{"a":"b"} {"c,d":"e=f g"}]`, "a=": `[{"a":""}]`}, []string{"a=b,c", "=b", "a=%zz", "a=b,%zz=c"}},
	{"OTEL_SERVICE_NAME", vars{"OTEL_RESOURCE_ATTRIBUTES": "service.name=a"}, resources, map[string]string{
		"": `[{"service.name":"a"}]`, "b": `[{"service.name":"a"} {"service.name":"b"}]`}, nil}, // the last one counts

	{"OTEL_PROPAGATORS", nil, propagated, map[string]string{
		"": "{TraceContext:true B3:false B3Multi:false}", "tracecontext,baggage": "{TraceContext:true B3:false B3Multi:false}",
		"none": "{TraceContext:false B3:false B3Multi:false}", "baggage": "{TraceContext:false B3:false B3Multi:false}",
		" B3multi , tracecontext,b3multi": "{TraceContext:true B3:false B3Multi:true}"}, []string{"jaeger", "xray,ottrace"}},
	{"OTEL_TRACES_SAMPLER", nil, sampled, map[string]string{
		"": "0.01 parent true fixed false", "always_on": "1 parent false fixed true", "Always_Off": "0 parent false fixed true",
		"traceidratio": "1 parent false fixed false", "parentbased_traceidratio": "1 parent true fixed false",
		"parentbased_always_on": "1 parent true fixed true", "parentbased_always_off": "0 parent true fixed true",
		"ratelimiting": "1 parent false fixed false limited", "parentbased_ratelimiting": "1 parent true fixed false limited",
	}, []string{"xray", "jaeger_remote", "parentbased_jaeger_remote", "0.5"}},
	{"OTEL_TRACES_SAMPLER_ARG", vars{"OTEL_TRACES_SAMPLER": "traceidratio"}, sampled, map[string]string{
		"": "1 parent false fixed false", "0.5": "0.5 parent false fixed false", "0": "0 parent false fixed false"}, []string{"-1", "1.5", "NaN", "1 %", "x"}},
	{"OTEL_TRACES_SAMPLER_ARG", vars{"OTEL_TRACES_SAMPLER": "ratelimiting"}, sampled, map[string]string{
		"": "1 parent false fixed false limited", "50": "1 parent false fixed false limited"}, []string{"-1", "1e7"}},
	{"OTEL_TRACES_SAMPLER_ARG", nil, sampled, map[string]string{"": "0.01 parent true fixed false"}, []string{"0.5"}}, // it goes with a sampler

	{"OTEL_BSP_SCHEDULE_DELAY", nil, spanBatch, map[string]string{"": "{5s 30s 2048 512}", "20": "{20ms 30s 2048 512}", "0": "{1ms 30s 2048 512}"}, []string{"-1", "1s", "1.5", "2147483648"}},
	{"OTEL_BSP_EXPORT_TIMEOUT", nil, spanBatch, map[string]string{"": "{5s 30s 2048 512}", "20": "{5s 20ms 2048 512}", "0": "{5s " + noLimit + " 2048 512}"}, []string{"-1", "x"}},
	{"OTEL_BSP_MAX_QUEUE_SIZE", nil, spanBatch, map[string]string{"": "{5s 30s 2048 512}", "100": "{5s 30s 100 100}", "2147483647": "{5s 30s 2147483647 512}"}, []string{"0", "-1", "x"}},
	{"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", nil, spanBatch, map[string]string{"": "{5s 30s 2048 512}", "2048": "{5s 30s 2048 2048}"}, []string{"0", "2049", "x"}},
	{"OTEL_BLRP_SCHEDULE_DELAY", nil, logBatch, map[string]string{"": "{1s 30s 2048 512}", "20": "{20ms 30s 2048 512}", "0": "{1ms 30s 2048 512}"}, []string{"-1", "1s"}},
	{"OTEL_BLRP_EXPORT_TIMEOUT", nil, logBatch, map[string]string{"": "{1s 30s 2048 512}", "20": "{1s 20ms 2048 512}", "0": "{1s " + noLimit + " 2048 512}"}, []string{"-1", "x"}},
	{"OTEL_BLRP_MAX_QUEUE_SIZE", nil, logBatch, map[string]string{"": "{1s 30s 2048 512}", "100": "{1s 30s 100 100}"}, []string{"0", "-1"}},
	{"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", vars{"OTEL_BLRP_MAX_QUEUE_SIZE": "100"}, logBatch, map[string]string{"": "{1s 30s 100 100}", "10": "{1s 30s 100 10}"}, []string{"0", "101"}},

	{"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", nil, bothLimited, map[string]string{
		"": someLimits + " {-1 128 0 0}", "10": "{10 128 128 128} {10 128 0 0}", "0": "{0 128 128 128} {0 128 0 0}"}, []string{"-1", "x"}},
	{"OTEL_ATTRIBUTE_COUNT_LIMIT", nil, bothLimited, map[string]string{"": someLimits + " {-1 128 0 0}", "0": "{-1 0 128 128} {-1 0 0 0}"}, []string{"-1", "x"}},
	{"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", vars{"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "5"}, bothLimited, map[string]string{
		"": "{5 128 128 128} {5 128 0 0}", "10": "{10 128 128 128} {5 128 0 0}"}, []string{"-1", "x"}},
	{"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", vars{"OTEL_ATTRIBUTE_COUNT_LIMIT": "5"}, bothLimited, map[string]string{
		"": "{-1 5 128 128} {-1 5 0 0}", "10": "{-1 10 128 128} {-1 5 0 0}"}, []string{"-1"}},
	{"OTEL_SPAN_EVENT_COUNT_LIMIT", nil, spanLimits, map[string]string{"": someLimits, "3": "{-1 128 3 128}"}, []string{"-1"}},
	{"OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", nil, spanLimits, map[string]string{"": someLimits, "3": "{-1 128 128 3}"}, []string{"-1"}},
	{"OTEL_SPAN_LINK_COUNT_LIMIT", nil, spanLimits, map[string]string{"": someLimits, "3": someLimits}, []string{"-1"}}, // there are none
	{"OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", nil, spanLimits, map[string]string{"": someLimits, "3": someLimits}, []string{"-1"}},
	{"OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", vars{"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "5"}, logLimited, map[string]string{
		"": "{5 128 0 0}", "10": "{10 128 0 0}"}, []string{"-1"}},
	{"OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", nil, logLimited, map[string]string{"": "{-1 128 0 0}", "10": "{-1 10 0 0}"}, []string{"-1"}},

	{"OTEL_EXPORTER_OTLP_PROTOCOL", endpointed, traced, map[string]string{
		"": toTraces, "http/protobuf": toTraces, "GRPC": "grpc http://c:1 map[] 10s gzip false tls false"}, []string{"http/json", "x"}},
	{"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, measured,
		map[string]string{"": "grpc http://c:1 map[] 10s gzip false tls false", "http/protobuf": toMetrics}, []string{"x"}},
	{"OTEL_EXPORTER_OTLP_INSECURE", vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "c:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, traced, map[string]string{
		"": "grpc https://c:1 map[] 10s gzip false tls true", "false": "grpc https://c:1 map[] 10s gzip false tls true",
		"True": "grpc http://c:1 map[] 10s gzip false tls false"}, []string{"1"}},
	{"OTEL_EXPORTER_OTLP_INSECURE", vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, traced, map[string]string{
		"": "grpc https://c:1 map[] 10s gzip false tls true", "true": "grpc https://c:1 map[] 10s gzip false tls true"}, nil}, // the scheme counts
	{"OTEL_EXPORTER_OTLP_COMPRESSION", endpointed, traced, map[string]string{
		"": toTraces, "none": toTraces, "gzip": "http/protobuf http://c:1/v1/traces map[] 10s gzip true tls false"}, []string{"zstd"}},
	{"OTEL_EXPORTER_OTLP_TIMEOUT", endpointed, logged, map[string]string{
		"": "http/protobuf http://c:1/v1/logs map[] 10s gzip false tls false", "5": "http/protobuf http://c:1/v1/logs map[] 5ms gzip false tls false",
		"0": "http/protobuf http://c:1/v1/logs map[] " + noLimit + " gzip false tls false"}, []string{"-1", "10s"}},
	{"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1", "OTEL_EXPORTER_OTLP_TIMEOUT": "7"}, traced, map[string]string{
		"": "http/protobuf http://c:1/v1/traces map[] 7ms gzip false tls false", "5": "http/protobuf http://c:1/v1/traces map[] 5ms gzip false tls false"}, []string{"x"}},
	{"OTEL_EXPORTER_OTLP_HEADERS", endpointed, traced, map[string]string{
		"": toTraces, "A=b%20c,d=e": "http/protobuf http://c:1/v1/traces map[a:b c d:e] 10s gzip false tls false"}, nil},
	{"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", nil, metricShape, map[string]string{
		"": "{delta:false explicit:false exemplars:true}", "Cumulative": "{delta:false explicit:false exemplars:true}",
		"delta": "{delta:true explicit:false exemplars:true}", "LowMemory": "{delta:true explicit:false exemplars:true}"}, []string{"x"}},
	{"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", nil, metricShape, map[string]string{
		"": "{delta:false explicit:false exemplars:true}", "explicit_bucket_histogram": "{delta:false explicit:true exemplars:true}",
		"BASE2_exponential_bucket_histogram": "{delta:false explicit:false exemplars:true}"}, []string{"x"}},

	{"OTEL_TRACES_EXPORTER", vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1"}, exporters, map[string]string{
		"": "[otlp] [otlp] []", "none": "[] [otlp] []", "console, OTLP": "[console otlp] [otlp] []", "otlp,otlp,": "[otlp] [otlp] []"}, []string{"zipkin", "logging", "otlp/stdout"}},
	{"OTEL_TRACES_EXPORTER", nil, exporters, map[string]string{"": "[] [] []", "otlp": "[otlp] [] []"}, []string{"jaeger"}},
	{"OTEL_METRICS_EXPORTER", nil, exporters, map[string]string{"": "[] [] []", "console": "[] [console] []"}, []string{"prometheus"}},
	{"OTEL_LOGS_EXPORTER", vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1"}, exporters, map[string]string{"": "[otlp] [otlp] []", "otlp": "[otlp] [otlp] [otlp]"}, []string{"file"}},
	{"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", nil, logged, map[string]string{"": "[]", "http://c:1/x": "http/protobuf http://c:1/x map[] 10s gzip false tls false"}, nil},
	{"OTEL_METRICS_EXEMPLAR_FILTER", nil, metricShape, map[string]string{
		"": "{delta:false explicit:false exemplars:true}", "trace_based": "{delta:false explicit:false exemplars:true}",
		"ALWAYS_ON": "{delta:false explicit:false exemplars:true}", "always_off": "{delta:false explicit:false exemplars:false}"}, []string{"x"}},
	{"OTEL_METRIC_EXPORT_INTERVAL", nil, metricTimes, map[string]string{"": "1m0s 30s", "500": "500ms 30s"}, []string{"0", "-1", "10s"}},
	{"OTEL_METRIC_EXPORT_TIMEOUT", nil, metricTimes, map[string]string{"": "1m0s 30s", "500": "1m0s 500ms", "0": "1m0s " + noLimit}, []string{"-1", "10s"}},
}

// TestVariables holds each variable to the specification: what it does, that an
// empty one does nothing, and that one that makes no sense is warned of and counts
// as unset.
func TestVariables(t *testing.T) {
	for _, row := range variableRows {
		read := func(value string) settings {
			t.Helper()
			s, err := readSettings(func(name string) string {
				if name == row.variable {
					return value
				}
				return row.beside[name]
			})
			if err != nil {
				t.Errorf("%s=%s: %v", row.variable, value, err)
			}
			return s
		}
		for value, want := range row.values {
			s := read(value)
			if got := row.of(s); got != want {
				t.Errorf("%s=%s beside %v: %s, want %s", row.variable, value, row.beside, got, want)
			}
			if len(s.ignored) > 0 {
				t.Errorf("%s=%s: not heeded: %v", row.variable, value, s.ignored)
			}
		}
		if got, want := row.of(read("  ")), row.values[""]; got != want {
			t.Errorf("%s of blanks: %s, want %s", row.variable, got, want)
		}
		for _, value := range row.bad {
			s := read(value)
			if got, want := row.of(s), row.values[""]; got != want {
				t.Errorf("%s=%s beside %v: %s, want %s as without it", row.variable, value, row.beside, got, want)
			}
			if len(s.ignored) != 1 || s.ignored[0].variable != row.variable || s.ignored[0].value != value || s.ignored[0].accepted == "" {
				t.Errorf("%s=%s beside %v: warned of %v", row.variable, value, row.beside, s.ignored)
			}
		}
	}
}

// Of a list, what is known counts, and the rest is warned of.
func TestListsInPart(t *testing.T) {
	s, err := readSettings(getenv(vars{"OTEL_TRACES_EXPORTER": "jaeger,console", "OTEL_METRICS_EXPORTER": "console,none", "OTEL_PROPAGATORS": "b3,xray"}))
	if got := exporters(s) + propagated(s); err != nil || got != "[console] [console] []{TraceContext:false B3:true B3Multi:false}" || len(s.ignored) != 3 {
		t.Errorf("%s, %v, warned of %v", got, err, s.ignored)
	}
}

// What would send telemetry elsewhere, or to somebody unknown, ends the start.
func TestRefusedVariables(t *testing.T) {
	for variable, c := range map[string]struct{ value, want string }{
		"OTEL_EXPORTER_OTLP_ENDPOINT":           {"collector:4318", `="collector:4318": accepted is http://HOST:PORT`},
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT":    {"ftp://x", `="ftp://x"`},
		"OTEL_EXPORTER_OTLP_HEADERS":            {"a", "entry 1: accepted is KEY=VALUE"},
		"OTEL_EXPORTER_OTLP_CERTIFICATE":        {"/none/ca.pem", "/none/ca.pem: no such file"},
		"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE": {"/none/c.pem", "/none/c.pem"},
		"OTEL_EXPORTER_OTLP_CLIENT_KEY":         {"/none/key.pem", `CLIENT_KEY="/none/key.pem"`},
	} {
		env := vars{"OTEL_EXPORTER_OTLP_ENDPOINT": "https://c", variable: c.value}
		_, err := readSettings(getenv(env))
		if err == nil || !strings.Contains(err.Error(), variable) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s=%s: %v", variable, c.value, err)
		} else if strings.Count(err.Error(), "\n") > 0 {
			t.Errorf("%s: said of each signal: %v", variable, err)
		}
		env["OTEL_SDK_DISABLED"] = "true" // then nothing goes anywhere
		if _, err := readSettings(getenv(env)); err != nil {
			t.Errorf("%s, disabled: %v", variable, err)
		}
	}
}

// TestWarnings: what is not heeded, and what is not supported, is said at the start.
func TestWarnings(t *testing.T) {
	var log bytes.Buffer
	env := vars{"OTEL_BSP_SCHEDULE_DELAY": "5s"}
	for _, u := range unsupported {
		env[u.name] = "x"
	}
	shutdown(t, setup(t, Options{ServiceName: "s", Logger: textLogger(&log), Getenv: getenv(env)}))
	for name := range env {
		if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), "variable="+name) {
			t.Errorf("nothing of %s in %s", name, &log)
		}
	}
	if !strings.Contains(log.String(), `value=5s accepted="milliseconds, whole, from 0 to 2147483647" next=`) {
		t.Errorf("%s", &log)
	}
}

// TestAllVariables: none of the specification's is forgotten, here or in the reference.
func TestAllVariables(t *testing.T) {
	doc, err := os.ReadFile("../docs/reference/telemetry.md")
	if err != nil {
		t.Fatal(err)
	}
	known := []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "OTEL_EXPORTER_OTLP_CLIENT_KEY"} // in other tests
	for _, row := range variableRows {
		known = append(known, row.variable)
	}
	for _, u := range unsupported {
		known = append(known, u.name)
	}
	for _, name := range specified {
		if !slices.Contains(known, name) {
			t.Errorf("no test of %s", name)
		}
		if !strings.Contains(string(doc), "`"+name+"`") {
			t.Errorf("%s is not in the reference", name)
		}
	}
}
