package main

import (
	"flag"
	"math"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func run(round int, load, proxy string, cpu, p99 float64, failure string) sample {
	return sample{Round: round, cell: cell{protoHTTP1, "c16m1", load}, Proxy: proxy, CPU: cpu, RSS: 18e6, PeakRSS: 19e6, Failure: failure,
		report: report{OK: 40000, Seconds: 10, P50: p99 / 2, P99: p99}}
}

var theCells = []cell{{protoHTTP1, "c16m1", fixed}, {protoHTTP1, "c16m1", saturated}}

// runs are three rounds in which the machine is slower in the second.
func runs() []sample {
	var s []sample
	for i, slow := range []float64{1, 3, 1.1} {
		for _, load := range []string{fixed, saturated} {
			s = append(s, run(i+1, load, "ours", 22*slow, 0.5*slow, ""), run(i+1, load, "envoy", 61*slow, 0.6*slow, ""))
		}
	}
	return append(s, run(1, fixed, "nginx", 24, 0.4, ""), run(2, fixed, "nginx", 1, 0.1, "3 requests failed"),
		run(1, saturated, "nginx", 1, 0.1, "no request was answered"))
}

func TestSummarize(t *testing.T) {
	rows := summarize(runs(), "envoy")
	if len(rows) != 6 {
		t.Fatalf("%d rows", len(rows))
	}
	r := rows[0]
	if r.Load != fixed || r.Proxy != "ours" || r.Runs != 3 || r.Failed != 0 || math.Abs(r.CPU-24.2) > 1e-9 || r.CPUMin != 22 || r.CPUMax != 66 ||
		math.Abs(r.Ratio-22.0/61) > 1e-9 || math.Abs(r.P99Ratio-5.0/6) > 1e-9 || r.RPS != 4000 {
		t.Errorf("%+v", r)
	}
	if r := rows[2]; r.Proxy != "nginx" || r.Runs != 2 || r.Failed != 1 || r.CPU != 24 {
		t.Errorf("%+v", r)
	}
	if m := missed(theCells, rows); len(m) != 0 {
		t.Errorf("missed: %v", m)
	}
}

func TestMissed(t *testing.T) {
	s := []sample{run(1, fixed, "ours", 31, 2, ""), run(1, fixed, "envoy", 61, 1, ""), run(1, saturated, "ours", 1, 1, "")}
	s[0].RSS = 21e6
	m := strings.Join(missed(theCells, summarize(s, "envoy")), "\n")
	want := `http1 c16m1 fixed: CPU per request is 0.51 of Envoy's, at most 0.45 is wanted
http1 c16m1 fixed: p99 is 2.00 of Envoy's, at most 1.10 is wanted
http1 c16m1 fixed: RSS is 21.0 MB, at most 20 is wanted
http1 c16m1 saturated: there is no run of ours beside one of envoy`
	if m != want {
		t.Errorf("got\n%s\nwant\n%s", m, want)
	}
	if err := verdict(runs(), nil); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("two failed runs: %v", err)
	}
}

var update = flag.Bool("update", false, "write testdata")

// What each cell may cost, with runs that are just good enough and runs that
// are not.
func TestBars(t *testing.T) {
	o, err := parseOptions(nil, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range o.cells() {
		most := maxOfEnvoy(c)
		for cost, bad := range map[float64]bool{most - 0.001: false, most + 0.001: most > 0} {
			ours, envoy := run(1, c.Load, "ours", 100*max(cost, 0.5), 1, ""), run(1, c.Load, "envoy", 100, 1, "")
			if most > 0 {
				ours.CPU = 100 * cost
			}
			ours.cell, envoy.cell = c, c
			if m := missed([]cell{c}, summarize([]sample{ours, envoy}, "envoy")); len(m) > 0 != bad {
				t.Errorf("%v at %.3f of Envoy's: missed %q", c, cost, m)
			}
		}
	}
	want := map[cell]float64{
		{protoHTTP2, "c16m1", fixed}: 0.65, {protoHTTP2, "c4m16", fixed}: 0.45, {protoHTTP2, "c4m16", saturated}: 0.65,
		{protoGRPC, "c16m1", fixed}: 0.60, {protoGRPC, "c4m16", fixed}: 0.40, {protoGRPC, "c4m16", saturated}: 0,
	}
	for c, want := range want {
		if got := maxOfEnvoy(c); got != want {
			t.Errorf("%v: %v, want %v", c, got, want)
		}
	}
}

func TestTable(t *testing.T) {
	all := runs()
	for _, s := range runs() {
		s.Protocol, s.Bytes = protoTCP, 5e9
		if s.Load == saturated {
			all = append(all, s)
		}
	}
	got := tables(summarize(all, "envoy"), "Envoy")
	const golden = "testdata/table.txt"
	if *update {
		if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil || got != string(want) {
		t.Errorf("%v\ngot\n%s\nwant\n%s", err, got, want)
	}
	wide := sample{cell: cell{protoGRPC, "c16m1", saturated}, Proxy: "haproxy", CPU: 1234.5, RSS: 1234.5e6, PeakRSS: 1234.5e6, report: report{OK: 1e6, Seconds: 1, P50: 1234.5, P99: 9876.5}}
	for line := range strings.Lines(got + tables(summarize([]sample{wide}, "envoy"), "Envoy")) {
		if n := utf8.RuneCountInString(strings.TrimSpace(line)); n > 100 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
}

func TestQuantile(t *testing.T) {
	var s []time.Duration
	for i := range 1000 {
		s = append(s, time.Duration(i+1)*time.Millisecond)
	}
	for q, want := range map[float64]float64{0: 1, 0.5: 500, 0.99: 990, 1: 1000} {
		if got := quantile(s, q); got != want {
			t.Errorf("q%v: %v, want %v", q, got, want)
		}
	}
	if quantile(nil, 0.5) != 0 || median(nil) != 0 || median([]float64{3, 1}) != 2 {
		t.Error("of nothing, or of two")
	}
}

// What ran at the same time is what a sample is compared with, and of telemetry
// each variant runs beside the sidecar without it.
func TestBeside(t *testing.T) {
	c := cell{protoHTTP1, "c16m1", fixed}
	of := func(round int, a, b float64) []sample {
		got := []sample{{Round: round, cell: c, Proxy: "1 %", CPU: b}, {Round: round, cell: c, Proxy: baseline, CPU: a}}
		beside(got, baseline)
		return got
	}
	rows := summarize(slices.Concat(of(1, 10, 11), of(1, 100, 120), of(2, 50, 65)), baseline)
	if rows[0].Proxy != "1 %" || rows[0].Ratio != 1.2 || rows[1].Ratio != 1 {
		t.Errorf("%+v", rows)
	}
	failed := []sample{{cell: c, Proxy: "1 %", CPU: 5}, {cell: c, Proxy: baseline, CPU: 1, Failure: "it did"}}
	beside(failed, baseline)
	if failed[0].Beside != 0 {
		t.Errorf("compared with a run that failed: %+v", failed[0])
	}

	names := func(o options, chosen []proxy) (out []string) {
		for _, g := range o.groups(chosen) {
			var all []string
			for _, p := range g {
				all = append(all, p.name)
			}
			out = append(out, strings.Join(all, "+"))
		}
		return out
	}
	if got, want := names(options{telemetry: true}, telemetryProxies()), []string{"trace 0+same", "trace 0+1 %", "trace 0+100 %", "trace 0+log"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if got := names(options{}, proxies()); slices.ContainsFunc(got, func(s string) bool { return strings.Contains(s, "+") }) || len(got) != len(proxies()) {
		t.Errorf("%q", got)
	}
}

func TestMissedCosts(t *testing.T) {
	s := []sample{run(1, fixed, baseline, 20, 1, ""), run(1, fixed, "1 %", 21, 1, ""), run(1, fixed, "100 %", 28, 1, ""), run(1, saturated, baseline, 20, 1, "")}
	rows := summarize(s, baseline)
	costs := func(only ...string) string { return strings.Join(missedCosts(theCells, rows, only), "\n") }
	want := `http1 c16m1 fixed: CPU per request with traces of 1 % is 1.05 of that without, at most 1.03 is wanted
http1 c16m1 saturated: there is no run of "1 %" beside one of "trace 0"`
	if got := costs(baseline, "1 %"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	want += `
http1 c16m1 saturated: there is no run of "100 %" beside one of "trace 0"`
	if got := costs(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
