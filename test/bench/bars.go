package main

import (
	"fmt"
	"slices"
)

// The bars that --check holds our rows to; no failed request is one without
// --check, too.
const (
	maxP99 = 1.10 // of Envoy's at the fixed rate: no worse, with 10 % for noise
	maxRSS = 20e6 // bytes, at the end of a run, of HTTP/1.1
)

// maxOfEnvoy is how much of Envoy's CPU time ours may take for a request, or
// in TCP for a byte; 0 where that is only shown.
func maxOfEnvoy(c cell) float64 {
	switch c.Protocol {
	case protoHTTP1:
		return 0.45
	case protoTCP:
		return 1 / 1.2 // so that 1.2 times the bytes come of a CPU second
	case protoHTTP2:
		if c.Load == fixed && c.Shape == many {
			return 0.45
		}
		return 0.65
	case protoGRPC:
		switch {
		case c.Load == saturated:
			return 0
		case c.Shape == many:
			return 0.40
		}
		return 0.60
	}
	return 0
}

// missed says which bars the rows miss; a bar that cannot be judged is missed.
func missed(cells []cell, rows []row) []string {
	var misses []string
	for _, c := range cells {
		i := slices.IndexFunc(rows, func(r row) bool { return r.cell == c && r.Proxy == "ours" })
		if i < 0 || rows[i].Ratio == 0 {
			misses = append(misses, fmt.Sprintf("%v: there is no run of ours beside one of envoy", c))
			continue
		}
		r, most := rows[i], maxOfEnvoy(c)
		switch {
		case most == 0 || r.Ratio <= most:
		case c.Protocol == protoTCP:
			misses = append(misses, fmt.Sprintf("%v: bytes of a CPU second are %.2f of Envoy's, at least %.2f is wanted", c, 1/r.Ratio, 1/most))
		default:
			misses = append(misses, fmt.Sprintf("%v: CPU per request is %.2f of Envoy's, at most %.2f is wanted", c, r.Ratio, most))
		}
		if c.Load == fixed && r.P99Ratio > maxP99 {
			misses = append(misses, fmt.Sprintf("%v: p99 is %.2f of Envoy's, at most %.2f is wanted", c, r.P99Ratio, maxP99))
		}
		if c.Protocol == protoHTTP1 && r.RSS > maxRSS {
			misses = append(misses, fmt.Sprintf("%v: RSS is %.1f MB, at most %.0f is wanted", c, float64(r.RSS)/1e6, maxRSS/1e6))
		}
	}
	return misses
}
