package telemetry

import (
	"fmt"
	"math"
	"testing"
	"time"

	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
)

// weigh reports what callers aim at: of each endpoint, which they name, the
// part, or none if below 0.
func (w *world) weigh(caller string, parts ...float64) {
	w.t.Helper()
	var ms []*otlp.Metric
	for i := range parts {
		ms = append(ms, counterMetric("meshd.endpoint.requests", w.start, w.now, 1, endpoint(i)...))
	}
	for i, part := range parts {
		if part >= 0 {
			ms = append(ms, weightMetric(w.now, part, endpoint(i)...))
		}
	}
	if refused := w.report(caller, ms...); refused.GetRejectedDataPoints() > 0 {
		w.t.Fatal(refused)
	}
	w.pass(time.Second)
}

func endpoint(i int) []string {
	return []string{"meshd.service", checkoutPort, "meshd.endpoint", fmt.Sprintf("10.0.0.%d:80", i), "meshd.endpoint.id", fmt.Sprint("checkout-", i)}
}

func weightMetric(at time.Time, part float64, kv ...string) *otlp.Metric {
	return &otlp.Metric{Name: "meshd.endpoint.weight", Data: &otlp.Metric_Gauge{Gauge: &otlp.Gauge{DataPoints: []*otlp.NumberDataPoint{{
		Attributes: attrs(kv...), TimeUnixNano: uint64(at.UnixNano()), Value: &otlp.NumberDataPoint_AsDouble{AsDouble: part},
	}}}}}
}

// weights are what Instances says, at a time; NaN where it says none.
func (w *world) weights(at time.Time) map[string]float64 {
	out := map[string]float64{}
	for _, in := range w.store.Instances(checkout, Span{From: at.Add(-2 * time.Minute), To: at}) {
		out[in.ID] = math.NaN()
		if in.Weight != nil {
			out[in.ID] = *in.Weight
		}
	}
	return out
}

func (w *world) wantWeights(what string, at time.Time, want ...float64) {
	w.t.Helper()
	got := w.weights(at)
	for i, want := range want {
		if v, there := got[fmt.Sprint("checkout-", i)]; !there || math.IsNaN(want) != math.IsNaN(v) || math.Abs(v-want) > 1e-6 {
			w.t.Errorf("%s: %v, want %v of checkout-%d", what, got, want, i)
		}
	}
}

// The mean over callers, of what each said last; what they no longer say is
// forgotten, and what was remains to be asked for.
func TestWeights(t *testing.T) {
	w := newWorld(t, Config{})
	w.weigh("a", 0.5, 0.5) // begins its series, and says it
	w.weigh("a", 0.5, 0.5)
	w.weigh("b", -1, -1)
	w.weigh("b", 0.1, 0.9)
	w.weigh("a", -1, -1)
	w.wantWeights("two callers", w.now, 0.3, 0.7)
	before := w.now
	for range 5 {
		w.weigh("a", 0, 1)
		w.weigh("b", -1, -1)
	}
	w.wantWeights("one has changed its mind", w.now, 0.05, 0.95)
	w.wantWeights("before it did", before, 0.3, 0.7)
	// b leaves. Its word outlives it for a while.
	for range weightLife - 15 {
		w.weigh("a", 0, 1)
	}
	w.wantWeights("one is silent", w.now, 0.05, 0.95)
	for range 17 {
		w.weigh("a", 0, 1)
	}
	w.wantWeights("its word is old", w.now, 0, 1)
	// checkout-1 is nobody's endpoint any more.
	for range unnamed + settle + 1 {
		w.weigh("a", 1)
	}
	w.wantWeights("nobody names it", w.now, 1, math.NaN())
	if st := w.store.Stats(); st.Series != 4 {
		t.Errorf("%d series: weights are none", st.Series)
	}
}

// An instance that is to get no calls is there to be seen.
func TestWeightWithoutCalls(t *testing.T) {
	w := newWorld(t, Config{})
	w.pass(time.Minute)
	for range 4 {
		w.weigh("a", 0, 1)
	}
	list := w.store.Instances(checkout, Span{From: w.now.Add(-2 * time.Second), To: w.now})
	if len(list) != 2 || list[0].Attempts != 0 || list[0].Weight == nil || *list[0].Weight != 0 {
		t.Errorf("%+v", list)
	}
}

func TestWeightsRefused(t *testing.T) {
	w := newWorld(t, Config{MaxEndpoints: 2})
	w.report("a", weightMetric(w.now, 0.5, endpoint(0)...)) // by whom no series is known
	if n := len(w.store.services); n != 0 {
		t.Errorf("%d services of a stranger's weight", n)
	}
	w.weigh("a", 0.5)
	for _, part := range []float64{-0.1, 1.1, math.NaN(), math.Inf(1)} {
		if p := w.report("a", weightMetric(w.now, part, endpoint(0)...)); p.GetRejectedDataPoints() != 1 {
			t.Errorf("%v is taken", part)
		}
	}
	// Beyond the bound of instances, and those of no service.
	for i := range 5 {
		w.report("a", weightMetric(w.now, 0.5, endpoint(i)...))
	}
	w.report("a", weightMetric(w.now, 0.5, "meshd.service", "other", "meshd.endpoint.id", "x"))
	if st := w.store.Stats(); st.Instances != 2 || st.OverflowEndpoints == 0 || st.Services != 1 || len(w.store.weighed) != 2 {
		t.Errorf("%+v, %d known", st, len(w.store.weighed))
	}
	w.pass(2 * time.Hour)
	if len(w.store.weighed) != 0 {
		t.Errorf("%d instances that are gone are remembered", len(w.store.weighed))
	}
}
