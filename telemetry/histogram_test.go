package telemetry

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// observe makes the buckets that a recorder of the given scale would send.
func observe(scale int32, values ...float64) (offset int32, counts []uint64) {
	index := func(v float64) int32 {
		return int32(math.Ceil(math.Log2(v)*math.Exp2(float64(scale)))) - 1
	}
	if len(values) == 0 {
		return 0, nil
	}
	lo, hi := index(slices.Min(values)), index(slices.Max(values))
	counts = make([]uint64, hi-lo+1)
	for _, v := range values {
		counts[index(v)-lo]++
	}
	return lo, counts
}

func bucketsOf(scale int32, values ...float64) *buckets {
	b := &buckets{}
	offset, counts := observe(scale, values...)
	b.set(scale, 0, offset, counts)
	return b
}

// TestQuantile compares with the exact percentiles: the error stays within
// one bucket of the coarsest scale that was merged.
func TestQuantile(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	logNormal := func(n int, median, sigma float64) []float64 {
		out := make([]float64, n)
		for i := range out {
			out[i] = median * math.Exp(sigma*random.NormFloat64())
		}
		return out
	}
	for _, tc := range []struct {
		name    string
		scales  []int32 // one reporter each
		values  []float64
		coarser int32
	}{
		{"one value", []int32{5}, []float64{0.003}, 5},
		{"two values", []int32{5}, []float64{0.001, 1}, 5},
		{"log-normal", []int32{5}, logNormal(10_000, 0.004, 0.8), 5},
		{"four reporters", []int32{5, 5, 5, 5}, logNormal(5_000, 0.02, 0.3), 5},
		{"finer is merged to scale 5", []int32{5, 8, 20}, logNormal(2_000, 0.02, 1), 5},
		{"coarser makes all coarse", []int32{5, 3, 8}, logNormal(2_000, 0.02, 1), 3},
		{"coarse first", []int32{0, 5}, logNormal(2_000, 0.02, 1), 0},
		{"below one", []int32{5, -1}, logNormal(2_000, 0.02, 1), -1},
		{"around one second", []int32{-2, -3}, logNormal(2_000, 1, 1), -3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			parts := make([][]float64, len(tc.scales))
			for i, v := range tc.values {
				parts[i%len(parts)] = append(parts[i%len(parts)], v)
			}
			var h, viaMerge Histogram
			for i, scale := range tc.scales {
				if len(parts[i]) == 0 {
					continue
				}
				b := bucketsOf(min(scale, 12), parts[i]...) // a finer one would need too many buckets
				h.add(b, 1)
				var one Histogram
				one.add(b, 0.25)
				one.add(b, 0.75)
				viaMerge.merge(&one)
			}
			slices.Sort(tc.values)
			width := math.Exp2(math.Exp2(-float64(tc.coarser)))
			for _, q := range []float64{0.01, 0.5, 0.9, 0.99, 1} {
				exact := tc.values[max(int(math.Ceil(q*float64(len(tc.values))))-1, 0)]
				for name, got := range map[string]float64{"add": h.Quantile(q), "merge": viaMerge.Quantile(q)} {
					if got < exact/width*0.999 || got > exact*width*1.001 {
						t.Errorf("%s: q %v = %v, exact %v, off by more than a bucket (×%.4f)", name, q, got, exact, width)
					}
				}
			}
			if n := h.Count(); n != float64(len(tc.values)) {
				t.Errorf("count = %v, want %d", n, len(tc.values))
			}
		})
	}
}

func TestHistogramEmptyZeroAndReset(t *testing.T) {
	var h Histogram
	if q := h.Quantile(0.99); q != 0 {
		t.Errorf("empty: %v", q)
	}
	h.add(&buckets{scale: 5, zero: 9}, 1)
	h.add(bucketsOf(5, 2), 1)
	if q := h.Quantile(0.5); q != 0 {
		t.Errorf("median of nine zeros and a two: %v", q)
	}
	if q := h.Quantile(1); math.Abs(q-2) > 0.05 {
		t.Errorf("maximum of nine zeros and a two: %v", q)
	}
	h.reset()
	if n, q := h.Count(), h.Quantile(1); n != 0 || q != 0 {
		t.Errorf("after reset: count %v, max %v", n, q)
	}
	h.add(bucketsOf(5, 0.001), 1)
	if q := h.Quantile(1); math.Abs(q-0.001) > 0.00003 {
		t.Errorf("after reset and add: %v", q)
	}
}

func TestSubtract(t *testing.T) {
	for _, tc := range []struct {
		name           string
		earlier, later *buckets
		ok             bool
		total          uint64
	}{
		{"nothing new", bucketsOf(5, 1, 2), bucketsOf(5, 1, 2), true, 0},
		{"one new", bucketsOf(5, 1, 2), bucketsOf(5, 1, 2, 2), true, 1},
		{"wider", bucketsOf(5, 1), bucketsOf(5, 0.001, 1, 100), true, 2},
		{"downscaled meanwhile", bucketsOf(5, 1, 2), bucketsOf(3, 1, 2, 1000), true, 1},
		{"was coarser", bucketsOf(3, 1, 2), bucketsOf(5, 1, 2, 4), true, 1},
		{"from empty", bucketsOf(5), bucketsOf(5, 1), true, 1},
		{"fell", bucketsOf(5, 1, 1), bucketsOf(5, 1), false, 1},
		{"vanished", bucketsOf(5, 8), bucketsOf(5, 1), false, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if ok := tc.later.subtract(tc.earlier); ok != tc.ok {
				t.Errorf("ok = %v, want %v", ok, tc.ok)
			}
			if n := tc.later.total(); n != tc.total {
				t.Errorf("total = %d, want %d", n, tc.total)
			}
		})
	}
}

// A histogram of what lies very far apart is coarser, not larger, and its
// percentiles are wrong by a bucket of that width.
func TestWideHistogram(t *testing.T) {
	var h Histogram
	var values []float64
	for i := range 30 {
		values = append(values, math.Exp2(float64(i)-20))
	}
	for _, v := range values {
		offset, counts := observe(Scale, v)
		var b buckets
		b.set(Scale, 0, offset, counts)
		h.add(&b, 1)
	}
	if len(h.counts) > maxSpan || h.bytes() > 8*maxSpan || h.Count() != 30 {
		t.Errorf("%d buckets, %d bytes, %v values", len(h.counts), h.bytes(), h.Count())
	}
	for i, v := range values {
		if got := h.Quantile((float64(i) + 0.5) / 30); math.Abs(got/v-1) > 0.045 {
			t.Errorf("value %d is %v, want %v", i, got, v)
		}
	}
}

// FuzzBuckets feeds arbitrary histograms: no panic, bounded size, no value lost.
func FuzzBuckets(f *testing.F) {
	f.Add(int32(5), int32(-300), []byte{1, 2, 3}, int32(3), int32(7), []byte{9})
	f.Add(int32(20), int32(math.MaxInt32), []byte{0, 0, 5}, int32(-10), int32(math.MinInt32), []byte{1, 0, 1})
	f.Add(int32(-5), int32(0), []byte{4}, int32(0), int32(-1), []byte{1})
	f.Fuzz(func(t *testing.T, s1, o1 int32, c1 []byte, s2, o2 int32, c2 []byte) {
		wide := func(bs []byte) (out []uint64, sum uint64) {
			for _, b := range bs[:min(len(bs), 4096)] {
				out, sum = append(out, uint64(b)), sum+uint64(b)
			}
			return out, sum
		}
		clamp := func(s int32) int32 { return min(max(s, -10), 20) }
		n1, sum1 := wide(c1)
		n2, sum2 := wide(c2)
		var a, b buckets
		a.set(clamp(s1), 0, o1, n1)
		b.set(clamp(s2), 0, o2, n2)
		if a.total() != sum1 || b.total() != sum2 {
			t.Fatalf("set lost values: %d of %d, %d of %d", a.total(), sum1, b.total(), sum2)
		}
		var h Histogram
		h.add(&a, 1)
		h.add(&b, 1)
		if got := h.Count(); math.Abs(got-float64(sum1+sum2)) > 0.01*float64(sum1+sum2) {
			t.Fatalf("count %v, want %d", got, sum1+sum2)
		}
		if len(h.counts) > maxSpan {
			t.Fatalf("%d buckets", len(h.counts))
		}
		if q := h.Quantile(0.99); math.IsNaN(q) || math.IsInf(q, 0) || q < 0 {
			t.Fatalf("quantile %v", q)
		}
		b.subtract(&a)
	})
}
