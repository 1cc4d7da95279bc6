package main

import (
	"slices"
)

// A row sums up the runs of one proxy in one cell. Only runs without a
// failure count; numbers are medians over them where nothing else is said.
type row struct {
	cell
	Proxy    string  `json:"proxy"`
	Runs     int     `json:"runs"`
	Failed   int     `json:"failedRuns"`
	CPU      float64 `json:"cpuMicros"` // a request; of tcp, 10^6 bytes
	CPUMin   float64 `json:"cpuMicrosMin"`
	CPUMax   float64 `json:"cpuMicrosMax"`
	Ratio    float64 `json:"cpuRatio,omitempty"` // of the ratios to the reference's run of the same round
	P99Ratio float64 `json:"p99Ratio,omitempty"` // the same
	RPS      float64 `json:"requestsPerSecond"`
	BPS      float64 `json:"bytesPerSecond,omitempty"`
	P50      float64 `json:"p50Ms"`
	P99      float64 `json:"p99Ms"`
	RSS      int64   `json:"rssBytes"`     // the largest
	PeakRSS  int64   `json:"peakRSSBytes"` // the largest
}

// summarize makes a row of each cell and proxy, in the order in which samples
// first name them; reference is the proxy that others are compared with.
func summarize(samples []sample, reference string) []row {
	type key struct {
		cell
		proxy string
	}
	var cells []cell
	var keys []key
	runs := map[key][]sample{}
	type pair struct {
		cell
		round int
	}
	before := map[pair]sample{}
	for _, s := range samples {
		k := key{s.cell, s.Proxy}
		if runs[k] == nil {
			keys = append(keys, k)
		}
		if !slices.Contains(cells, s.cell) {
			cells = append(cells, s.cell)
		}
		runs[k] = append(runs[k], s)
		if s.Proxy == reference && s.Failure == "" {
			before[pair{s.cell, s.Round}] = s
		}
	}
	slices.SortStableFunc(keys, func(a, b key) int { return slices.Index(cells, a.cell) - slices.Index(cells, b.cell) })
	var rows []row
	for _, k := range keys {
		r := row{cell: k.cell, Proxy: k.proxy, Runs: len(runs[k])}
		var cpu, rps, bps, p50, p99, ratio, p99Ratio []float64
		for _, s := range runs[k] {
			if s.Failure != "" {
				r.Failed++
				continue
			}
			cpu, rps = append(cpu, s.CPU), append(rps, float64(s.OK)/s.Seconds)
			bps = append(bps, float64(s.Bytes)/s.Seconds)
			p50, p99 = append(p50, s.P50), append(p99, s.P99)
			r.RSS, r.PeakRSS = max(r.RSS, s.RSS), max(r.PeakRSS, s.PeakRSS)
			if s.Beside > 0 {
				ratio = append(ratio, s.CPU/s.Beside)
			} else if e, ok := before[pair{s.cell, s.Round}]; ok {
				ratio = append(ratio, s.CPU/e.CPU)
				if e.P99 > 0 {
					p99Ratio = append(p99Ratio, s.P99/e.P99)
				}
			}
		}
		if len(cpu) > 0 {
			r.CPUMin, r.CPUMax = slices.Min(cpu), slices.Max(cpu)
		}
		r.CPU, r.RPS, r.BPS, r.P50, r.P99 = median(cpu), median(rps), median(bps), median(p50), median(p99)
		r.Ratio, r.P99Ratio = median(ratio), median(p99Ratio)
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
