package health

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/meshd/meshd/xds/resource"
)

// of makes samples of 1,000 calls: failures of each.
func of(failures ...uint64) (out []sample) {
	for _, f := range failures {
		out = append(out, sample{1000 - f, f, 10 * time.Millisecond})
	}
	return out
}

func TestRates(t *testing.T) {
	success := resource.Outlier{StdevFactor: 1.9, SuccessHosts: 5, SuccessVolume: 100}
	percent := resource.Outlier{Percentage: 0.5, PercentageHosts: 2, PercentageVolume: 100}
	slow := resource.Outlier{LatencyFactor: 3, SuccessVolume: 100}
	ms := func(means ...time.Duration) (out []sample) {
		for _, d := range means {
			out = append(out, sample{1000, 0, d * time.Millisecond})
		}
		return out
	}
	for _, c := range []struct {
		name    string
		cfg     resource.Outlier
		samples []sample
		want    []int
	}{
		{"all well", success, of(0, 0, 0, 0, 0, 0), nil},
		{"a single failure is chance", success, of(0, 0, 1, 0, 0, 0, 0, 0, 0, 0), nil},
		{"three are", success, of(0, 0, 3, 0, 0, 0, 0, 0, 0, 0), nil},
		{"five are not", success, of(0, 0, 5, 0, 0, 0, 0, 0, 0, 0), []int{2}},
		{"all alike", success, of(30, 41, 35, 28, 33, 30, 29, 36), nil},
		{"one of ten", success, of(2, 1, 300, 2, 0, 0, 1, 0, 0, 0), []int{2}},
		{"one of five, the least for which 1.9 can be", success, of(0, 0, 300, 0, 0), []int{2}},
		{"one of four", success, of(0, 0, 300, 0), nil},
		{"few calls", success, append(of(0, 0, 0, 0, 0, 0), sample{50, 49, 0}), nil},
		{"few calls of others", success, append(of(300), slices.Repeat([]sample{{99, 0, 0}}, 9)...), nil},
		{"no calls at all", success, make([]sample, 10), nil},

		{"half", percent, of(0, 500, 499), []int{1}},
		{"two of four, the worst first", percent, of(600, 0, 1000, 0), []int{2, 0}},
		{"most", percent, of(600, 0, 1000), nil},
		{"alone", percent, of(1000), nil},
		{"few calls", percent, append(of(0, 0), sample{0, 99, 0}), nil},
		{"no calls", percent, make([]sample, 3), nil},

		{"as slow as the others", slow, ms(10, 12, 29, 9, 11), nil},
		{"three times", slow, ms(10, 12, 33, 9, 11), []int{2}},
		{"two, of which the slower first", slow, ms(10, 12, 40, 9, 50, 11), []int{4, 2}},
		{"of two nobody knows", slow, ms(10, 100), nil},
		{"of three one", slow, ms(10, 100, 20), []int{1}},
		{"too little to see", slow, []sample{{1000, 0, 1e5}, {1000, 0, 1e5}, {1000, 0, 9e5}}, nil},
		{"nobody succeeds", slow, of(1000, 1000, 1000), nil},

		{"off", resource.Outlier{}, of(0, 1000, 0, 0, 0, 0), nil},
		{"found once", resource.Outlier{StdevFactor: 1.9, Percentage: 0.5}, of(0, 1000, 0, 0, 0, 0), []int{1}},
	} {
		var got []int
		for _, f := range compare(&c.cfg, c.samples) {
			got = append(got, f.index)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestCauses(t *testing.T) {
	cfg := resource.Outlier{StdevFactor: 1.9, LatencyFactor: 3}
	samples := of(2, 1, 300, 2, 0, 0, 1, 0, 0, 0)
	samples[4].mean = 100 * time.Millisecond
	got := fmt.Sprint(compare(&cfg, samples)[0].cause, "; ", compare(&cfg, samples)[1].cause)
	if want := "30.0 % of 1000 calls failed, of the others' 0.1 %; 100ms of latency, the others' 10ms"; got != want {
		t.Error(got)
	}
}

// A fleet whose endpoints are all equal and fail now and then loses nobody to
// chance, or next to nobody.
func TestNobodyIsEjectedByChance(t *testing.T) {
	rng := rng()
	cfg := resource.Outlier{StdevFactor: 1.9, SuccessHosts: 5, SuccessVolume: 100}
	found := 0
	for range 1000 {
		p, samples := rng.Float64()*0.05, make([]sample, 10)
		for i := range samples {
			for range 300 {
				if rng.Float64() < p {
					samples[i].failures++
				} else {
					samples[i].successes++
				}
			}
		}
		found += len(compare(&cfg, samples))
	}
	if found > 5 {
		t.Errorf("%d ejections in 10,000 intervals of endpoints that are equal", found)
	}
}
