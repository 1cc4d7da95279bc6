package tracing

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
)

var epoch = time.Unix(1_700_000_000, 0)

// told is a producer that tells what the test puts in.
type told struct {
	metrics []metricdata.Metrics
	err     error
}

func (p *told) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	return []metricdata.ScopeMetrics{{Scope: instrumentation.Scope{Name: "test"}, Metrics: slices.Clone(p.metrics)}}, p.err
}

func counter[N int64 | float64](name string, at int, value N, monotonic bool) metricdata.Metrics {
	return metricdata.Metrics{Name: name, Data: metricdata.Sum[N]{
		Temporality: metricdata.CumulativeTemporality, IsMonotonic: monotonic,
		DataPoints: []metricdata.DataPoint[N]{{
			Attributes: attribute.NewSet(attribute.String("a", "b")),
			StartTime:  epoch, Time: epoch.Add(time.Duration(at) * time.Second), Value: value,
		}},
	}}
}

// histogram is of counts from a bucket on; each exemplar is as old as it says, in s.
func histogram(name string, at int, offset int32, counts []uint64, exemplars ...int) metricdata.Metrics {
	p := metricdata.ExponentialHistogramDataPoint[float64]{
		StartTime: epoch, Time: epoch.Add(time.Duration(at) * time.Second), Scale: 5,
		PositiveBucket: metricdata.ExponentialBucket{Offset: offset, Counts: counts},
	}
	for _, n := range counts {
		p.Count += n
		p.Sum += float64(n)
	}
	for _, age := range exemplars {
		p.Exemplars = append(p.Exemplars, metricdata.Exemplar[float64]{Time: p.Time.Add(-time.Duration(age) * time.Second), Value: float64(age)})
	}
	return metricdata.Metrics{Name: name, Data: metricdata.ExponentialHistogram[float64]{
		Temporality: metricdata.CumulativeTemporality, DataPoints: []metricdata.ExponentialHistogramDataPoint[float64]{p},
	}}
}

func produce(t *testing.T, p metric.Producer) map[string]metricdata.Aggregation {
	t.Helper()
	scopes, err := p.Produce(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]metricdata.Aggregation{}
	for _, m := range scopes[0].Metrics {
		out[m.Name] = m.Data
	}
	return out
}

func TestDeltaSums(t *testing.T) {
	p := &told{}
	d := &deltas{Producer: p}
	for _, c := range []struct {
		at    int
		value int64
		want  int64 // 0: nothing is told
		since int
	}{
		{10, 5, 5, 0}, {20, 8, 3, 10}, {30, 8, 0, 0}, {40, 9, 1, 30},
		{50, 2, 2, 40}, // whoever counts has begun anew
	} {
		p.metrics = []metricdata.Metrics{
			counter("calls", c.at, c.value, true),
			counter("seconds", c.at, float64(c.value)/2, true),
			counter("open", c.at, c.value, false),
		}
		got := produce(t, d)
		if open := got["open"].(metricdata.Sum[int64]); open.Temporality != metricdata.CumulativeTemporality || open.DataPoints[0].Value != c.value {
			t.Errorf("%d s: what goes up and down is %+v", c.at, open)
		}
		if c.want == 0 {
			if got["calls"] != nil || got["seconds"] != nil {
				t.Errorf("%d s: nothing has come, and %v is told", c.at, got)
			}
			continue
		}
		calls, ok := got["calls"].(metricdata.Sum[int64])
		seconds, ok2 := got["seconds"].(metricdata.Sum[float64])
		if !ok || !ok2 {
			t.Fatalf("%d s: %v", c.at, got)
		}
		since := epoch.Add(time.Duration(c.since) * time.Second)
		if n := calls.DataPoints[0]; n.Value != c.want || !n.StartTime.Equal(since) || calls.Temporality != metricdata.DeltaTemporality {
			t.Errorf("%d s: %+v, want %d since %d s", c.at, n, c.want, c.since)
		}
		if n := seconds.DataPoints[0]; n.Value != float64(c.want)/2 || !n.StartTime.Equal(since) {
			t.Errorf("%d s: %+v, want %v", c.at, n, float64(c.want)/2)
		}
	}
}

// TestDeltaForgets: a series that is gone is forgotten, and all new when it
// comes again; but not where the producer could not tell.
func TestDeltaForgets(t *testing.T) {
	p := &told{metrics: []metricdata.Metrics{counter("calls", 10, int64(5), true)}}
	d := &deltas{Producer: p}
	produce(t, d)
	p.metrics, p.err = nil, errors.New("busy")
	if _, err := d.Produce(t.Context()); err == nil || len(d.last) != 1 {
		t.Errorf("%d series are known after an error %v", len(d.last), err)
	}
	p.metrics, p.err = []metricdata.Metrics{counter("other", 20, int64(1), true)}, nil
	produce(t, d)
	if len(d.last) != 1 {
		t.Errorf("%d series are known", len(d.last))
	}
	p.metrics = []metricdata.Metrics{counter("calls", 30, int64(7), true)}
	got := produce(t, d)["calls"].(metricdata.Sum[int64]).DataPoints[0]
	if got.Value != 7 || !got.StartTime.Equal(epoch.Add(20*time.Second)) {
		t.Errorf("%+v, want 7 since 20 s", got)
	}
}

func TestDeltaHistogram(t *testing.T) {
	p := &told{metrics: []metricdata.Metrics{histogram("latency", 10, -3, []uint64{1, 2}, 1)}}
	d := &deltas{Producer: p}
	point := func() metricdata.ExponentialHistogramDataPoint[float64] {
		data := produce(t, d)["latency"].(metricdata.ExponentialHistogram[float64])
		if data.Temporality != metricdata.DeltaTemporality {
			t.Errorf("temporality %v", data.Temporality)
		}
		return data.DataPoints[0]
	}
	if got := point(); got.Count != 3 || len(got.Exemplars) != 1 {
		t.Errorf("the first: %+v", got)
	}
	p.metrics = []metricdata.Metrics{histogram("latency", 20, -5, []uint64{1, 0, 1, 2, 4}, 1, 11)}
	got := point()
	want := metricdata.ExponentialBucket{Offset: -5, Counts: []uint64{1, 0, 0, 0, 4}}
	if got.Count != 5 || got.Sum != 5 || got.PositiveBucket.Offset != want.Offset || !slices.Equal(got.PositiveBucket.Counts, want.Counts) ||
		!got.StartTime.Equal(epoch.Add(10*time.Second)) {
		t.Errorf("then: %+v", got)
	}
	if len(got.Exemplars) != 1 || got.Exemplars[0].Value != 1 {
		t.Errorf("exemplars that were told already: %v", got.Exemplars)
	}
	p.metrics = []metricdata.Metrics{histogram("latency", 30, -5, []uint64{1, 0, 1, 2, 5})}
	if got := point(); got.Count != 1 || got.PositiveBucket.Offset != -1 || !slices.Equal(got.PositiveBucket.Counts, []uint64{1}) {
		t.Errorf("at last: %+v", got)
	}
	p.metrics = []metricdata.Metrics{histogram("latency", 40, -5, []uint64{1, 0, 1, 2, 5})}
	if got := produce(t, d); len(got) != 0 {
		t.Errorf("nothing has come, and %v is told", got)
	}
}

// TestDeltasAddUp: whatever comes in what order, the deltas are the sums.
func TestDeltasAddUp(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	p := &told{}
	d := &deltas{Producer: p}
	counts, sum := make([]uint64, 40), make([]uint64, 40)
	for at := range 200 {
		for range rnd.IntN(4) {
			counts[rnd.IntN(len(counts))]++
		}
		low := 0
		for low < len(counts)-1 && counts[low] == 0 {
			low++
		}
		p.metrics = []metricdata.Metrics{histogram("latency", at, int32(low-20), slices.Clone(counts[low:]))}
		if data, ok := produce(t, d)["latency"].(metricdata.ExponentialHistogram[float64]); ok {
			b := data.DataPoints[0].PositiveBucket
			for i, n := range b.Counts {
				sum[int(b.Offset)+20+i] += n
			}
		}
	}
	if !slices.Equal(sum, counts) {
		t.Errorf("the deltas are\n%v\nof\n%v", sum, counts)
	}
}

func TestExplicit(t *testing.T) {
	// Bucket i is (2^(i/32), 2^((i+1)/32)]: -32 begins at 0.5 s, 0 at 1 s.
	p := &told{metrics: []metricdata.Metrics{
		histogram("http.client.request.duration", 10, -32, []uint64{3, 0, 1}, 1),
		histogram("meshd.tcp.connection.duration", 10, 160, []uint64{7}), // 32 s
		counter("calls", 10, int64(1), true),
	}}
	got := produce(t, explicit{p})
	h := got["http.client.request.duration"].(metricdata.Histogram[float64])
	point := h.DataPoints[0]
	if h.Temporality != metricdata.CumulativeTemporality || point.Count != 4 || point.Sum != 4 || len(point.Bounds) != 14 {
		t.Errorf("%+v", h)
	}
	if want := []uint64{0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0}; !slices.Equal(point.BucketCounts, want) { // (0.5, 0.75]
		t.Errorf("buckets %v, want %v", point.BucketCounts, want)
	}
	if len(point.Exemplars) != 1 {
		t.Errorf("exemplars %v", point.Exemplars)
	}
	tcp := got["meshd.tcp.connection.duration"].(metricdata.Histogram[float64]).DataPoints[0]
	if at := slices.Index(tcp.BucketCounts, 7); at < 1 || tcp.Bounds[at-1] != 25 || tcp.Bounds[at] != 50 {
		t.Errorf("buckets %v of %v", tcp.BucketCounts, tcp.Bounds)
	}
	if _, ok := got["calls"].(metricdata.Sum[int64]); !ok {
		t.Errorf("a counter became %T", got["calls"])
	}
	// Of many exemplars in a bucket, the newest stays.
	p.metrics = []metricdata.Metrics{histogram("http.x", 10, 0, []uint64{1}, 9, 8)}
	if x := produce(t, explicit{p})["http.x"].(metricdata.Histogram[float64]).DataPoints[0].Exemplars; len(x) != 1 || x[0].Value != 8 {
		t.Errorf("exemplars %v", x)
	}
}

// TestShapesArrive: a backend gets metrics as it wants them, and meshd as ever.
func TestShapesArrive(t *testing.T) {
	meshd, backend := newSink(), newSink()
	var log bytes.Buffer
	telemetry := setup(t, Options{
		ServiceName: "s", MeshdAddr: meshd.grpc(t), MeshdInterval: time.Hour, Producers: []metric.Producer{calls{}},
		Logger: textLogger(&log),
		Getenv: getenv(map[string]string{
			"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT":                      backend.http(t) + "/v1/metrics",
			"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE":        "delta",
			"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION": "explicit_bucket_histogram",
			"OTEL_EXPORTER_PROMETHEUS_PORT":                            "9464",
		}),
	})
	if err := shutdown(t, telemetry); err != nil {
		t.Error(err)
	}
	find := func(s *sink, name string) *metricspb.Metric {
		for _, rm := range s.metrics {
			for _, sm := range rm.ScopeMetrics {
				for _, m := range sm.Metrics {
					if m.Name == name {
						return m
					}
				}
			}
		}
		t.Fatalf("no %s", name)
		return nil
	}
	const delta, cumulative = metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA, metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
	if h := find(backend, "latency").GetHistogram(); h.GetAggregationTemporality() != delta || len(h.DataPoints[0].ExplicitBounds) != 15 {
		t.Errorf("latency %v", h)
	}
	if s := find(backend, "calls").GetSum(); s.GetAggregationTemporality() != delta || s.DataPoints[0].GetAsInt() != 42 {
		t.Errorf("calls %v", s)
	}
	if h := find(meshd, "latency").GetExponentialHistogram(); h.GetAggregationTemporality() != cumulative {
		t.Errorf("meshd: latency %v", h)
	}
	if !strings.Contains(log.String(), "variable=OTEL_EXPORTER_PROMETHEUS_PORT") {
		t.Errorf("what is not supported is not told: %s", log.String())
	}
}
