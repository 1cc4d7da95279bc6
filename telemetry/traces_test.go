package telemetry

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	otlptrace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

var traceBegin = time.Unix(1_000_000, 0)

// spanOf is one span of trace n: ids are small numbers, times ms since traceBegin.
func spanOf(n, id, parent byte, kind otlptrace.Span_SpanKind, start, length int, name string, kv ...string) *otlptrace.Span {
	sp := &otlptrace.Span{
		TraceId: append(make([]byte, 15), n), SpanId: append(make([]byte, 7), id), Name: name, Kind: kind,
		StartTimeUnixNano: uint64(traceBegin.Add(time.Duration(start) * time.Millisecond).UnixNano()),
		EndTimeUnixNano:   uint64(traceBegin.Add(time.Duration(start+length) * time.Millisecond).UnixNano()),
		Attributes:        attrs(kv...),
	}
	if parent != 0 {
		sp.ParentSpanId = append(make([]byte, 7), parent)
	}
	return sp
}

func failing(sp *otlptrace.Span, message string) *otlptrace.Span {
	sp.Status = &otlptrace.Status{Code: otlptrace.Status_STATUS_CODE_ERROR, Message: message}
	return sp
}

// export sends spans as an instance of a service.
func export(t testing.TB, s *Store, service, instance string, spans ...*otlptrace.Span) *tracepb.ExportTracePartialSuccess {
	t.Helper()
	resp, err := (&spanReceiver{traces: &s.traces}).Export(context.Background(), &tracepb.ExportTraceServiceRequest{ResourceSpans: []*otlptrace.ResourceSpans{{
		Resource:   &resourcepb.Resource{Attributes: attrs("service.name", service, "service.instance.id", instance, "k8s.pod.name", instance+"-pod")},
		ScopeSpans: []*otlptrace.ScopeSpans{{Spans: spans}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return resp.GetPartialSuccess()
}

const (
	serverSpan = otlptrace.Span_SPAN_KIND_SERVER
	clientSpan = otlptrace.Span_SPAN_KIND_CLIENT
)

// threeTraces are one that failed below, one that is slow, one that is neither.
func threeTraces(t testing.TB, s *Store) {
	// In any order, from several reporters.
	export(t, s, "checkout", "checkout-0",
		failing(spanOf(1, 3, 2, serverSpan, 20, 50, "GET /pay", "meshd.service", "default/checkout:8080", "error.type", "503"), ""),
		spanOf(2, 3, 2, serverSpan, 1000, 900, "GET /pay", "meshd.service", "default/checkout:8080"))
	event := spanOf(1, 2, 1, clientSpan, 10, 70, "GET checkout", "meshd.service", "default/checkout:8080", "meshd.endpoint.id", "checkout-0")
	event.Events = []*otlptrace.Span_Event{{Name: "retry", TimeUnixNano: event.StartTimeUnixNano, Attributes: attrs("meshd.retry.reason", "503")}}
	export(t, s, "front", "front-0",
		spanOf(1, 1, 0, serverSpan, 0, 100, "GET /", "meshd.service", "default/front:80"), failing(event, "no luck"),
		spanOf(2, 2, 0, clientSpan, 999, 901, "GET checkout", "meshd.service", "default/checkout:8080"),
		spanOf(3, 1, 0, serverSpan, 3000, 10, "GET /static"))
}

func traceID(n byte) string { return fmt.Sprintf("%032x", n) }

func TestTraces(t *testing.T) {
	w := newWorld(t, Config{})
	threeTraces(t, w.store)
	threeTraces(t, w.store) // sent twice, kept once
	front := Service{"default", "front"}
	for _, tc := range []struct {
		name string
		q    TraceQuery
		want []byte
	}{
		{"all, the newest first", TraceQuery{}, []byte{3, 2, 1}},
		{"failed", TraceQuery{Kind: TraceError}, []byte{1}},
		{"the slowest first", TraceQuery{Kind: TraceSlow}, []byte{2, 1, 3}},
		{"long enough", TraceQuery{Min: 50 * time.Millisecond}, []byte{2, 1}},
		{"one", TraceQuery{Kind: TraceSlow, Limit: 1}, []byte{2}},
		{"of a service", TraceQuery{Service: checkout}, []byte{2, 1}},
		{"of a service, slow", TraceQuery{Service: front, Kind: TraceSlow}, []byte{2, 1, 3}},
		{"of a service, long", TraceQuery{Service: checkout, Min: 100 * time.Millisecond}, []byte{2}},
		{"of another namespace", TraceQuery{Service: Service{"shop", "checkout"}}, nil},
		{"of half a name", TraceQuery{Service: Service{"default", "check"}}, nil},
	} {
		var got []byte
		for _, sum := range w.store.Traces(tc.q) {
			got = append(got, sum.ID[31]-'0')
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
	sum := w.store.Traces(TraceQuery{Service: checkout, Kind: TraceError})[0]
	want := TraceSummary{ID: traceID(1), Start: traceBegin.UTC(), DurationMs: 100, ServiceMs: 70, Name: "GET /", Service: front, Services: 2, Spans: 3, Failed: true, Message: "503"}
	if sum != want {
		t.Errorf("%+v, want %+v", sum, want)
	}
	tr, ok := w.store.Trace(traceID(1))
	if !ok || len(tr.Spans) != 3 || tr.Dropped != 0 {
		t.Fatalf("%+v", tr)
	}
	sp := tr.Spans[1]
	if sp.ID != "0000000000000002" || sp.Parent != "0000000000000001" || sp.Kind != "client" || sp.Service != "front" || sp.Namespace != "default" || sp.Instance != "front-0" ||
		sp.DurationMs != 70 || !sp.Failed || sp.Message != "no luck" || sp.Attributes["meshd.endpoint.id"] != "checkout-0" ||
		len(sp.Events) != 1 || sp.Events[0].Attributes["meshd.retry.reason"] != "503" ||
		!maps.Equal(sp.Resource, map[string]any{"k8s.pod.name": "front-0-pod"}) {
		t.Errorf("%+v", sp)
	}
	// Of spans that begin together, the outer one comes first.
	export(t, w.store, "front", "front-0", spanOf(4, 3, 2, clientSpan, 0, 5, "c"), spanOf(4, 2, 1, clientSpan, 0, 5, "b"), spanOf(4, 1, 0, clientSpan, 0, 5, "a"))
	if tr, _ := w.store.Trace(traceID(4)); tr.Spans[0].Name != "a" || tr.Spans[1].Name != "b" || tr.Spans[2].Name != "c" {
		t.Errorf("%+v", tr.Spans)
	}
	if tr.Spans[2].Message != "503" || tr.Spans[0].Parent != "" {
		t.Errorf("%+v", tr.Spans)
	}
	for _, id := range []string{traceID(9), "", "zz", strings.Repeat("0", 31)} {
		if _, ok := w.store.Trace(id); ok {
			t.Errorf("there is a trace %q", id)
		}
	}
}

func TestTraceBounds(t *testing.T) {
	w := newWorld(t, Config{MaxTraces: 1 << 20})
	st := func() Stats { return w.store.Stats() }
	if p := export(t, w.store, "a", "a-0", spanOf(1, 1, 0, serverSpan, 0, 1, strings.Repeat("x", 70_000))); p.GetRejectedSpans() != 1 || !strings.Contains(p.GetErrorMessage(), "a span of 70") {
		t.Errorf("a large span: %v", p)
	}
	if len(w.store.Traces(TraceQuery{})) != 0 {
		t.Error("a trace of nothing")
	}
	// Too many bytes, a span each, of one trace.
	refused := int64(0)
	for i := range byte(200) {
		refused += export(t, w.store, "a", "a-0", spanOf(1, i+1, 0, serverSpan, 0, 1, strings.Repeat("x", 1000))).GetRejectedSpans()
	}
	tr, _ := w.store.Trace(traceID(1))
	if refused < 80 || len(tr.Spans)+int(refused) != 200 || tr.Dropped != int(refused) || st().DroppedSpans != uint64(refused)+1 {
		t.Errorf("%d spans are kept, %d dropped, %d refused; %+v", len(tr.Spans), tr.Dropped, refused, st())
	}
	// More traces than fit, whose spans do not become less: the oldest leave.
	random := rand.New(rand.NewPCG(1, 2))
	noise := func(n int) string {
		text := make([]byte, n)
		for i := range text {
			text[i] = byte(' ' + random.IntN(95))
		}
		return string(text)
	}
	for i := range byte(200) {
		if p := export(t, w.store, "a", "a-0", spanOf(i+2, 1, 0, serverSpan, int(i), 1, noise(10_000))); p != nil {
			t.Fatal(p)
		}
	}
	got := w.store.Traces(TraceQuery{Limit: 1000})
	if s := st(); s.TraceBytes > 1<<20 || s.TraceBytes < 1<<19 || s.Traces != len(got) || s.Evicted != uint64(201-len(got)) {
		t.Errorf("%d traces: %+v", len(got), s)
	}
	for i, sum := range got {
		if want := fmt.Sprintf("%032x", 201-i); sum.ID != want {
			t.Fatalf("trace %d is %s, want %s", i, sum.ID, want)
		}
	}
	for _, bad := range []*otlptrace.Span{
		{TraceId: make([]byte, 16), SpanId: []byte("12345678"), StartTimeUnixNano: 1},
		{TraceId: []byte("short"), SpanId: []byte("12345678"), StartTimeUnixNano: 1},
		{TraceId: []byte("0123456789abcdef"), SpanId: []byte("1"), StartTimeUnixNano: 1},
		{TraceId: []byte("0123456789abcdef"), SpanId: []byte("12345678")},
	} {
		if p := export(t, w.store, "a", "a-0", bad); p.GetRejectedSpans() != 1 || !strings.Contains(p.GetErrorMessage(), "want") {
			t.Errorf("%v: %v", bad, p)
		}
	}
	if st().InvalidSpans != 4 {
		t.Errorf("%+v", st())
	}
}

// Spans are what they were when their blocks have been compressed, and a block
// and its sources are gone, and no longer counted, with its last trace.
func TestSpanBlocks(t *testing.T) {
	w := newWorld(t, Config{MaxTraces: 1 << 20})
	st := func() Stats { return w.store.Stats() }
	size := 0
	add := func(n int) {
		id := fmt.Appendf(nil, "trace%011d", n)
		for i, from := range []string{"front", "checkout"} {
			sp := spanOf(0, byte(i+1), byte(i), serverSpan, n, 10+i, fmt.Sprintf("GET /%d/%d", n, i), "meshd.service", "default/"+from+":80",
				"url.full", "http://checkout.default:8080/items?sku=1", "server.address", "checkout.default")
			sp.TraceId = id
			size += proto.Size(sp)
			if p := export(t, w.store, from, fmt.Sprintf("%s-%d", from, n%7), sp); p != nil {
				t.Fatal(p)
			}
		}
	}
	const traces = 2_000
	for n := range traces {
		add(n)
	}
	// Index and all, they take less than their bytes did.
	if s := st(); s.Traces != traces || s.Evicted != 0 || s.TraceBytes > size*3/4 {
		t.Errorf("%d bytes: %+v", size, s)
	}
	for n := range traces {
		tr, ok := w.store.Trace(fmt.Sprintf("%x", fmt.Sprintf("trace%011d", n)))
		if !ok || len(tr.Spans) != 2 {
			t.Fatalf("trace %d: %+v", n, tr)
		}
		for i, from := range []string{"front", "checkout"} {
			instance := fmt.Sprintf("%s-%d", from, n%7)
			if sp := tr.Spans[i]; sp.Name != fmt.Sprintf("GET /%d/%d", n, i) || sp.Service != from || sp.Instance != instance || sp.Resource["k8s.pod.name"] != instance+"-pod" {
				t.Fatalf("trace %d: %+v", n, sp)
			}
		}
	}
	if got := w.store.Traces(TraceQuery{Service: Service{"default", "front"}, Limit: 1000}); len(got) != 1000 || got[999].Name != "GET /1000/0" {
		t.Errorf("%d traces, the last %+v", len(got), got[len(got)-1])
	}
	for n := traces; st().Evicted < 2*traces; n++ {
		add(n)
		if s := st(); s.TraceBytes > 1<<20 {
			t.Fatalf("%+v", s)
		}
	}
	tt := &w.store.traces
	blocks, live, blockSize := map[*block]bool{}, 0, 0
	for tr := tt.oldest; tr != nil; tr = tr.next {
		for i := range tr.spans {
			blocks[tr.spans[i].block] = true
		}
	}
	for b := range blocks {
		live += b.live
		blockSize += len(b.plain) + len(b.packed) + blockOverhead + 8*len(b.sources)
	}
	for _, s := range tt.sources {
		blockSize += s.bytes()
	}
	if s := st(); live != 2*s.Traces || len(tt.sources) != 14 || s.TraceBytes != blockSize+s.Traces*(traceOverhead+2*spanOverhead) {
		t.Errorf("%d spans in %d blocks of %d sources, %d bytes: %+v", live, len(blocks), len(tt.sources), blockSize, s)
	}
	for tt.oldest != nil {
		tt.evict()
	}
	tt.seal()
	if tt.bytes != 0 || len(tt.sources) != 0 || len(tt.byID) != 0 || tt.newest != nil {
		t.Errorf("%d bytes, %d sources, %d traces of nothing", tt.bytes, len(tt.sources), len(tt.byID))
	}
}

// Both services over gRPC, with and without the codec that is theirs, and an
// interceptor.
func TestServed(t *testing.T) {
	asked := 0
	served(t)
	served(t, grpc.ForceServerCodecV2(Codec()))
	served(t, grpc.ForceServerCodecV2(Codec()), grpc.UnaryInterceptor(func(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
		asked++
		return handler(ctx, req)
	}))
	if asked != 4 {
		t.Errorf("the interceptor was asked %d times", asked)
	}
}

// A request whose sender does not wait any more when its turn comes is dropped.
func TestServedTooLate(t *testing.T) {
	read := 0
	m := rawMethod("/s/m", "m", func(any, []byte) (*tracepb.ExportTraceServiceResponse, error) {
		read++
		return &tracepb.ExportTraceServiceResponse{}, nil
	})
	ctx, cancel := context.WithCancel(t.Context())
	arrive := func(v any) error {
		return Codec().Unmarshal(mem.BufferSlice{mem.SliceBuffer("some"), mem.SliceBuffer("thing")}, v)
	}
	if _, err := m.Handler(nil, ctx, arrive, nil); err != nil || read != 1 {
		t.Errorf("in time: %v, read %d times", err, read)
	}
	cancel()
	if _, err := m.Handler(nil, ctx, arrive, nil); status.Code(err) != codes.Canceled || read != 1 {
		t.Errorf("too late: %v, read %d times", err, read)
	}
}

func served(t *testing.T, options ...grpc.ServerOption) {
	w := newWorld(t, Config{})
	addr, stop := serve(t, w.store, options...)
	defer stop()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	w.pass(time.Second)
	m := histMetric(duration, w.start, w.now, 5, repeat(0.010, 10), "meshd.service", checkoutPort)
	m.Description = strings.Repeat("latency ", 10_000) // so that it comes in parts
	got, err := metricspb.NewMetricsServiceClient(conn).Export(t.Context(), &metricspb.ExportMetricsServiceRequest{ResourceMetrics: []*otlp.ResourceMetrics{{
		Resource:     &resourcepb.Resource{Attributes: attrs("service.name", "front", "service.instance.id", "front-0")},
		ScopeMetrics: []*otlp.ScopeMetrics{{Metrics: []*otlp.Metric{m, counterMetric("meshd.client.retries", w.start, w.now, 1)}}},
	}}})
	if err != nil || got.GetPartialSuccess().GetRejectedDataPoints() != 1 {
		t.Errorf("%v, %v", got, err)
	}
	spans, err := tracepb.NewTraceServiceClient(conn).Export(t.Context(), &tracepb.ExportTraceServiceRequest{ResourceSpans: []*otlptrace.ResourceSpans{{
		ScopeSpans: []*otlptrace.ScopeSpans{{Spans: []*otlptrace.Span{spanOf(1, 1, 0, serverSpan, 0, 1, "a"), {}}}},
	}}}, grpc.UseCompressor("gzip"))
	if err != nil || spans.GetPartialSuccess().GetRejectedSpans() != 1 {
		t.Errorf("%v, %v", spans, err)
	}
	if calls := w.total(checkout); calls != 10 {
		t.Errorf("%v calls", calls)
	}
	if _, ok := w.store.Trace(traceID(1)); !ok {
		t.Error("no trace")
	}
	for _, method := range []string{metricspb.MetricsService_Export_FullMethodName, tracepb.TraceService_Export_FullMethodName} {
		// A field of the right number that is no message.
		err := conn.Invoke(t.Context(), method, wrapperspb.Bytes([]byte{0xff}), &wrapperspb.StringValue{})
		if status.Code(err) != codes.InvalidArgument {
			t.Errorf("%s: nonsense: %v", method, err)
		}
	}
}

// FuzzSpans feeds arbitrary requests: no panic, bounds hold, and what is kept
// can be looked at.
func FuzzSpans(f *testing.F) {
	for _, sp := range []*otlptrace.Span{
		failing(spanOf(1, 2, 1, clientSpan, 0, 10, "a", "meshd.service", checkoutPort), "m"),
		spanOf(1, 1, 2, serverSpan, 0, 10, "b"),
	} {
		sp.Events = []*otlptrace.Span_Event{{Name: "retry"}}
		f.Add(must(&tracepb.ExportTraceServiceRequest{ResourceSpans: []*otlptrace.ResourceSpans{{ScopeSpans: []*otlptrace.ScopeSpans{{Spans: []*otlptrace.Span{sp, sp}}}}}}), "default", "checkout")
	}
	f.Fuzz(func(t *testing.T, raw []byte, namespace, name string) {
		s := NewStore(Config{MaxTraces: 16 << 10})
		for range 2 {
			s.traces.ingest(raw)
		}
		if st := s.Stats(); st.TraceBytes > 16<<10 {
			t.Fatalf("%+v", st)
		}
		for _, q := range []TraceQuery{{}, {Service: Service{namespace, name}}, {Kind: TraceError}, {Kind: TraceSlow}} {
			for _, sum := range s.Traces(q) {
				tr, ok := s.Trace(sum.ID)
				if !ok || len(tr.Spans) != sum.Spans {
					t.Fatalf("%+v, %+v", sum, tr)
				}
			}
		}
	})
}
