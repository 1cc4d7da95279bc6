package dashboard

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/meshd/meshd/telemetry"
)

func TestKnee(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	dots := func(n int, to float64, p99 func(load float64) float64) (out []telemetry.Dot) {
		for i := range n {
			load := 5 + (to-5)*float64(i)/float64(n)
			out = append(out, telemetry.Dot{RPS: load, P99Ms: p99(load) * (0.9 + 0.2*random.Float64())})
		}
		random.Shuffle(n, func(i, j int) { out[i], out[j] = out[j], out[i] })
		return out
	}
	// A server that takes 100 calls a second, 10 ms each: M/M/1.
	queue := func(load float64) float64 { return 10 / (1 - load/100) }
	for _, tc := range []struct {
		name     string
		dots     []telemetry.Dot
		from, to float64 // the knee; 0: none
	}{
		{"a queue", dots(200, 97, queue), 75, 95},
		{"a corner", dots(60, 100, func(l float64) float64 { return 10 + max(0, l-60)*5 }), 50, 70},
		{"flat", dots(200, 100, func(float64) float64 { return 10 }), 0, 0},
		{"straight", dots(200, 100, func(l float64) float64 { return l }), 0, 0},
		{"falling", dots(200, 100, func(l float64) float64 { return 200 - l }), 0, 0},
		{"one load", dots(200, 6, func(l float64) float64 { return math.Exp(l) }), 0, 0},
		{"few dots", dots(11, 97, queue), 0, 0},
		{"none", nil, 0, 0},
	} {
		f := fitDots(tc.dots)
		if f.ok != (tc.to > 0) || f.ok && (f.knee < tc.from || f.knee > tc.to) {
			t.Errorf("%s: knee %v at %.1f, want %v to %v", tc.name, f.ok, f.knee, tc.from, tc.to)
		}
		if !slices.IsSorted(f.p99) {
			t.Errorf("%s: the fit is not monotone: %v", tc.name, f.p99)
		}
	}
}

func TestMonotone(t *testing.T) {
	for _, tc := range []struct{ y, weight, want []float64 }{
		{nil, nil, nil},
		{[]float64{1, 2, 3}, []float64{1, 1, 1}, []float64{1, 2, 3}},
		{[]float64{3, 1}, []float64{1, 3}, []float64{1.5, 1.5}},
		{[]float64{1, 4, 2, 3}, []float64{1, 1, 1, 1}, []float64{1, 3, 3, 3}},
	} {
		got := slices.Clone(tc.y)
		monotone(got, tc.weight)
		if !slices.Equal(got, tc.want) {
			t.Errorf("%v → %v, want %v", tc.y, got, tc.want)
		}
	}
}
