package main

import (
	"flag"
	"math"
	"os"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func run(round int, load, proxy string, cpu, p99 float64, failure string) sample {
	return sample{Round: round, Load: load, Proxy: proxy, CPU: cpu, RSS: 18e6, PeakRSS: 19e6, Failure: failure,
		report: report{OK: 40000, Seconds: 10, P50: p99 / 2, P99: p99}}
}

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
	rows := summarize(runs())
	if len(rows) != 6 {
		t.Fatalf("%d rows", len(rows))
	}
	r := rows[0]
	if r.Load != fixed || r.Proxy != "ours" || r.Runs != 3 || r.Failed != 0 || math.Abs(r.CPU-24.2) > 1e-9 || r.CPUMin != 22 || r.CPUMax != 66 ||
		math.Abs(r.OfEnvoy-22.0/61) > 1e-9 || math.Abs(r.P99OfEnvoy-5.0/6) > 1e-9 || r.RPS != 4000 {
		t.Errorf("%+v", r)
	}
	if r := rows[2]; r.Proxy != "nginx" || r.Runs != 2 || r.Failed != 1 || r.CPU != 24 {
		t.Errorf("%+v", r)
	}
	if m := missed(rows); len(m) != 0 {
		t.Errorf("missed: %v", m)
	}
}

func TestMissed(t *testing.T) {
	s := []sample{run(1, fixed, "ours", 31, 2, ""), run(1, fixed, "envoy", 61, 1, ""), run(1, saturated, "ours", 1, 1, "")}
	s[0].RSS = 21e6
	m := strings.Join(missed(summarize(s)), "\n")
	want := `fixed: CPU per request is 0.51 of Envoy's, at most 0.45 is wanted
fixed: p99 is 2.00 of Envoy's, at most 1.10 is wanted
fixed: RSS is 21.0 MB, at most 20 is wanted
saturated: there is no run of ours beside one of envoy`
	if m != want {
		t.Errorf("got\n%s\nwant\n%s", m, want)
	}
	if err := verdict(runs(), nil, false); err == nil || strings.Count(err.Error(), "\n") != 1 {
		t.Errorf("two failed runs: %v", err)
	}
}

var update = flag.Bool("update", false, "write testdata")

func TestTable(t *testing.T) {
	got := table(summarize(runs()))
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
	wide := sample{Load: saturated, Proxy: "haproxy", CPU: 1234.5, RSS: 1234.5e6, PeakRSS: 1234.5e6, report: report{OK: 1e6, Seconds: 1, P50: 1234.5, P99: 9876.5}}
	for line := range strings.Lines(got + table(summarize([]sample{wide}))) {
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
