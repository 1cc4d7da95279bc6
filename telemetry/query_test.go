package telemetry

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
)

const (
	checkoutPort       = "default/checkout:8080"
	serverDurationName = "http.server.request.duration"
)

// reportOf sends metrics as an instance of a service.
func (w *world) reportOf(service, instance string, ms ...*otlp.Metric) {
	w.t.Helper()
	refused, why, ok := w.store.ingest(must(&metricspb.ExportMetricsServiceRequest{ResourceMetrics: []*otlp.ResourceMetrics{{
		Resource:     &resourcepb.Resource{Attributes: attrs("service.name", service, "service.namespace", "shop", "service.instance.id", instance)},
		ScopeMetrics: []*otlp.ScopeMetrics{{Metrics: ms}},
	}}}))
	if refused > 0 || !ok {
		w.t.Fatal(refused, why, ok)
	}
}

// summed is histMetric with the sum of its values.
func summed(m *otlp.Metric, values []float64) *otlp.Metric {
	sum := 0.0
	for _, v := range values {
		sum += v
	}
	dp := m.GetExponentialHistogram().DataPoints[0]
	dp.Sum, dp.Count = &sum, uint64(len(values))
	return m
}

func about(t *testing.T, what string, got, want, tolerance float64) {
	t.Helper()
	if math.Abs(got-want) > tolerance {
		t.Errorf("%s = %v, want %v", what, got, want)
	}
}

// Two callers and two instances, of which one is slow and takes a third of the
// calls, for so many seconds.
func (w *world) shop(seconds int) {
	var fast, slow []float64
	for i := 1; i <= seconds; i++ {
		w.pass(time.Second)
		fast = append(fast, repeat(0.010, 20)...)
		slow = append(slow, repeat(0.100, 10)...)
		all := append(slices.Clone(fast), slow...)
		n := float64(i)
		trace := [16]byte{15: byte(i)}
		client := summed(histMetric(duration, w.start, w.now, 5, all, "meshd.service", checkoutPort), all)
		client.GetExponentialHistogram().DataPoints[0].Exemplars = []*otlp.Exemplar{
			{TimeUnixNano: uint64(w.now.Add(-600 * time.Millisecond).UnixNano()), TraceId: trace[:], Value: &otlp.Exemplar_AsDouble{AsDouble: 0.1}},
			{TimeUnixNano: uint64(w.now.Add(-500 * time.Millisecond).UnixNano()), TraceId: make([]byte, 16), Value: &otlp.Exemplar_AsDouble{AsDouble: 9}},
		}
		part := func(side, part string, ms float64) *otlp.Metric {
			return counterMetric("meshd."+side+".call.time", w.start, w.now, 0.030*n*ms, "meshd.service", checkoutPort, "meshd.call.part", part)
		}
		endpoint := func(metric, id string, n float64) *otlp.Metric {
			return counterMetric("meshd.endpoint."+metric, w.start, w.now, n, "meshd.service", checkoutPort, "meshd.endpoint", "10.0.0.1:80"+id, "meshd.endpoint.id", "checkout-"+id)
		}
		w.reportOf("front", "front-0", client,
			gaugeMetric("http.client.active_requests", w.now, 4, "meshd.service", checkoutPort),
			gaugeMetric("meshd.hold.waiting", w.now, 2, "meshd.service", checkoutPort),
			part("client", "held", 1), part("client", "connect", 2), part("client", "retried", 3),
			endpoint("requests", "0", 20*n), endpoint("requests", "1", 10*n), endpoint("failures", "1", n))
		w.reportOf("batch", "batch-0", histMetric(duration, w.start, w.now, 5, repeat(0.010, i), "meshd.service", checkoutPort, "error.type", "timeout"))
		w.reportOf("checkout", "checkout-0",
			summed(histMetric(serverDurationName, w.start, w.now, 5, fast, "meshd.service", checkoutPort), fast),
			gaugeMetric("http.server.active_requests", w.now, 3, "meshd.service", checkoutPort),
			counterMetric("meshd.admission.shed", w.start, w.now, 5*n, "meshd.service", checkoutPort, "meshd.shed.reason", "full"),
			part("server", "queued", 4), part("server", "downstream", 5))
		w.reportOf("checkout", "checkout-1",
			summed(histMetric(serverDurationName, w.start, w.now, 5, slow, "meshd.service", checkoutPort, "http.response.status_code", "500"), slow))
	}
	w.pass(4 * time.Second)
}

func TestQueries(t *testing.T) {
	for _, tc := range []struct {
		name  string
		later time.Duration // when it is asked
	}{
		{"at once", 0},
		{"out of packed slots", 3 * time.Minute},
		{"an hour later", 59 * time.Minute},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := newWorld(t, Config{Instances: func() map[Service]int { return map[Service]int{checkout: 2} }})
			w.shop(60)
			span := Span{From: w.start.Add(20 * time.Second), To: w.start.Add(50 * time.Second)}
			w.pass(tc.later)

			all := w.store.Series(checkout, Selection{}, span)
			if len(all) != 30 || !all[0].Time.Equal(span.From) {
				t.Fatalf("%d samples, %+v", len(all), all)
			}
			span.Step = 10 * time.Second
			got := w.store.Series(checkout, Selection{}, span)
			if len(got) != 3 || !got[2].Time.Equal(span.From.Add(20*time.Second)) {
				t.Fatalf("%d samples, %+v", len(got), got)
			}
			for _, s := range append(all, got...) {
				about(t, "rps", s.RPS, 31, 0.01)
				about(t, "success", s.Success, 30./31, 0.001)
				about(t, "p50", s.P50Ms, 10, 0.25)
				about(t, "p90", s.P90Ms, 100, 2.5)
				about(t, "p99", s.P99Ms, 100, 2.5)
				about(t, "in flight", s.InFlight, 4, 0)
				about(t, "held", s.Held, 2, 0)
				about(t, "instances", float64(s.Instances), 2, 0)
				about(t, "shed", s.Shed, 5, 0.001)
				about(t, "mean", s.MeanMs, (30*40)/31., 0.01)
				about(t, "mean held", s.HeldMs, 30*1/31., 0.01)
				about(t, "mean connect", s.ConnectMs, 30*2/31., 0.01)
				about(t, "mean retried", s.RetriedMs, 30*3/31., 0.01)
				about(t, "mean queued", s.QueuedMs, 4, 0.01)
				about(t, "mean downstream", s.DownstreamMs, 5, 0.01)
				about(t, "the parts' sum", s.HeldMs+s.ConnectMs+s.RetriedMs+s.NetworkMs+s.QueuedMs+s.DownstreamMs+s.OwnMs, s.MeanMs, 1e-6)
				if id, err := hex.DecodeString(s.Trace); err != nil || len(id) != 16 || id[15] == 0 {
					t.Errorf("trace %q", s.Trace)
				}
			}
			if all[7].Trace != fmt.Sprintf("%032x", 28) { // begun at 27.4 s
				t.Errorf("trace of second 27: %s", all[7].Trace)
			}

			one := w.store.Series(checkout, Selection{Instance: "checkout-1"}, span)
			if len(one) != 3 {
				t.Fatalf("%+v", one)
			}
			about(t, "rps of one", one[1].RPS, 10, 0.01)
			about(t, "success of one", one[1].Success, 0, 0.001)
			about(t, "p50 of one", one[1].P50Ms, 100, 2.5)
			if got := w.store.Series(checkout, Selection{Instance: "checkout-9"}, span); got != nil {
				t.Errorf("of an unknown instance: %v", got)
			}
			if got := w.store.Series(Service{"default", "nobody"}, Selection{}, span); got != nil {
				t.Errorf("of an unknown service: %v", got)
			}

			list := w.store.Instances(checkout, span)
			if len(list) != 2 || list[0].ID != "checkout-0" || list[1].Address != "10.0.0.1:801" {
				t.Fatalf("%+v", list)
			}
			about(t, "rps", list[0].RPS, 20, 0.01)
			about(t, "share", list[0].Share, 2./3, 0.001)
			about(t, "attempts", list[1].Attempts, 10, 0.01)
			about(t, "p99", list[0].P99Ms, 10, 0.25)
			about(t, "p99", list[1].P99Ms, 100, 2.5)
			if tc.later == 0 {
				about(t, "failures", list[1].Failures, 1, 0.01)
			}

			dots := w.store.Scatter(checkout, span)
			if len(dots) != 6 {
				t.Fatalf("%+v", dots)
			}
			about(t, "rps of a dot", dots[1].RPS, 10, 1.01) // its edges are rounded
			about(t, "p99 of a dot", dots[1].P99Ms, 100, 2.5)

			edges := w.store.Edges(Span{From: w.start, To: w.start.Add(120 * time.Second)})
			if len(edges) != 2 || edges[0].From != (Service{"shop", "batch"}) || edges[1].To != checkout {
				t.Fatalf("%+v", edges)
			}
			about(t, "success of an edge", edges[0].Success, 0, 0.001)
			about(t, "p50 of an edge", edges[1].P50Ms, 10, 0.25)
			about(t, "p99 of an edge", edges[1].P99Ms, 100, 2.5)
			if edges[1].RPS < 10 || edges[1].RPS > 31 {
				t.Errorf("rate of an edge: %v", edges[1].RPS)
			}
		})
	}
}

func TestEdgesOfTheLastSeconds(t *testing.T) {
	w := newWorld(t, Config{})
	w.shop(30)
	edges := w.store.Edges(Span{From: w.start.Add(10 * time.Second), To: w.start.Add(20 * time.Second)})
	if len(edges) != 2 {
		t.Fatalf("%+v", edges)
	}
	about(t, "rps", edges[1].RPS, 30, 0.01)
	w.pass(2 * time.Hour)
	if st := w.store.Stats(); st.Edges+st.Instances+st.Services+st.Series+st.HistoryBytes+w.store.histogramBytes != 0 {
		t.Errorf("not forgotten: %+v", st)
	}
}

// A percentile of packed, merged seconds is that of all their calls.
func TestPercentilesOfAnyStretch(t *testing.T) {
	w := newWorld(t, Config{})
	random := rand.New(rand.NewPCG(3, 4))
	var all []float64
	for i := range 300 {
		w.pass(time.Second)
		base := 0.002 * (1 + float64(i)/30)
		for range random.IntN(40) {
			all = append(all, base*math.Exp(0.5*random.NormFloat64()))
		}
		w.report("a", histMetric(duration, w.start, w.now, 5, all, "meshd.service", checkoutPort))
	}
	w.pass(10 * time.Minute)
	got := w.store.Series(checkout, Selection{}, Span{From: w.start.Add(-time.Minute), To: w.now, Step: time.Hour})
	calls := 0.0
	var whole *Sample
	for i := range got {
		if got[i].RPS > 0 {
			whole = &got[i]
			calls++
		}
	}
	if calls != 1 {
		t.Fatalf("calls in %v of the samples, want one", calls)
	}
	slices.Sort(all)
	for q, v := range map[float64]float64{0.5: whole.P50Ms, 0.9: whole.P90Ms, 0.99: whole.P99Ms} {
		exact := 1000 * all[int(q*float64(len(all)))]
		if math.Abs(v/exact-1) > 0.02 {
			t.Errorf("p%v = %v, exact %v", 100*q, v, exact)
		}
	}
}

// Delta temporality: each point is what happened since the one before.
func TestDeltaTemporality(t *testing.T) {
	w := newWorld(t, Config{})
	delta := func(m *otlp.Metric) *otlp.Metric {
		if h := m.GetExponentialHistogram(); h != nil {
			h.AggregationTemporality = otlp.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA
		} else {
			m.GetSum().AggregationTemporality = otlp.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA
		}
		return m
	}
	for i := range 20 {
		before := w.now
		w.pass(time.Second)
		n := 10
		if i == 10 {
			n = 30
		}
		h := delta(histMetric(duration, before, w.now, 8, repeat(0.02, n), "meshd.service", checkoutPort))
		w.report("a", h, delta(counterMetric("meshd.client.retries", before, w.now, 2, "meshd.service", checkoutPort)))
		w.report("a", h) // the same again counts once
	}
	if got := w.total(checkout); got != 220 {
		t.Errorf("%v calls, want 220", got)
	}
	points := w.store.History(checkout, w.start.Add(2*time.Second))
	about(t, "rps", points[3].RPS, 10, 0.01)
	about(t, "retries", points[3].Retries, 2, 0.01)
	about(t, "p50", points[3].P50.Seconds(), 0.02, 0.0005)
	about(t, "the burst", points[8].RPS, 30, 0.01)
}

func TestEvents(t *testing.T) {
	w := newWorld(t, Config{})
	open := func(n int64) {
		w.report("a", gaugeMetric("meshd.breaker.open", w.now, n, "meshd.service", checkoutPort))
		w.pass(time.Second)
	}
	w.pass(time.Second)
	for _, n := range []int64{0, 1, 1, 2, 1, 0} {
		open(n)
	}
	w.pass(100 * time.Millisecond)
	w.store.Note(Event{Service: checkout, Kind: EventScaled, Text: "3 → 5"})
	for i := range 2 {
		w.report("a", counterMetric("meshd.health.ejections", w.start, w.now, float64(i), "meshd.service", checkoutPort, "meshd.health.rule", "latency"))
		w.pass(time.Second)
	}
	w.store.Note(Event{Time: w.start, Service: checkout, Kind: EventJoined, Instance: "checkout-3"})
	var kinds []EventKind
	for _, e := range w.store.Events(checkout, Span{From: w.start}) {
		kinds = append(kinds, e.Kind)
	}
	if want := []EventKind{EventJoined, EventBreakerOpen, EventBreakerOpen, EventBreakerClosed, EventScaled, EventEjected}; !slices.Equal(kinds, want) {
		t.Errorf("%v, want %v", kinds, want)
	}
	if got := w.store.Events(checkout, Span{From: w.now.Add(time.Second), To: w.now.Add(time.Hour)}); len(got) != 0 {
		t.Errorf("of the future: %v", got)
	}
	for i := range 3 * maxEvents {
		w.store.Note(Event{Service: checkout, Kind: EventScaled, Text: fmt.Sprint(i)})
	}
	got := w.store.Events(checkout, Span{From: w.start, To: w.now.Add(time.Second)})
	noted := slices.DeleteFunc(got, func(e Event) bool { return e.Kind != EventScaled })
	if len(noted) != maxEvents || noted[0].Text != fmt.Sprint(2*maxEvents) {
		t.Errorf("%d noted events, the first %+v", len(noted), noted[0])
	}
	// Breakers do not push them out.
	for i := range 3 * maxEvents {
		open(int64(i % 2))
	}
	got = w.store.Events(checkout, Span{From: w.start, To: w.now.Add(time.Second)})
	if len(got) != 2*maxEvents {
		t.Errorf("%d events, want %d", len(got), 2*maxEvents)
	}
}

// A mesh that has run for half a minute has the rates of that, however long the
// stretch is that is asked for.
func TestRatesOfAYoungStore(t *testing.T) {
	w := newWorld(t, Config{})
	w.shop(30)
	long := Span{From: w.now.Add(-10 * time.Minute), To: w.now}
	edges := w.store.Edges(long)
	if len(edges) != 2 {
		t.Fatalf("%+v", edges)
	}
	about(t, "rps of an edge", edges[1].RPS, 30, 4) // its beginning and its end are not all covered
	list := w.store.Instances(checkout, long)
	about(t, "rps of an instance", list[0].RPS, 20, 3)
}
