package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
)

// What telemetry costs: our sidecar beside itself, with more of it.

// baseline is the one without.
const baseline = "trace 0"

// costBars is how much of the baseline's CPU time a request may take; 0 where
// that is only shown.
var costBars = map[string]float64{"1 %": 1.03, "100 %": 1.40}

// telemetryProxies are ours with traces of no, one and all calls, and with an
// access log besides one of 1 %, and that without traces once more, which shows
// what is noise. All of them send metrics to meshd every second.
func telemetryProxies() []proxy {
	ours := func(name string, traces bool, ratio string, args func(dir string) []string) proxy {
		p := proxies()[0]
		p.name, p.traces = name, traces
		p.start = func(ctx context.Context, r *rig, protocol, dir string) (*running, error) {
			env := []string{"OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=" + ratio}
			var more []string
			if args != nil {
				more = args(dir)
			}
			return startOursWith(ctx, r, protocol, dir, env, more)
		}
		return p
	}
	return []proxy{
		ours(baseline, false, "0", nil),
		ours("same", false, "0", nil),
		ours("1 %", true, "0.01", nil),
		ours("100 %", true, "1", nil),
		ours("log", true, "0.01", func(dir string) []string { return []string{"--access-log", filepath.Join(dir, "access.log")} }),
	}
}

// missedCosts is missed for telemetryProxies, or for those that --only names.
func missedCosts(cells []cell, rows []row, only []string) []string {
	var misses []string
	for _, c := range cells {
		for name, most := range costBars {
			if len(only) > 0 && !slices.Contains(only, name) {
				continue
			}
			i := slices.IndexFunc(rows, func(r row) bool { return r.cell == c && r.Proxy == name })
			switch {
			case i < 0 || rows[i].Ratio == 0:
				misses = append(misses, fmt.Sprintf("%v: there is no run of %q beside one of %q", c, name, baseline))
			case rows[i].Ratio > most:
				misses = append(misses, fmt.Sprintf("%v: CPU per request with traces of %s is %.2f of that without, at most %.2f is wanted", c, name, rows[i].Ratio, most))
			}
		}
	}
	slices.Sort(misses)
	return misses
}
