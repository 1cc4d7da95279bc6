package control

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	otlptrace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

func TestWatchQueries(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	for _, tc := range []struct{ query, from, to, step, err string }{
		{"", "14:59:05", "", "0s", ""},
		{"window=1h", "14:04:05", "", "0s", ""},
		{"window=90s&step=10s", "15:02:35", "", "10s", ""},
		{"from=2026-01-02T15:00:00Z", "15:00:00", "", "0s", ""},
		{"from=2026-01-02T15:00:00Z&to=2026-01-02T15:01:00%2B00:00", "15:00:00", "15:01:00", "0s", ""},
		{"to=2026-01-02T15:01:00Z", "14:56:00", "15:01:00", "0s", ""},
		{"window=soon", "", "", "", "window=soon: a duration"},
		{"window=-1s", "", "", "", "window=-1s: a duration"},
		{"step=1500ms", "", "", "", "step=1500ms: whole seconds"},
		{"from=yesterday", "", "", "", "from=yesterday: a time as in RFC 3339"},
		{"to=9999-01-01T00:00:00Z", "", "", "", "to=9999"},
		{"from=2026-01-02T16:00:00Z", "", "", "", "a time before to"},
		{"window=5m&to=2026-01-02T15:01:00Z", "", "", "", "window=5m beside from or to"},
	} {
		v, err := url.ParseQuery(tc.query)
		if err != nil {
			t.Fatal(err)
		}
		q, err := readWatchQuery(v, now)
		if err != nil || tc.err != "" {
			if err == nil || tc.err == "" || !strings.Contains(err.Error(), tc.err) {
				t.Errorf("%s: error %v, want %q", tc.query, err, tc.err)
			}
			continue
		}
		to := ""
		if !q.span.To.IsZero() {
			to = q.span.To.UTC().Format(time.TimeOnly)
		}
		if from := q.span.From.UTC().Format(time.TimeOnly); from != tc.from || to != tc.to || q.span.Step.String() != tc.step {
			t.Errorf("%s: %s to %q by %v", tc.query, from, to, q.span.Step)
		}
	}
}

// eventually asks until it is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	timeout := time.After(10 * time.Second)
	for !so() {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-timeout:
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// What is sent to a meshd over OTLP is answered over HTTP.
func TestWatching(t *testing.T) {
	m := run(t, nil, nil)
	conn, err := grpc.NewClient(m.xds, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	attr := func(k, v string) *commonpb.KeyValue {
		return &commonpb.KeyValue{Key: k, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: v}}}
	}
	resource := &resourcepb.Resource{Attributes: []*commonpb.KeyValue{attr("service.name", "front"), attr("service.instance.id", "front-0")}}
	begin := uint64(time.Now().Add(-time.Second).UnixNano())
	trace := append(make([]byte, 15), 7)
	report := func() {
		_, err := metricspb.NewMetricsServiceClient(conn).Export(t.Context(), &metricspb.ExportMetricsServiceRequest{ResourceMetrics: []*otlp.ResourceMetrics{{
			Resource: resource,
			ScopeMetrics: []*otlp.ScopeMetrics{{Metrics: []*otlp.Metric{{Name: "http.client.request.duration", Data: &otlp.Metric_ExponentialHistogram{
				ExponentialHistogram: &otlp.ExponentialHistogram{AggregationTemporality: 2, DataPoints: []*otlp.ExponentialHistogramDataPoint{{
					Attributes:        []*commonpb.KeyValue{attr("meshd.service", "default/checkout:8080")},
					StartTimeUnixNano: begin, TimeUnixNano: uint64(time.Now().UnixNano()), Scale: 5,
					Positive: &otlp.ExponentialHistogramDataPoint_Buckets{Offset: -213, BucketCounts: []uint64{100}},
				}}}}}}}},
		}}})
		if err != nil {
			t.Fatal(err)
		}
	}
	report()
	if _, err := tracepb.NewTraceServiceClient(conn).Export(t.Context(), &tracepb.ExportTraceServiceRequest{ResourceSpans: []*otlptrace.ResourceSpans{{
		Resource: resource,
		ScopeSpans: []*otlptrace.ScopeSpans{{Spans: []*otlptrace.Span{{
			TraceId: trace, SpanId: trace[8:], Name: "GET /", StartTimeUnixNano: begin, EndTimeUnixNano: begin + 5e6,
			Status: &otlptrace.Status{Code: 2, Message: "no"},
		}}}},
	}}}); err != nil {
		t.Fatal(err)
	}
	const id = "00000000000000000000000000000007"
	eventually(t, "the calls to be seen", func() bool {
		code, body := call(t, m, "GET", "/api/v1/services/default/checkout/series?window=1m", "", "")
		return code == 200 && regexp.MustCompile(`"samples":\[.*"p99Ms":(9|10)\.`).MatchString(body)
	})
	if code, body := call(t, m, "PUT", "/api/v1/scale/default/checkout", "Content-Type: application/json", `{"replicas":3}`); code != 200 {
		t.Fatal(code, body)
	}
	for _, c := range []struct {
		path string
		code int
		want string // regular expression
	}{
		{"/api/v1/services/default/checkout/instances", 200, `^{"instances":\[`},
		{"/api/v1/services/default/checkout/scatter", 200, `^{"dots":\[`},
		{"/api/v1/services/default/checkout/events", 200, `"kind":"scaled","text":"3 instances are wanted`},
		{"/api/v1/services/default/checkout/series?instance=nobody", 404, `"error":"service default/checkout has no instance \\"nobody\\"`},
		{"/api/v1/services/default/nobody/series", 404, `"error":"service default/nobody: nothing is known of it`},
		{"/api/v1/services/default/checkout/events?window=long", 400, `"error":"window=long: a duration is accepted`},
		{"/api/v1/services/default/checkout/figures", 404, `no such call`},
		{"/api/v1/map?window=1m", 200, `^{"edges":\[`},
		{"/api/v1/map?window=0", 400, `"error":"window=0`},
		{"/api/v1/traces", 200, `^{"traces":\[{"id":"` + id + `".*"durationMs":5,.*"name":"GET /","service":{"namespace":"default","name":"front"}.*"failed":true,"message":"no"}\]}`},
		{"/api/v1/traces?service=front&kind=error&min=4ms&limit=10", 200, `"traces":\[{"id"`},
		{"/api/v1/traces?service=front&min=6ms", 200, `"traces":\[\]`},
		{"/api/v1/traces?kind=nice", 400, `"error":"kind=nice: any, error or slow is accepted"`},
		{"/api/v1/traces?limit=0", 400, `"error":"limit=0: 1 to 1000`},
		{"/api/v1/traces?service=a/b/c", 400, `NAMESPACE/SERVICE is accepted`},
		{"/api/v1/traces/" + id, 200, `"spans":\[{"id":"0000000000000007","parent":"","name":"GET /"`},
		{"/api/v1/traces/abc", 404, `"error":"trace \\"abc\\" is not kept`},
	} {
		code, body := call(t, m, "GET", c.path, "", "")
		if code != c.code || !regexp.MustCompile(c.want).MatchString(body) {
			t.Errorf("%s: %d %s, want %d %s", c.path, code, body, c.code, c.want)
		}
	}
}
