package main

import (
	"fmt"
	"strings"
)

// table writes rows in at most 100 columns.
func table(rows []row) string {
	var b strings.Builder
	line := func(cells ...string) {
		fmt.Fprintln(&b, strings.TrimRight(fmt.Sprintf("%-10s %-8s %11s  %-13s %8s %8s %8s %8s %7s %7s", toAny(cells)...), " "))
	}
	line("load", "proxy", "CPU µs/req", "min–max", "of Envoy", "req/s", "p50 ms", "p99 ms", "RSS MB", "peak")
	load := ""
	for _, r := range rows {
		if load != "" && r.Load != load {
			fmt.Fprintln(&b)
		}
		load = r.Load
		if r.Failed == r.Runs {
			line(r.Load, r.Proxy, "failed")
			continue
		}
		ratio := "-"
		if r.OfEnvoy > 0 {
			ratio = fmt.Sprintf("%.2f", r.OfEnvoy)
		}
		line(r.Load, r.Proxy, fmt.Sprintf("%.1f", r.CPU), fmt.Sprintf("%.1f–%.1f", r.CPUMin, r.CPUMax), ratio,
			fmt.Sprintf("%.0f", r.RPS), fmt.Sprintf("%.2f", r.P50), fmt.Sprintf("%.2f", r.P99), megabytes(r.RSS), megabytes(r.PeakRSS))
		if r.Failed > 0 {
			fmt.Fprintf(&b, "%19s %d of %d runs failed and are not counted\n", "", r.Failed, r.Runs)
		}
	}
	return b.String()
}

// megabytes are of 10^6 bytes.
func megabytes(n int64) string { return fmt.Sprintf("%.1f", float64(n)/1e6) }

// toAny makes ten cells of those given.
func toAny(cells []string) []any {
	out := make([]any, 10)
	for i := range out {
		out[i] = ""
		if i < len(cells) {
			out[i] = cells[i]
		}
	}
	return out
}
