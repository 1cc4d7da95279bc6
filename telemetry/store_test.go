package telemetry

import (
	"context"
	"math"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/grpc"
)

const cumulative = otlp.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE

var checkout = Service{"default", "checkout"}

func attrs(kv ...string) (out []*commonpb.KeyValue) {
	for i := 0; i < len(kv); i += 2 {
		out = append(out, &commonpb.KeyValue{Key: kv[i], Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: kv[i+1]}}})
	}
	return out
}

func counterMetric(name string, start, at time.Time, v float64, kv ...string) *otlp.Metric {
	return &otlp.Metric{Name: name, Data: &otlp.Metric_Sum{Sum: &otlp.Sum{
		AggregationTemporality: cumulative, IsMonotonic: true,
		DataPoints: []*otlp.NumberDataPoint{{
			Attributes: attrs(kv...), StartTimeUnixNano: uint64(start.UnixNano()), TimeUnixNano: uint64(at.UnixNano()),
			Value: &otlp.NumberDataPoint_AsDouble{AsDouble: v},
		}}}}}
}

func gaugeMetric(name string, at time.Time, v int64, kv ...string) *otlp.Metric {
	return &otlp.Metric{Name: name, Data: &otlp.Metric_Gauge{Gauge: &otlp.Gauge{
		DataPoints: []*otlp.NumberDataPoint{{
			Attributes: attrs(kv...), TimeUnixNano: uint64(at.UnixNano()), Value: &otlp.NumberDataPoint_AsInt{AsInt: v},
		}}}}}
}

func histMetric(name string, start, at time.Time, scale int32, values []float64, kv ...string) *otlp.Metric {
	offset, counts := observe(scale, values...)
	return &otlp.Metric{Name: name, Data: &otlp.Metric_ExponentialHistogram{ExponentialHistogram: &otlp.ExponentialHistogram{
		AggregationTemporality: cumulative,
		DataPoints: []*otlp.ExponentialHistogramDataPoint{{
			Attributes: attrs(kv...), StartTimeUnixNano: uint64(start.UnixNano()), TimeUnixNano: uint64(at.UnixNano()),
			Scale: scale, Positive: &otlp.ExponentialHistogramDataPoint_Buckets{Offset: offset, BucketCounts: counts},
		}}}}}
}

// world is a store, a clock and the reports of sidecars.
type world struct {
	t     *testing.T
	now   time.Time
	start time.Time
	store *Store
}

func newWorld(t *testing.T, cfg Config) *world {
	w := &world{t: t, now: time.Unix(1_000_000, 0)}
	w.start = w.now
	cfg.Clock = func() time.Time { return w.now }
	w.store = NewStore(cfg)
	return w
}

// pass lets time pass, with the ticks that Run would make.
func (w *world) pass(d time.Duration) {
	for end := w.now.Add(d); w.now.Before(end); {
		next := w.now.Truncate(step).Add(step)
		if next.After(end) {
			w.now = end
			return
		}
		w.now = next
		w.store.tick()
	}
}

// serve has a store listen, until stop.
func serve(t *testing.T, store *Store, options ...grpc.ServerOption) (addr string, stop func()) {
	t.Helper()
	server := grpc.NewServer(options...)
	store.Register(server)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- server.Serve(l) }()
	return l.Addr().String(), func() { server.Stop(); <-done }
}

// report sends metrics as the instance and returns the partial success.
func (w *world) report(instance string, ms ...*otlp.Metric) *metricspb.ExportMetricsPartialSuccess {
	w.t.Helper()
	req := &metricspb.ExportMetricsServiceRequest{ResourceMetrics: []*otlp.ResourceMetrics{{
		Resource:     &resourcepb.Resource{Attributes: attrs("service.name", "front", "service.namespace", "default", "service.instance.id", instance)},
		ScopeMetrics: []*otlp.ScopeMetrics{{Metrics: ms}},
	}}}
	resp, err := (&receiver{store: w.store}).Export(context.Background(), req)
	if err != nil {
		w.t.Fatal(err)
	}
	return resp.GetPartialSuccess()
}

// total is the number of calls in the whole history.
func (w *world) total(id Service) float64 {
	w.pass(3 * time.Second)
	sum := 0.0
	for _, p := range w.store.History(id, time.Time{}) {
		sum += p.RPS
	}
	return math.Round(sum*1000) / 1000
}

func repeat(v float64, n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = v
	}
	return out
}

const duration = "http.client.request.duration"

// TestDeltas is the table of what one reporter may send, one report a second,
// and how many calls the store makes of it.
func TestDeltas(t *testing.T) {
	type send struct {
		after     time.Duration // since the report before
		calls     int           // cumulative
		start, at time.Duration // of the data point, since the test began; at 0: now
	}
	for _, tc := range []struct {
		name  string
		sends []send
		want  float64
	}{
		{"a young reporter counts from its start", []send{{1 * time.Second, 10, 0, 0}}, 10},
		{"an old reporter's first value is a baseline", []send{{1 * time.Second, 10, -time.Hour, 0}}, 0},
		{"and what follows is counted", []send{{1 * time.Second, 10, -time.Hour, 0}, {1 * time.Second, 14, -time.Hour, 0}}, 4},
		{"no change", []send{{1 * time.Second, 10, 0, 0}, {1 * time.Second, 10, 0, 0}}, 10},
		{"restart: new start time", []send{{1 * time.Second, 10, 0, 0}, {1 * time.Second, 3, 1500 * time.Millisecond, 0}}, 13},
		{"restart: a larger value all the same", []send{{1 * time.Second, 10, 0, 0}, {1 * time.Second, 12, 1500 * time.Millisecond, 0}}, 22},
		{"the value fell", []send{{1 * time.Second, 10, 0, 0}, {1 * time.Second, 2, 0, 0}}, 12},
		{"out of order", []send{{2 * time.Second, 10, 0, 0}, {1 * time.Second, 8, 0, time.Second}, {time.Second, 12, 0, 0}}, 12},
		{"sent twice", []send{{2 * time.Second, 10, 0, 2 * time.Second}, {time.Second, 10, 0, 2 * time.Second}}, 10},
		{"the last word of the process before", []send{{2 * time.Second, 5, time.Second, 0}, {time.Second, 100, 0, 0}, {time.Second, 7, time.Second, 0}}, 7},
		{"a clock set back", []send{{2 * time.Second, 5, time.Second, 0}, {10 * time.Second, 100, 0, 0}, {time.Second, 101, 0, 0}}, 6},
		{"a pause", []send{{1 * time.Second, 10, 0, 0}, {20 * time.Second, 50, 0, 0}}, 50},
		{"forgotten, then back", []send{{1 * time.Second, 10, 0, 0}, {200 * time.Second, 50, 0, 0}, {time.Second, 51, 0, 0}}, 11},
	} {
		for _, half := range []time.Duration{0, 400 * time.Millisecond} { // on the second, and between two
			t.Run(tc.name, func(t *testing.T) {
				w := newWorld(t, Config{})
				w.pass(half)
				for _, s := range tc.sends {
					w.pass(s.after)
					at := w.now
					if s.at != 0 {
						at = w.start.Add(s.at)
					}
					if p := w.report("a", histMetric(duration, w.start.Add(s.start), at, 5, repeat(0.01, s.calls),
						"meshd.service", "default/checkout:8080", "http.response.status_code", "200")); p != nil {
						t.Fatal(p)
					}
				}
				if got := w.total(checkout); got != tc.want {
					t.Errorf("calls = %v, want %v", got, tc.want)
				}
			})
		}
	}
}

// TestRegularReportsMakeASteadyRate is about reports that come a little early
// or late: no second may look like a burst or a silence.
func TestRegularReportsMakeASteadyRate(t *testing.T) {
	w := newWorld(t, Config{})
	calls, last := 0, w.now
	for _, jitter := range []int{980, 1000, 1030, 970, 1010, 990, 1040, 960, 1000, 1000} {
		w.pass(time.Duration(jitter) * time.Millisecond)
		calls += int(w.now.Sub(last) / (10 * time.Millisecond)) // 100 a second
		last = w.now
		w.report("a", histMetric(duration, w.start, w.now, 5, repeat(0.01, calls), "meshd.service", "default/checkout:8080"))
	}
	for _, p := range w.store.History(checkout, w.start.Add(time.Second))[1:] {
		if p.RPS < 95 || p.RPS > 105 {
			t.Errorf("%v: %v calls, want about 100", p.Time, p.RPS)
		}
	}
}

func TestSnapshotMergesReporters(t *testing.T) {
	w := newWorld(t, Config{Instances: func() map[Service]int {
		return map[Service]int{checkout: 3, {"default", "idle"}: 1}
	}})
	const svc = "default/checkout:8080"
	for i := 1; i <= 8; i++ {
		w.pass(time.Second)
		fast := histMetric(duration, w.start, w.now, 5, repeat(0.010, 90*i), "meshd.service", svc, "meshd.route", "r", "http.response.status_code", "200")
		slow := histMetric(duration, w.start, w.now, 3, repeat(1.0, 8*i), "meshd.service", svc, "meshd.route", "r", "http.response.status_code", "200")
		bad := histMetric(duration, w.start, w.now, 5, repeat(0.010, i), "meshd.service", svc, "http.response.status_code", "503")
		own := histMetric(duration, w.start, w.now, 5, repeat(0.010, i), "meshd.service", svc, "error.type", "timeout")
		w.report("a", fast, bad, own,
			gaugeMetric("http.client.active_requests", w.now, 4, "meshd.service", svc),
			gaugeMetric("meshd.breaker.open", w.now, 1, "meshd.service", svc),
			counterMetric("meshd.client.retries", w.start, w.now, float64(2*i), "meshd.service", svc, "meshd.retry.reason", "reset"),
			counterMetric("meshd.client.retries_denied", w.start, w.now, float64(i), "meshd.service", svc),
			counterMetric("meshd.endpoint.requests", w.start, w.now, float64(60*i), "meshd.service", svc, "meshd.endpoint", "10.0.0.1:80", "meshd.endpoint.id", "checkout-0"),
			counterMetric("meshd.endpoint.requests", w.start, w.now, float64(30*i), "meshd.service", svc, "meshd.endpoint", "10.0.0.2:80", "meshd.endpoint.id", "checkout-1"))
		w.report("b", slow,
			gaugeMetric("http.client.active_requests", w.now, 3, "meshd.service", svc),
			// what the instances say does not count where callers speak
			histMetric("http.server.request.duration", w.start, w.now, 5, repeat(5, 1000*i), "meshd.service", svc),
			counterMetric("meshd.endpoint.requests", w.start, w.now, float64(8*i), "meshd.service", svc, "meshd.endpoint", "10.0.0.1:80", "meshd.endpoint.id", "checkout-0"))
	}
	w.pass(time.Second)
	snap := w.store.Snapshot(DefaultWindow)
	if len(snap.Services) != 2 || snap.WindowSeconds != 5 {
		t.Fatalf("snapshot: %+v", snap)
	}
	got := snap.Services[0]
	near := func(what string, got, want, tolerance float64) {
		t.Helper()
		if math.Abs(got-want) > tolerance {
			t.Errorf("%s = %v, want %v", what, got, want)
		}
	}
	near("rps", got.RPS, 100, 0.01)
	near("success", got.Success, 0.98, 0.0001)
	near("p50", got.P50Ms, 10, 10*0.1) // one reporter is at scale 3: 9 % wide
	near("p90", got.P90Ms, 10, 10*0.1)
	near("p99", got.P99Ms, 1000, 1000*0.1)
	near("retries", got.RetriesPerSecond, 2, 0.001)
	near("denied", got.DeniedPerSecond, 1, 0.001)
	near("open breakers", got.OpenBreakers, 1, 0)
	near("in flight", got.InFlight, 7, 0)
	if got.Instances != 3 || snap.Services[1].Name != "idle" || snap.Services[1].Success != 1 {
		t.Errorf("instances %d, second %+v", got.Instances, snap.Services[1])
	}
	if len(got.Endpoints) != 2 {
		t.Fatalf("endpoints: %+v", got.Endpoints)
	}
	near("endpoint 0", got.Endpoints[0].RPS, 68, 0.01)
	near("endpoint 1", got.Endpoints[1].RPS, 30, 0.01)

	// Reporters fall silent: gauges drop out after 3 s, rates as the window passes.
	w.pass(10 * time.Second)
	got = w.store.Snapshot(DefaultWindow).Services[0]
	if got.InFlight != 0 || got.OpenBreakers != 0 || got.RPS != 0 || got.P99Ms != 0 || len(got.Endpoints) != 0 {
		t.Errorf("10 s after the last report: %+v", got)
	}
	w.pass(2 * forgetAfter)
	if st := w.store.Stats(); st.Series != 0 || st.Reporters != 0 {
		t.Errorf("not forgotten: %+v", st)
	}
	if p := w.store.History(checkout, time.Time{}); len(p) < 100 || p[6].RPS < 99 {
		t.Errorf("history lost what was settled: %d points", len(p))
	}
}

func TestServerSideWithoutCallers(t *testing.T) {
	w := newWorld(t, Config{})
	for i := 1; i <= 6; i++ {
		w.pass(time.Second)
		w.report("a", histMetric("http.server.request.duration", w.start, w.now, 5, repeat(0.1, 50*i), "meshd.service", "default/checkout:8080"),
			gaugeMetric("http.server.active_requests", w.now, 2, "meshd.service", "default/checkout:8080"))
	}
	w.pass(time.Second)
	s := w.store.Snapshot(3 * time.Second).Services[0]
	if math.Abs(s.RPS-50) > 0.01 || math.Abs(s.P50Ms-100) > 3 || s.InFlight != 2 {
		t.Errorf("%+v", s)
	}
}

func TestBounds(t *testing.T) {
	w := newWorld(t, Config{MaxServices: 2, MaxEndpoints: 1, MaxSeries: 5})
	calls := func(name string, n float64) *otlp.Metric {
		return counterMetric("meshd.client.retries", w.start, w.now, n, "meshd.service", name)
	}
	w.pass(time.Second)
	p := w.report("a", calls("default/a:1", 1), calls("default/b:1", 1), calls("default/c:1", 1))
	if p.GetRejectedDataPoints() != 1 || !strings.Contains(p.GetErrorMessage(), "at most 2 services") {
		t.Errorf("third service: %v", p)
	}
	ep := func(addr string) *otlp.Metric {
		return counterMetric("meshd.endpoint.requests", w.start, w.now, 1, "meshd.service", "default/a:1", "meshd.endpoint", addr)
	}
	w.report("a", ep("10.0.0.1:1"), ep("10.0.0.2:1"))
	if st := w.store.Stats(); st.OverflowEndpoints != 1 || st.Series != 4 {
		t.Errorf("second endpoint: %+v", st)
	}
	p = w.report("b", calls("default/a:1", 1), calls("default/b:1", 1))
	if st := w.store.Stats(); st.OverflowSeries != 1 || !strings.Contains(p.GetErrorMessage(), "at most 5 series") {
		t.Errorf("sixth series: %+v, %v", st, p)
	}
}

// The distributions of the last minute, which are not packed yet, count among
// what has passed: what they weigh more, older minutes make place for.
func TestLastMinuteCounts(t *testing.T) {
	fill := func(max int) *world {
		w := newWorld(t, Config{MaxHistory: max})
		for i := range 300 {
			w.pass(time.Second)
			w.report("a", histMetric(duration, w.start, w.now, 5, repeat(0.001, i+1), "meshd.service", checkoutPort),
				histMetric(duration, w.start, w.now, 5, repeat(10, i+1), "meshd.service", checkoutPort, "error.type", "timeout"))
		}
		w.pass(time.Second)
		return w
	}
	w := fill(1 << 30)
	all, live := w.store.Stats().HistoryBytes, w.store.live()
	if live < hotSlots/2*4*14<<Scale { // 14 octaves in each second with calls
		t.Errorf("%d bytes of %d are not packed", live, all)
	}
	most := live + (all-live)/2
	w = fill(most)
	if st := w.store.Stats(); st.OverflowHistory == 0 || st.HistoryBytes > most {
		t.Errorf("of at most %d, %d without the last minute: %+v", most, all-live, st)
	}
}

func TestRefusals(t *testing.T) {
	w := newWorld(t, Config{})
	const svc = "default/checkout:8080"
	none := histMetric(duration, w.start, w.now, 5, []float64{1}, "meshd.service", svc)
	none.GetExponentialHistogram().AggregationTemporality = otlp.AggregationTemporality_AGGREGATION_TEMPORALITY_UNSPECIFIED
	explicit := &otlp.Metric{Name: duration, Data: &otlp.Metric_Histogram{Histogram: &otlp.Histogram{
		AggregationTemporality: cumulative, DataPoints: []*otlp.HistogramDataPoint{{Attributes: attrs("meshd.service", svc), TimeUnixNano: 1}}}}}
	deep := histMetric(duration, w.start, w.now, 5, []float64{1}, "meshd.service", svc)
	deep.GetExponentialHistogram().DataPoints[0].Scale = 40
	long := histMetric(duration, w.start, w.now, 5, []float64{1}, "meshd.service", svc)
	long.GetExponentialHistogram().DataPoints[0].Positive.BucketCounts = make([]uint64, 5000)
	for _, tc := range []struct {
		name     string
		instance string
		metric   *otlp.Metric
		want     string
	}{
		{"no temporality", "a", none, "a histogram, cumulative or delta"},
		{"explicit buckets of which there are none", "a", explicit, "want bounds"},
		{"scale", "a", deep, "scale 40"},
		{"buckets", "a", long, "5000 buckets"},
		{"another shape", "a", counterMetric(duration, w.start, w.now, 1, "meshd.service", svc), "a histogram, cumulative or delta"},
		{"no service", "a", counterMetric("meshd.client.retries", w.start, w.now, 1), "NAMESPACE/SERVICE:PORT"},
		{"a bad service", "a", counterMetric("meshd.client.retries", w.start, w.now, 1, "meshd.service", "a/b:c"), "NAMESPACE/SERVICE:PORT"},
		{"not a number", "a", counterMetric("meshd.client.retries", w.start, w.now, math.NaN(), "meshd.service", svc), "finite"},
		{"too large", "a", counterMetric("meshd.client.retries", w.start, w.now, 1e300, "meshd.service", svc), "finite"},
		{"no instance", "", counterMetric("meshd.client.retries", w.start, w.now, 1, "meshd.service", svc), "service.instance.id"},
		{"a part that is none", "a", counterMetric("meshd.client.call.time", w.start, w.now, 1, "meshd.service", svc, "meshd.call.part", "lunch"), "meshd.call.part"},
		{"long attribute", "a", counterMetric("meshd.client.retries", w.start, w.now, 1, "meshd.service", svc, "x", strings.Repeat("y", 2000)), "longer than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := w.report(tc.instance, tc.metric)
			if p.GetRejectedDataPoints() != 1 || !strings.Contains(p.GetErrorMessage(), tc.want) {
				t.Errorf("got %v, want a refusal that says %q", p, tc.want)
			}
		})
	}
	if p := w.report("a", gaugeMetric("process.cpu.time", w.now, 1)); p != nil {
		t.Errorf("a metric of somebody else's: %v", p)
	}
	if st := w.store.Stats(); st.Invalid != 12 || st.Series != 0 {
		t.Errorf("%+v", st)
	}
}

func TestLongSleepAndClockSetBack(t *testing.T) {
	w := newWorld(t, Config{})
	w.pass(time.Second)
	w.report("a", histMetric(duration, w.start, w.now, 5, repeat(0.01, 10), "meshd.service", "default/checkout:8080"))
	w.now = w.now.Add(48 * time.Hour)
	w.store.tick()
	for _, p := range w.store.History(checkout, time.Time{}) {
		if p.RPS != 0 || w.now.Sub(p.Time) > time.Hour+time.Second {
			t.Fatalf("after two days: %+v", p)
		}
	}
	w.now = w.now.Add(-time.Hour)
	w.report("a", histMetric(duration, w.start, w.now, 5, repeat(0.01, 10), "meshd.service", "default/checkout:8080"))
	w.store.Snapshot(time.Second)
}

func TestRunAndSubscribe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewStore(Config{Instances: func() map[Service]int { return map[Service]int{checkout: 2} }})
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { store.Run(ctx); close(done) }()
		updates, cancel := store.Subscribe()
		_, cancelOther := store.Subscribe() // never read: must not hold up the others
		defer cancelOther()
		begin := time.Now()
		for range 5 {
			<-updates
		}
		if d := time.Since(begin); d < 4900*time.Millisecond || d > 5100*time.Millisecond {
			t.Errorf("five updates took %v", d)
		}
		if s := store.Snapshot(DefaultWindow).Services; len(s) != 1 || s[0].Instances != 2 {
			t.Errorf("services: %+v", s)
		}
		stop()
		<-done
		for range updates { // closed
		}
		cancel()
		late, _ := store.Subscribe()
		if _, open := <-late; open {
			t.Error("subscribed to a store that has ended")
		}
	})
}

// What sidecars count beside services is taken and changes nothing.
func TestNoService(t *testing.T) {
	w := newWorld(t, Config{})
	for _, name := range []string{"passthrough", "other"} {
		if p := w.report("a", histMetric("http.client.request.duration", w.start, w.now, 5, []float64{0.01}, "meshd.service", name)); p != nil {
			t.Errorf("%s: %v", name, p)
		}
	}
	if n := w.store.Stats().Invalid; n != 0 {
		t.Errorf("%d points count as invalid", n)
	}
}
