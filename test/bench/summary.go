package main

import (
	"fmt"
	"slices"
	"strings"
)

// A row sums up the runs of one proxy under one load. Only runs without a
// failure count; numbers are medians over them where nothing else is said.
type row struct {
	Load       string  `json:"load"`
	Proxy      string  `json:"proxy"`
	Runs       int     `json:"runs"`
	Failed     int     `json:"failedRuns"`
	CPU        float64 `json:"cpuMicrosPerRequest"`
	CPUMin     float64 `json:"cpuMicrosPerRequestMin"`
	CPUMax     float64 `json:"cpuMicrosPerRequestMax"`
	OfEnvoy    float64 `json:"cpuOfEnvoy,omitempty"` // of the ratios to Envoy's run of the same round
	P99OfEnvoy float64 `json:"p99OfEnvoy,omitempty"` // the same
	RPS        float64 `json:"requestsPerSecond"`
	P50        float64 `json:"p50Ms"`
	P99        float64 `json:"p99Ms"`
	RSS        int64   `json:"rssBytes"`     // the largest
	PeakRSS    int64   `json:"peakRSSBytes"` // the largest
}

// summarize makes a row of each load and proxy, proxies in the order in which
// samples first name them.
func summarize(samples []sample) []row {
	type key struct{ load, proxy string }
	var keys []key
	runs := map[key][]sample{}
	envoy := map[string]sample{}
	pair := func(s sample) string { return fmt.Sprint(s.Load, " ", s.Round) }
	for _, s := range samples {
		k := key{s.Load, s.Proxy}
		if runs[k] == nil {
			keys = append(keys, k)
		}
		runs[k] = append(runs[k], s)
		if s.Proxy == "envoy" && s.Failure == "" {
			envoy[pair(s)] = s
		}
	}
	// Load by load.
	slices.SortStableFunc(keys, func(a, b key) int { return strings.Compare(a.load, b.load) })
	var rows []row
	for _, k := range keys {
		r := row{Load: k.load, Proxy: k.proxy, Runs: len(runs[k])}
		var cpu, rps, p50, p99, ofEnvoy, p99OfEnvoy []float64
		for _, s := range runs[k] {
			if s.Failure != "" {
				r.Failed++
				continue
			}
			cpu, rps = append(cpu, s.CPU), append(rps, float64(s.OK)/s.Seconds)
			p50, p99 = append(p50, s.P50), append(p99, s.P99)
			r.RSS, r.PeakRSS = max(r.RSS, s.RSS), max(r.PeakRSS, s.PeakRSS)
			if e, ok := envoy[pair(s)]; ok {
				ofEnvoy, p99OfEnvoy = append(ofEnvoy, s.CPU/e.CPU), append(p99OfEnvoy, s.P99/e.P99)
			}
		}
		if len(cpu) > 0 {
			r.CPUMin, r.CPUMax = slices.Min(cpu), slices.Max(cpu)
		}
		r.CPU, r.RPS, r.P50, r.P99 = median(cpu), median(rps), median(p50), median(p99)
		r.OfEnvoy, r.P99OfEnvoy = median(ofEnvoy), median(p99OfEnvoy)
		rows = append(rows, r)
	}
	return rows
}

// median is 0 of nothing.
func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// The bars that --check holds our rows to.
const (
	maxOfEnvoy = 0.45 // CPU per request, under both loads
	maxP99     = 1.10 // of Envoy's at the fixed rate: no worse, with 10 % for noise
	maxRSS     = 20e6 // bytes, at the end of a run
	fixed      = "fixed"
	saturated  = "saturated"
)

// missed says which bars the rows miss; a bar that cannot be judged is missed.
func missed(rows []row) []string {
	var misses []string
	for _, load := range []string{fixed, saturated} {
		i := slices.IndexFunc(rows, func(r row) bool { return r.Load == load && r.Proxy == "ours" })
		if i < 0 || rows[i].OfEnvoy == 0 {
			misses = append(misses, load+": there is no run of ours beside one of envoy")
			continue
		}
		r := rows[i]
		if r.OfEnvoy > maxOfEnvoy {
			misses = append(misses, fmt.Sprintf("%s: CPU per request is %.2f of Envoy's, at most %.2f is wanted", load, r.OfEnvoy, maxOfEnvoy))
		}
		if load == fixed && r.P99OfEnvoy > maxP99 {
			misses = append(misses, fmt.Sprintf("%s: p99 is %.2f of Envoy's, at most %.2f is wanted", load, r.P99OfEnvoy, maxP99))
		}
		if r.RSS > maxRSS {
			misses = append(misses, fmt.Sprintf("%s: RSS is %.1f MB, at most %.0f is wanted", load, float64(r.RSS)/1e6, maxRSS/1e6))
		}
	}
	return misses
}
