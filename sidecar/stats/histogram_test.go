package stats

import (
	"context"
	"math"
	"math/big"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// TestBounds checks every boundary against 200-bit arithmetic:
// bound^32 <= 10^(9*32) * 2^(firstIndex+b) < (bound+1)^32.
func TestBounds(t *testing.T) {
	pow := func(n int64) *big.Int { return new(big.Int).Exp(big.NewInt(n), big.NewInt(perOctave), nil) }
	giga := pow(1e9)
	for b, bound := range table.bound {
		exp := firstIndex + b
		left, right := pow(bound), pow(bound+1)
		edge := new(big.Int).Set(giga)
		if exp >= 0 {
			edge.Lsh(edge, uint(exp))
		} else {
			left.Lsh(left, uint(-exp))
			right.Lsh(right, uint(-exp))
		}
		if left.Cmp(edge) > 0 || right.Cmp(edge) <= 0 {
			t.Fatalf("bound[%d] = %d is not floor(10^9 * 2^(%d/32))", b, bound, exp)
		}
	}
}

func TestBucketOf(t *testing.T) {
	check := func(ns int64) {
		t.Helper()
		b := bucketOf(ns)
		switch {
		case ns <= table.bound[0]:
			if b != 0 {
				t.Errorf("bucketOf(%d) = %d, want the first", ns, b)
			}
		case ns > table.bound[buckets]:
			if b != buckets-1 {
				t.Errorf("bucketOf(%d) = %d, want the last", ns, b)
			}
		case ns <= table.bound[b] || ns > table.bound[b+1]:
			t.Errorf("bucketOf(%d) = %d, whose bounds are (%d, %d]", ns, b, table.bound[b], table.bound[b+1])
		}
	}
	for _, bound := range table.bound {
		for d := int64(-2); d <= 2; d++ {
			check(bound + d)
		}
	}
	for _, ns := range []int64{0, 1, 999, 1000, math.MaxInt64} {
		check(ns)
	}
	for range 200_000 {
		check(int64(math.Exp2(rand.Float64()*34 + 8)))
	}
}

func TestBucketOfAgreesWithLogarithm(t *testing.T) {
	for range 100_000 {
		ns := int64(math.Exp2(rand.Float64()*29.9 + 9.95))
		index := math.Log2(float64(ns)/1e9) * perOctave
		if math.Abs(index-math.Round(index)) < 1e-9 {
			continue // too near a boundary for floating point to tell
		}
		if got, want := firstIndex+bucketOf(ns), int(math.Ceil(index))-1; got != want {
			t.Fatalf("%d ns: index %d, want %d", ns, got, want)
		}
	}
}

// TestHistogramAgreesWithSDK records the same values in OpenTelemetry's own
// exponential histogram.
func TestHistogramAgreesWithSDK(t *testing.T) {
	reader := metric.NewManualReader(metric.WithAggregationSelector(func(metric.InstrumentKind) metric.Aggregation {
		return metric.AggregationBase2ExponentialHistogram{MaxSize: 1000, MaxScale: Scale}
	}))
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	sdk, err := provider.Meter("test").Float64Histogram("latency")
	if err != nil {
		t.Fatal(err)
	}
	var ours Histogram
	for range 5000 {
		d := time.Duration(math.Exp2(rand.Float64()*27 + 11))
		ours.Record(d)
		sdk.Record(context.Background(), d.Seconds())
	}
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &rm); err != nil {
		t.Fatal(err)
	}
	want := rm.ScopeMetrics[0].Metrics[0].Data.(metricdata.ExponentialHistogram[float64]).DataPoints[0]
	got := ours.Distribution()
	if want.Scale != Scale || got.Count != want.Count || got.Offset != int(want.PositiveBucket.Offset) {
		t.Fatalf("count %d offset %d, SDK: count %d offset %d scale %d",
			got.Count, got.Offset, want.Count, want.PositiveBucket.Offset, want.Scale)
	}
	if !slices.Equal(got.Counts, want.PositiveBucket.Counts) {
		t.Errorf("buckets differ:\n%v\nSDK:\n%v", got.Counts, want.PositiveBucket.Counts)
	}
	if diff := math.Abs(got.Sum.Seconds() - want.Sum); diff > 1e-6 {
		t.Errorf("sums differ by %g s", diff)
	}
}

func TestQuantile(t *testing.T) {
	var h Histogram
	if got := h.Distribution().Quantile(0.5); got != 0 {
		t.Errorf("median of nothing: %v", got)
	}
	var all []time.Duration
	for range 10_000 {
		d := time.Duration(rand.ExpFloat64() * float64(20*time.Millisecond))
		d = max(d, time.Microsecond)
		h.Record(d)
		all = append(all, d)
	}
	slices.Sort(all)
	dist := h.Distribution()
	for _, q := range []float64{0, 0.01, 0.5, 0.9, 0.99, 0.999, 1} {
		exact := all[max(int(math.Ceil(q*float64(len(all))))-1, 0)]
		if got := dist.Quantile(q); math.Abs(float64(got-exact)) > 0.012*float64(exact) {
			t.Errorf("q%v = %v, want %v", q, got, exact)
		}
	}
}

func TestOutOfRange(t *testing.T) {
	var h Histogram
	h.Record(-time.Second)
	h.Record(0)
	h.Record(time.Hour)
	d := h.Distribution()
	if d.Count != 3 || d.Offset != firstIndex || len(d.Counts) != buckets || d.Counts[0] != 2 || d.Counts[buckets-1] != 1 {
		t.Errorf("count %d, offset %d, %d buckets", d.Count, d.Offset, len(d.Counts))
	}
	if d.Sum != time.Hour {
		t.Errorf("sum %v", d.Sum)
	}
}

func BenchmarkBucketOf(b *testing.B) {
	var values [1024]int64
	for i := range values {
		values[i] = int64(math.Exp2(rand.Float64()*15 + 15))
	}
	sum := 0
	for i := 0; b.Loop(); i++ {
		sum += bucketOf(values[i%len(values)])
	}
	_ = sum
}
