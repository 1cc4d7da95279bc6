package tracing

import (
	"context"
	"math/rand/v2"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// weights is a producer of gauges, of which another metric tells the same.
type weights struct {
	now    time.Time
	values []float64
}

func (w *weights) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	gauge := func() metricdata.Gauge[float64] {
		var points []metricdata.DataPoint[float64]
		for i, v := range w.values {
			points = append(points, metricdata.DataPoint[float64]{Attributes: attribute.NewSet(attribute.Int("i", i)), Time: w.now, Value: v})
		}
		return metricdata.Gauge[float64]{DataPoints: points}
	}
	return []metricdata.ScopeMetrics{{
		Scope:   instrumentation.Scope{Name: "test"},
		Metrics: []metricdata.Metrics{{Name: "weight", Data: gauge()}, {Name: "all", Data: gauge()}},
	}}, nil
}

// tell is what goes in a second, by point, after another second.
func (w *weights) tell(t *testing.T, p metric.Producer) map[int]float64 {
	t.Helper()
	w.now = w.now.Add(time.Second)
	scopes, err := p.Produce(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ms := scopes[0].Metrics
	if n := len(ms[1].Data.(metricdata.Gauge[float64]).DataPoints); n != len(w.values) {
		t.Errorf("%d points of a metric of which all go", n)
	}
	out := map[int]float64{}
	for _, p := range ms[0].Data.(metricdata.Gauge[float64]).DataPoints {
		i, _ := p.Attributes.Value("i")
		out[int(i.AsInt64())] = p.Value
	}
	return out
}

func TestSparse(t *testing.T) {
	w := &weights{now: time.Unix(1_700_000_000, 0), values: make([]float64, 500)}
	p := sparsely([]metric.Producer{w}, []string{"weight"})[0]
	for i := range w.values {
		w.values[i] = 0.1
	}
	known := map[int]float64{}
	for second := range 10 {
		got := w.tell(t, p)
		if len(got) != 50 {
			t.Fatalf("second %d: %d points went, want 50", second, len(got))
		}
		for i, v := range got {
			known[i] = v
		}
	}
	if len(known) != 500 {
		t.Fatalf("%d points went in 10 s", len(known))
	}
	// Some at once, before what is as it was.
	for i := range 40 {
		w.values[3*i] = 0
	}
	got := w.tell(t, p)
	for i := range 40 {
		if v, went := got[3*i]; !went || v != 0 {
			t.Errorf("%d did not go when it changed: %v", 3*i, v)
		}
	}
	// However much the others vary, each goes within 20 s.
	last := make([]int, 500)
	for second := range 100 {
		for i := range 450 {
			w.values[i] = rand.Float64()
		}
		got := w.tell(t, p)
		if len(got) != 50 {
			t.Fatalf("%d points went", len(got))
		}
		for i := range got {
			last[i] = second
		}
		for i := range last {
			if second-last[i] > 20 {
				t.Fatalf("%d went %d s ago", i, second-last[i])
			}
		}
	}
	// Few go always, and what leaves is forgotten.
	w.values = w.values[:16]
	for range 3 {
		if got := w.tell(t, p); len(got) != 16 {
			t.Errorf("%d of few went", len(got))
		}
	}
	if n := len(p.gone); n != 16 {
		t.Errorf("%d are remembered", n)
	}
}

// counters is a producer of a sum that only grows.
type counters struct {
	now    time.Time
	values []int64
}

func (c *counters) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	var points []metricdata.DataPoint[int64]
	for i, v := range c.values {
		points = append(points, metricdata.DataPoint[int64]{Attributes: attribute.NewSet(attribute.Int("i", i)), Time: c.now, Value: v})
	}
	return []metricdata.ScopeMetrics{{Metrics: []metricdata.Metrics{{Name: "n", Data: metricdata.Sum[int64]{DataPoints: points, IsMonotonic: true}}}}}, nil
}

func (c *counters) tell(t *testing.T, p metric.Producer) map[int]int64 {
	t.Helper()
	c.now = c.now.Add(time.Second)
	scopes, err := p.Produce(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[int]int64{}
	for _, p := range scopes[0].Metrics[0].Data.(metricdata.Sum[int64]).DataPoints {
		i, _ := p.Attributes.Value("i")
		out[int(i.AsInt64())] = p.Value
	}
	return out
}

// Counts go when they have grown, and else in ten seconds; all of them at first,
// and when an export was lost. Of what was never counted nothing goes.
func TestSparseCounts(t *testing.T) {
	c := &counters{now: time.Unix(1_700_000_000, 0), values: make([]int64, 120)}
	for i := range 100 {
		c.values[i] = int64(i + 1)
	}
	p := sparsely([]metric.Producer{c}, []string{"n"})[0]
	if n := len(c.tell(t, p)); n != 100 {
		t.Fatalf("%d went at first", n)
	}
	told := map[int]bool{}
	for range 10 {
		c.values[7]++
		got := c.tell(t, p)
		if len(got) > 13 || got[7] != c.values[7] {
			t.Fatalf("%d went, of the one that grew %d, want %d", len(got), got[7], c.values[7])
		}
		for i := range got {
			told[i] = true
		}
	}
	if len(told) != 100 {
		t.Errorf("%d went in 10 s", len(told))
	}
	lost := &retelling{failing{}, []*sparse{p}}
	if err := lost.Export(t.Context(), nil); err == nil {
		t.Error("the error is not told")
	}
	if n := len(c.tell(t, p)); n != 100 {
		t.Errorf("%d went after a lost export", n)
	}
}

type failing struct{ metric.Exporter }

func (failing) Export(context.Context, *metricdata.ResourceMetrics) error {
	return context.DeadlineExceeded
}
