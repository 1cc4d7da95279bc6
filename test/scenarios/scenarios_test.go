package main

import (
	"context"
	"errors"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// calls are n a second for so many seconds, which fail where failing says so.
func calls(perSecond, secs int, failing func(at time.Duration) bool) result {
	var all result
	for i := range perSecond * secs {
		at := time.Duration(i) * time.Second / time.Duration(perSecond)
		c := record{Due: at, Latency: time.Duration(i+1) * time.Millisecond}
		if failing(at) {
			c.Err = "it failed"
		}
		all = append(all, c)
	}
	return all
}

func never(time.Duration) bool { return false }

func TestQuantiles(t *testing.T) {
	all := calls(100, 10, never)
	for q, want := range map[float64]float64{0.5: 500, 0.99: 990, 0.999: 999, 1: 1000} {
		if got := all.quantile(q); got != want {
			t.Errorf("quantile %v is %v ms, want %v", q, got, want)
		}
	}
	if got := (result{}).quantile(0.5); !math.IsNaN(got) {
		t.Errorf("of nothing: %v", got)
	}
	if got := all.between(2*time.Second, 3*time.Second); len(got) != 100 || got[0].Due != 2*time.Second {
		t.Errorf("%d calls in a second, the first at %v", len(got), got[0].Due)
	}
}

func TestSuccess(t *testing.T) {
	all := calls(1000, 10, func(at time.Duration) bool { return at == time.Second })
	if got := all.success(); got != 99.99 || all.failed() != 1 {
		t.Errorf("%v %%, %d failed", got, all.failed())
	}
	if got := (result{}).success(); !math.IsNaN(got) {
		t.Errorf("of nothing: %v", got)
	}
	if got := all.causes(); got != "1 × it failed" {
		t.Error(got)
	}
}

func TestRecovered(t *testing.T) {
	for name, c := range map[string]struct {
		failing func(time.Duration) bool
		want    time.Duration
	}{
		"at once":      {never, 2 * time.Second},
		"after a time": {func(at time.Duration) bool { return at < 8*time.Second }, 5 * time.Second},
		"never":        {func(at time.Duration) bool { return at%time.Second < 100*time.Millisecond }, math.MaxInt64},
	} {
		if got := calls(100, 20, c.failing).recovered(5 * time.Second); got > c.want || got < c.want-100*time.Millisecond {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if got := (result{}).recovered(0); got != math.MaxInt64 {
		t.Errorf("of nothing: %v", got)
	}
}

func TestBars(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		column column
		v      float64
		misses bool
		shown  string
	}{
		{atMost("x", "%", 2), 2, false, "2.00 %"},
		{atMost("x", "%", 2), 2.01, true, "2.01 %"},
		{atMost("x", "%", 2), nan, true, "-"},
		{atLeast("x", "%", 99.99), 99.99, false, "99.990 %"},
		{atLeast("x", "%", 99.99), 99.989, true, "99.989 %"},
		{atMost("x", "s", 10), math.Inf(1), true, "never"},
		{figure("x", "ms"), nan, false, "-"},
		{figure("x", ""), 12345, false, "12345"},
		{atMost("x", "", 0), 0, false, "0"},
	} {
		if got := c.column.misses(c.v); got != c.misses {
			t.Errorf("%+v misses %v: %v", c.column, c.v, got)
		}
		if got := c.column.show(c.v); got != c.shown {
			t.Errorf("%v is shown as %q, want %q", c.v, got, c.shown)
		}
	}
}

func TestMissed(t *testing.T) {
	tab := table{Name: "some", Title: "something happens", Columns: []column{figure("calls", ""), atMost("extra", "%", 2)},
		Rows: []row{
			{Proxy: ours, Case: "b", Values: values(10, 3)},
			{Proxy: off, Case: "a", Values: values(10, 90), Note: "all is lost"},
			{Proxy: ours, Case: "a", Values: values(10, 1)},
			{Proxy: envoy, Case: "b", Values: values(10, 5)},
		}}
	tab.sort()
	got := tab.missed()
	if len(got) != 1 || got[0] != "some: b, extra is 3.00 %, wanted ≤ 2 %" {
		t.Errorf("missed: %q", got)
	}
	want := `some: Something happens.

| proxy    | calls | extra      |
| -------- | ----- | ---------- |
| *wanted* |       | ≤ 2 %      |
| b, ours  | 10    | **3.00 %** |
| b, envoy | 10    | 5.00 %     |
| a, off   | 10    | 90.00 %    |
| a, ours  | 10    | 1.00 %     |

a, off: all is lost
`
	if got := tab.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestInto(t *testing.T) {
	tab := table{Name: "some", Title: "it happens", Columns: []column{figure("calls", "")}, Rows: []row{{Proxy: ours, Values: values(10)}}}
	got, err := tab.into("# All\n\n### some\n\nold\n\n### other\n")
	want := "# All\n\n### some\n\nIt happens.\n\n| proxy    | calls |\n| -------- | ----- |\n| *wanted* |       |\n| ours     | 10    |\n\n### other\n"
	if err != nil || got != want {
		t.Errorf("%v, got\n%s\nwant\n%s", err, got, want)
	}
	if _, err := tab.into("# All\n"); err == nil || !strings.Contains(err.Error(), "### some") {
		t.Errorf("without its heading: %v", err)
	}
}

// TestWidth: with figures of a usual length, tables fit 100 columns.
func TestWidth(t *testing.T) {
	for _, sc := range scenarios() {
		r := row{Proxy: ours}
		for _, c := range sc.columns {
			v := 1.5
			if c.Unit == "ms" {
				v = 123.4
			}
			if c.Unit == "" {
				v = 12345
			}
			r.Values = append(r.Values, value(v))
		}
		tab := table{Name: sc.name, Title: sc.title, Columns: sc.columns, Rows: []row{r}}
		for line := range strings.Lines(tab.String()) {
			if n := utf8.RuneCountInString(strings.TrimSpace(line)); n > 100 {
				t.Errorf("%s: %d columns: %s", sc.name, n, line)
			}
		}
	}
}

func TestOptions(t *testing.T) {
	for args, want := range map[string]string{
		"--only stuck,nothing": `--only "nothing"`,
		"--proxies nginx":      `--proxies "nginx"`,
		"--seconds 1":          "--seconds 1",
		"stuck":                `argument "stuck"`,
	} {
		if _, err := parseOptions(strings.Fields(args), io.Discard); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", args, err)
		}
	}
	o, err := parseOptions([]string{"--only", "stuck", "--proxies", "ours", "--check"}, io.Discard)
	if err != nil || len(o.only) != 1 || len(o.proxies) != 1 || !o.check {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestPolicies(t *testing.T) {
	got := merged(object{"retry": object{"attempts": 2, "bufferBytes": 1}}, object{"retry": object{"attempts": 0}, "hold": object{}})
	if r := got["retry"].(object); r["attempts"] != 0 || r["bufferBytes"] != 1 || got["hold"] == nil {
		t.Errorf("%v", got)
	}
}

func TestScope(t *testing.T) {
	var order []string
	err := within("a run", "", func(s *scope) {
		s.Cleanup(func() { order = append(order, "outer") })
		s.within("a part", func(s *scope) {
			s.Cleanup(func() { order = append(order, "inner") })
			s.must(errors.New("it is broken"))
		})
		t.Error("it went on")
	})
	if err == nil || !strings.Contains(err.Error(), "a run, a part: it is broken") || strings.Join(order, " ") != "inner outer" {
		t.Errorf("%v, in order %v", err, order)
	}
}

// TestLoad makes calls of a real instance, by each kind.
func TestLoad(t *testing.T) {
	i := newInstance("checkout-0", behaviour{})
	srv := i.server()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(l) }()
	defer func() {
		srv.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	}()
	run := func(k kind) result {
		return load{Addr: l.Addr().String(), Host: "checkout", Kind: k, Rate: 100, For: 300 * time.Millisecond, Patience: 5 * time.Second}.run(context.Background())
	}
	for _, k := range []kind{get, post, unary, stream} {
		before := i.calls.Load()
		got := run(k)
		if len(got) < 10 || got.failed() > 0 || got[0].Instance != "checkout-0" || int(i.calls.Load()-before) != len(got) {
			t.Errorf("%v: %d calls, %d of them counted, failed: %q, first %+v", k, len(got), i.calls.Load()-before, got.causes(), got[0])
		}
	}
	for f, status := range map[fault]int{halfAnswer: 0, resets: 0, garbage: 0, well: 503} {
		i.behave(behaviour{Fault: f, Status: status})
		for _, k := range []kind{get, unary} {
			if got := run(k); len(got.ok()) > 0 {
				t.Errorf("%q %d: %d of %v succeeded", f, status, len(got.ok()), k)
			}
		}
	}
}
