package main

import (
	"fmt"
	"slices"
	"strings"
)

// tables writes rows, those of each protocol as a table of at most 100
// columns, in which each cell is a block; reference is what is compared with.
func tables(rows []row, reference string) string {
	var b strings.Builder
	var last cell
	for _, r := range rows {
		if r.cell != last {
			fmt.Fprintln(&b)
		}
		if r.Protocol != last.Protocol {
			fmt.Fprintln(&b, titles[r.Protocol])
			columns := requestColumns
			if r.Protocol == protoTCP {
				columns = bulkColumns
			}
			columns = slices.Clone(columns)
			columns[5] = "of " + reference
			line(&b, columns)
		}
		last = r.cell
		switch {
		case r.Failed == r.Runs:
			line(&b, []string{r.Shape, r.Load, r.Proxy, "failed"})
		case r.Protocol == protoTCP:
			line(&b, bulkCells(r))
		default:
			line(&b, requestCells(r))
		}
		if r.Failed > 0 && r.Failed < r.Runs {
			fmt.Fprintf(&b, "%17s %d of %d runs failed and are not counted\n", "", r.Failed, r.Runs)
		}
	}
	return b.String()
}

// titles of the protocols' tables.
var titles = map[string]string{
	protoHTTP1: "HTTP/1.1",
	protoHTTP2: "HTTP/2, cleartext on both sides (of nginx: HTTP/1.1 to the backend)",
	protoGRPC:  "gRPC, unary",
	protoTCP:   "TCP, from the backend to the client",
}

var (
	requestColumns = []string{"shape", "load", "proxy", "CPU µs/req", "min–max", "", "req/s", "p50 ms", "p99 ms", "RSS MB", "peak"}
	bulkColumns    = []string{"shape", "load", "proxy", "GB/CPU s", "min–max", "", "GB/s", "", "", "RSS MB", "peak"}
)

func requestCells(r row) []string {
	ratio := "-"
	if r.Ratio > 0 {
		ratio = fmt.Sprintf("%.2f", r.Ratio)
	}
	return []string{r.Shape, r.Load, r.Proxy, fmt.Sprintf("%.1f", r.CPU), fmt.Sprintf("%.1f–%.1f", r.CPUMin, r.CPUMax), ratio,
		fmt.Sprintf("%.0f", r.RPS), fmt.Sprintf("%.2f", r.P50), fmt.Sprintf("%.2f", r.P99), megabytes(r.RSS), megabytes(r.PeakRSS)}
}

// bulkCells turn costs round: more bytes of a CPU second are better.
func bulkCells(r row) []string {
	ratio := "-"
	if r.Ratio > 0 {
		ratio = fmt.Sprintf("%.2f", 1/r.Ratio)
	}
	return []string{r.Shape, r.Load, r.Proxy, fmt.Sprintf("%.2f", 1000/r.CPU), fmt.Sprintf("%.2f–%.2f", 1000/r.CPUMax, 1000/r.CPUMin), ratio,
		fmt.Sprintf("%.2f", r.BPS/1e9), "", "", megabytes(r.RSS), megabytes(r.PeakRSS)}
}

// line writes eleven cells, those that are missing empty.
func line(b *strings.Builder, cells []string) {
	all := make([]any, len(requestColumns))
	for i := range all {
		all[i] = ""
		if i < len(cells) {
			all[i] = cells[i]
		}
	}
	fmt.Fprintln(b, strings.TrimRight(fmt.Sprintf("%-6s %-9s %-7s %10s  %-13s %8s %7s %7s %7s %7s %6s", all...), " "))
}

// megabytes are of 10^6 bytes.
func megabytes(n int64) string { return fmt.Sprintf("%.1f", float64(n)/1e6) }
