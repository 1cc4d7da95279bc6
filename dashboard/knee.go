package dashboard

import (
	"cmp"
	"math"
	"slices"

	"github.com/meshd/meshd/telemetry"
)

// Of a knee there is nothing to say with fewer dots, with loads that are all
// alike, where latency does not at least double, or where the way up is nearly
// straight.
const (
	kneeDots     = 12
	kneeGroups   = 20
	kneeLoads    = 1.5  // the greatest load over the least
	kneeRise     = 2.0  // the latency at the greatest load over that at the least
	kneeDistance = 0.15 // from the chord, where load and latency are 0 to 1
)

// A fit is p99 against load: medians of groups of dots, made monotone, with the
// knee if there is one: the load from which on latency rises faster.
type fit struct {
	load, p99 []float64
	knee      float64
	ok        bool
}

// fitDots groups the dots by load, takes each group's median latency, makes
// those monotone (pool adjacent violators) and finds the point that is farthest
// below the chord from the first to the last.
func fitDots(dots []telemetry.Dot) (f fit) {
	sorted := slices.SortedFunc(slices.Values(dots), func(a, b telemetry.Dot) int { return cmp.Compare(a.RPS, b.RPS) })
	sorted = slices.DeleteFunc(sorted, func(d telemetry.Dot) bool { return d.RPS <= 0 || d.P99Ms <= 0 })
	if len(sorted) < kneeDots {
		return f
	}
	groups := min(kneeGroups, len(sorted)/3)
	var weights []float64
	for g := range groups {
		part := sorted[g*len(sorted)/groups : (g+1)*len(sorted)/groups]
		load := 0.0
		var p99 []float64
		for _, d := range part {
			load += d.RPS / float64(len(part))
			p99 = append(p99, d.P99Ms)
		}
		slices.Sort(p99)
		f.load, f.p99, weights = append(f.load, load), append(f.p99, p99[len(p99)/2]), append(weights, float64(len(part)))
	}
	monotone(f.p99, weights)

	last := len(f.load) - 1
	dx, dy := f.load[last]-f.load[0], f.p99[last]-f.p99[0]
	if f.load[last] < kneeLoads*f.load[0] || f.p99[last] < kneeRise*f.p99[0] {
		return f
	}
	best := 0.0
	for i := range f.load {
		x, y := (f.load[i]-f.load[0])/dx, (f.p99[i]-f.p99[0])/dy
		if below := (x - y) / math.Sqrt2; below > best {
			best, f.knee = below, f.load[i]
		}
	}
	f.ok = best >= kneeDistance
	return f
}

// monotone replaces y by the nearest values, by weighted squares, that never
// fall.
func monotone(y, weight []float64) {
	type pool struct {
		mean, weight float64
		n            int
	}
	var pools []pool
	for i := range y {
		pools = append(pools, pool{y[i], weight[i], 1})
		for n := len(pools); n > 1 && pools[n-2].mean > pools[n-1].mean; n-- {
			a, b := pools[n-2], pools[n-1]
			w := a.weight + b.weight
			pools = append(pools[:n-2], pool{(a.mean*a.weight + b.mean*b.weight) / w, w, a.n + b.n})
		}
	}
	i := 0
	for _, p := range pools {
		for range p.n {
			y[i] = p.mean
			i++
		}
	}
}
