package telemetry

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	otlptrace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/meshd/meshd/internal/testkit/race"
)

// A fleet is the mesh that docs/design/010 is sized for: 50 services of 10
// instances each, whose 500 sidecars call all 50 and report every second what
// sidecar/stats does.
type fleet struct {
	services, instances int
	start, now          time.Time
	store               *Store
	random              *rand.Rand
	offsets             []int32 // of each service's latencies
}

func newFleet() *fleet {
	f := &fleet{services: 50, instances: 10, start: time.Unix(1_000_000, 0), random: rand.New(rand.NewPCG(1, 2))}
	f.now = f.start
	f.store = NewStore(Config{Clock: func() time.Time { return f.now }, Instances: func() map[Service]int {
		out := map[Service]int{}
		for s := range f.services {
			out[f.service(s)] = f.instances
		}
		return out
	}})
	for range f.services {
		f.offsets = append(f.offsets, -250+int32(f.random.IntN(60)))
	}
	return f
}

func (f *fleet) service(s int) Service { return Service{"default", fmt.Sprintf("service-%02d", s)} }

func (f *fleet) id(s, i int) string { return fmt.Sprintf("service-%02d-%d", s, i) }

// latencies are about n calls' buckets: log-normal, a few octaves wide.
func (f *fleet) latencies(s, n int) *buckets {
	counts := make([]uint64, 120)
	for range n {
		counts[min(max(int(50+20*f.random.NormFloat64()), 0), 119)]++
	}
	b := &buckets{}
	b.set(5, 0, f.offsets[s], counts)
	return b
}

// reports are of one second: what instance i of service s says, of each
// service that it calls a few calls a second, cumulative. What it says of those
// is the same for all instances, and made once.
type reports struct {
	*fleet
	second     int
	start, now uint64
	callers    []byte // a ScopeMetrics
}

func (r *reports) number(v float64, kv ...string) *otlp.NumberDataPoint {
	return &otlp.NumberDataPoint{Attributes: attrs(kv...), StartTimeUnixNano: r.start, TimeUnixNano: r.now, Value: &otlp.NumberDataPoint_AsInt{AsInt: int64(v)}}
}

// histogram grows by the same few calls in each bucket each second.
func (r *reports) histogram(s int, kv ...string) *otlp.ExponentialHistogramDataPoint {
	counts := make([]uint64, 120)
	total := uint64(0)
	for b := range counts {
		spread := math.Abs(float64(b)-50) / 20
		if n := uint64(float64(5*(r.second+60)) * math.Exp(-spread*spread/2) / 50); n > 0 {
			counts[b] = n
			total += n
		}
	}
	sum := float64(total) / 100
	trace := make([]byte, 16)
	trace[0], trace[15] = byte(s), byte(r.second+1)
	return &otlp.ExponentialHistogramDataPoint{
		Attributes: attrs(kv...), StartTimeUnixNano: r.start, TimeUnixNano: r.now, Count: total, Sum: &sum, Scale: 5,
		Positive:  &otlp.ExponentialHistogramDataPoint_Buckets{Offset: r.offsets[s], BucketCounts: counts},
		Exemplars: []*otlp.Exemplar{{TimeUnixNano: r.now, TraceId: trace, SpanId: trace[:8], Value: &otlp.Exemplar_AsDouble{AsDouble: 0.1}}},
	}
}

// scope is a ScopeMetrics of histograms and of numbers by their metric.
func (r *reports) scope(name string, dps []*otlp.ExponentialHistogramDataPoint, points map[string][]*otlp.NumberDataPoint) []byte {
	ms := []*otlp.Metric{{Name: name, Unit: "s", Data: &otlp.Metric_ExponentialHistogram{ExponentialHistogram: &otlp.ExponentialHistogram{
		DataPoints: dps, AggregationTemporality: cumulative,
	}}}}
	for _, name := range slices.Sorted(maps.Keys(points)) {
		m := &otlp.Metric{Name: name, Data: &otlp.Metric_Sum{Sum: &otlp.Sum{DataPoints: points[name], AggregationTemporality: cumulative, IsMonotonic: true}}}
		if metrics[name].shape == gauge {
			m.Data = &otlp.Metric_Gauge{Gauge: &otlp.Gauge{DataPoints: points[name]}}
		}
		ms = append(ms, m)
	}
	return must(&otlp.ScopeMetrics{Metrics: ms})
}

func must(m proto.Message) []byte {
	raw, err := marshal(m)
	if err != nil {
		panic(err)
	}
	return raw
}

// of is the report of one sidecar.
func (r *reports) of(s, i int) []byte {
	if r.callers == nil {
		var client []*otlp.ExponentialHistogramDataPoint
		points := map[string][]*otlp.NumberDataPoint{}
		add := func(name string, p *otlp.NumberDataPoint) { points[name] = append(points[name], p) }
		for to := range r.services {
			name := r.service(to).String() + ":8080"
			client = append(client, r.histogram(to, "meshd.service", name, "meshd.route", name, "http.response.status_code", "200"))
			add("http.client.active_requests", r.number(3, "meshd.service", name))
			add("meshd.breaker.open", r.number(0, "meshd.service", name))
			add("meshd.client.call.time", r.number(float64(r.second), "meshd.service", name, "meshd.call.part", "connect"))
			for e := range r.instances {
				kv := []string{"meshd.service", name, "meshd.endpoint", fmt.Sprintf("10.0.%d.%d:31006", to, e), "meshd.endpoint.id", r.id(to, e)}
				// Five calls reach four of ten endpoints; of what is as it was, and of
				// the weights, a tenth goes: see tracing/sparse.go.
				turn := (to*r.instances + e + r.second) % 10
				if turn < 5 || r.second == 0 {
					add("meshd.endpoint.requests", r.number(float64(r.second+1), kv...))
				}
				if turn == 0 || r.second == 0 {
					weight := r.number(0, kv...)
					weight.Value = &otlp.NumberDataPoint_AsDouble{AsDouble: 0.1}
					add("meshd.endpoint.weight", weight)
				}
			}
		}
		r.callers = r.scope("http.client.request.duration", client, points)
	}
	own := r.service(s).String() + ":8080"
	server := r.scope("http.server.request.duration",
		[]*otlp.ExponentialHistogramDataPoint{r.histogram(s, "meshd.service", own, "http.response.status_code", "200")},
		map[string][]*otlp.NumberDataPoint{
			"http.server.active_requests": {r.number(3, "meshd.service", own)},
			"meshd.server.call.time": {
				r.number(float64(r.second), "meshd.service", own, "meshd.call.part", "queued"),
				r.number(float64(r.second), "meshd.service", own, "meshd.call.part", "downstream"),
			},
		})
	resource := must(&resourcepb.Resource{Attributes: attrs("service.name", r.service(s).Name, "service.namespace", "default",
		"service.instance.id", r.id(s, i), "service.version", "v0.1.0")})
	body := make([]byte, 0, len(r.callers)+len(server)+len(resource)+64)
	body = protowire.AppendBytes(protowire.AppendTag(body, 1, protowire.BytesType), resource)
	body = protowire.AppendBytes(protowire.AppendTag(body, 2, protowire.BytesType), r.callers)
	body = protowire.AppendBytes(protowire.AppendTag(body, 2, protowire.BytesType), server)
	return protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), body)
}

// all are the reports of a second.
func (f *fleet) all(second int) (all [][]byte) {
	r := &reports{fleet: f, second: second, start: uint64(f.start.UnixNano()), now: uint64(f.start.Add(time.Duration(second) * time.Second).UnixNano())}
	for s := range f.services {
		for i := range f.instances {
			all = append(all, r.of(s, i))
		}
	}
	return all
}

func (f *fleet) take(tb testing.TB, reports [][]byte) {
	for _, raw := range reports {
		if refused, why, ok := f.store.ingest(raw); refused > 0 || !ok {
			tb.Fatal(refused, why, ok)
		}
	}
	f.store.tick()
}

// fill makes an hour pass in which every second of a service, every 10 s of an
// instance and every minute of a caller has calls. It goes below the wire: to
// have 500 sidecars report 3,600 times would take minutes.
func (f *fleet) fill() {
	s := f.store
	clients, servers := make([][]*buckets, f.services), make([][]*buckets, f.services)
	for to := range f.services {
		for range 16 {
			clients[to] = append(clients[to], f.latencies(to, 1000))
			servers[to] = append(servers[to], f.latencies(to, 250))
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for second := range 3600 {
		f.now = f.now.Add(time.Second)
		s.advance(slotOf(f.now))
		now := f.now.UnixNano()
		for to := range f.services {
			p, err := s.port(f.service(to).String() + ":8080")
			if err != nil {
				panic(err)
			}
			from := f.service(second % f.services) // 1,000 calls, of one of 50 callers
			e := s.edge(reporterKey{"default", from.Name, ""}, p.service.id)
			p.service.sawClient(s.cur)
			s.addCalls(&series{kind: clientDuration, port: p}, e, clients[to][second%16], 2.5, now-int64(step), now)
			in := s.instance(p.service, f.id(to, second%f.instances), "10.0.0.1:31006")
			s.addCalls(&series{kind: serverDuration, port: p, inst: in}, nil, servers[to][second%16], 2.5, now-int64(step), now)
		}
	}
	f.start = f.now
}

// TestFleet is the bar of docs/design/010: 500 sidecars that report on 50
// services every second take at most 0.3 of a core, and at most 300 MB with an
// hour of history and all the traces that it keeps.
func TestFleet(t *testing.T) {
	if race.Enabled || testing.Short() {
		t.Skip("measures")
	}
	f := newFleet()
	base := heap()
	f.fill()
	t.Logf("an hour of history: %d MB in use", (heap()-base)>>20)
	f.take(t, f.all(0)) // who reports for the first time tells everything
	fillTraces(f.store)
	size := 0
	var least time.Duration
	for second := 1; second <= 3; second++ {
		reports := f.all(second)
		runtime.GC()
		f.now = f.start.Add(time.Duration(second) * time.Second)
		before := cpu()
		f.take(t, reports)
		if d := cpu() - before; least == 0 || d < least {
			least = d
		}
		size = 0
		for _, raw := range reports {
			size += len(raw)
		}
	}
	used := (heap() - base) >> 20
	st := f.store.Stats()
	t.Logf("%d reporters, %d series, %d instances, %d edges; %d MB of history; %.1f MB of reports a second", st.Reporters, st.Series, st.Instances, st.Edges, st.HistoryBytes>>20, float64(size)/1e6)
	t.Logf("a second of reports: %v of CPU; %d MB in use, %d MB of it %d traces", least, used, st.TraceBytes>>20, st.Traces)
	if st.Overflow()+st.OverflowHistory+st.Invalid > 0 || st.Edges != 2500 || st.Instances != 500 {
		t.Errorf("did not fit: %+v", st)
	}
	if least > 300*time.Millisecond {
		t.Errorf("a second of reports takes %v of CPU, want at most 300ms", least)
	}
	if used > 300 {
		t.Errorf("%d MB in use, want at most 300", used)
	}
	hour := Span{From: f.now.Add(-time.Hour)}
	for what, ask := range map[string]func() int{
		"series":    func() int { return len(f.store.Series(f.service(7), Selection{}, hour)) },
		"instances": func() int { return len(f.store.Instances(f.service(7), hour)) },
		"scatter":   func() int { return len(f.store.Scatter(f.service(7), hour)) },
		"edges":     func() int { return len(f.store.Edges(hour)) },
		"snapshot":  func() int { return len(f.store.Snapshot(DefaultWindow).Services) },
		"traces":    func() int { return len(f.store.Traces(TraceQuery{Service: checkout, Kind: TraceSlow})) },
	} {
		before := cpu()
		n := ask()
		took := cpu() - before
		t.Logf("%s of an hour: %d, %v of CPU", what, n, took)
		if n == 0 || took > 300*time.Millisecond {
			t.Errorf("%s of an hour: %d, %v of CPU, want some in at most 300ms", what, n, took)
		}
	}
	runtime.KeepAlive(f)
}

// fillTraces keeps as many traces as there can be, of ten spans each.
func fillTraces(s *Store) {
	var spans []*otlptrace.Span
	for i := range byte(10) {
		spans = append(spans, spanOf(0, i+1, i, clientSpan, 0, 10, "GET /items", "meshd.service", checkoutPort, "meshd.route", "default/checkout:8080",
			"url.full", "http://checkout.default:8080/items?sku=1", "server.address", "checkout.default", "meshd.endpoint.id", "checkout-0"))
	}
	id := []byte("0123456789abcdef")
	for i := range spans {
		spans[i].TraceId = id
	}
	raw := must(&tracepb.ExportTraceServiceRequest{ResourceSpans: []*otlptrace.ResourceSpans{{
		Resource:   &resourcepb.Resource{Attributes: attrs("service.name", "front", "service.instance.id", "front-0")},
		ScopeSpans: []*otlptrace.ScopeSpans{{Spans: spans}},
	}}})
	for n := uint64(0); s.traces.evicted == 0; n++ {
		next := binary.BigEndian.AppendUint64([]byte("01234567"), n)
		raw = bytes.ReplaceAll(raw, id, next)
		id = next
		s.traces.ingest(raw)
	}
}

// heap is what is in use after a collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// cpu is what the process has used so far.
func cpu() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkIngest is one second of the fleet: one operation is all of its
// reports, each with the counts of the second after.
func BenchmarkIngest(b *testing.B) {
	f := newFleet()
	f.take(b, f.all(0))
	second := 0
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		second++
		reports := f.all(second)
		f.now = f.start.Add(time.Duration(second) * time.Second)
		b.StartTimer()
		f.take(b, reports)
	}
}
