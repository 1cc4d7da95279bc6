package telemetry

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
)

// seen are the events of checkout as "KIND INSTANCE: TEXT".
func (w *world) seen() (out []string) {
	for _, e := range w.store.Events(checkout, Span{From: w.start, To: w.now.Add(time.Second)}) {
		if strings.ContainsAny(e.Text, "\n\r") || e.Text == "" {
			w.t.Errorf("not one line: %q", e.Text)
		}
		out = append(out, fmt.Sprintf("%s %s: %s", e.Kind, e.Instance, e.Text))
	}
	return out
}

// opened is a caller's report: the sum, and those of its endpoints whose
// breaker is open.
func (w *world) opened(caller, rule string, open ...int) {
	w.t.Helper()
	ms := []*otlp.Metric{gaugeMetric("meshd.breaker.open", w.now, int64(len(open)), "meshd.service", checkoutPort)}
	for i := range 8 {
		ms = append(ms, counterMetric("meshd.endpoint.requests", w.start, w.now, 1, endpoint(i)...))
	}
	for _, i := range open {
		ms = append(ms, gaugeMetric("meshd.endpoint.breaker", w.now, 1, append(endpoint(i), "meshd.breaker.rule", rule)...))
	}
	w.report(caller, ms...)
}

func TestBreakersNameTheInstance(t *testing.T) {
	w := newWorld(t, Config{})
	second := func(reports ...func()) {
		for _, r := range reports {
			r()
		}
		w.pass(time.Second)
	}
	a := func(open ...int) func() { return func() { w.opened("web-0", "consecutive-failures", open...) } }
	b := func(open ...int) func() { return func() { w.opened("web-1", "error-ratio", open...) } }
	c := func(open ...int) func() { return func() { w.opened("web-2", "", open...) } }
	second(a(), b(), c())
	second(a(1), b(), c())
	second(a(1), b(), c()) // nothing new
	second(a(1), b(1), c())
	second(a(1), b(1), c(1)) // three are not twice as many as two
	second(a(), b(1), c())
	second(a(), b(), c(2))
	second(a(), b(), c(2))
	for range 3 {
		second(a(), b(), c())
	}
	want := []string{
		"breaker-open checkout-1: checkout-1: web-0's circuit breaker is open: consecutive-failures",
		"breaker-open checkout-1: checkout-1: circuit breakers of 2 callers are open, web-1's among them: error-ratio",
		"breaker-open checkout-2: checkout-2: web-2's circuit breaker is open",
		"breaker-closed checkout-1: checkout-1: all callers' circuit breakers are closed",
		"breaker-closed checkout-2: checkout-2: all callers' circuit breakers are closed",
	}
	if got := w.seen(); !slices.Equal(got, want) {
		t.Errorf("\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestEjectionsNameTheInstance(t *testing.T) {
	w := newWorld(t, Config{})
	tell := func(caller string, counts map[int]float64, rule string) {
		sum := 0.0
		var ms []*otlp.Metric
		for i, n := range counts {
			sum += n
			ms = append(ms, counterMetric("meshd.endpoint.ejections", w.start, w.now, n, append(endpoint(i), "meshd.health.rule", rule)...))
		}
		w.report(caller, append(ms, gaugeMetric("http.client.active_requests", w.now, 0, "meshd.service", checkoutPort),
			counterMetric("meshd.health.ejections", w.start, w.now, sum, "meshd.service", checkoutPort, "meshd.health.rule", rule))...)
	}
	w.now = w.now.Add(time.Minute) // they are not young: what they tell first was before
	tell("web-0", map[int]float64{3: 7}, "latency")
	tell("web-1", nil, "latency")
	w.pass(time.Second)
	tell("web-0", map[int]float64{3: 8}, "latency")
	tell("web-1", nil, "latency")
	w.pass(time.Second)
	tell("web-0", map[int]float64{3: 8, 4: 1}, "latency")
	tell("web-1", map[int]float64{4: 1}, "latency")
	w.pass(time.Second)
	tell("web-1", map[int]float64{4: 1, 5: 1}, "failure-percentage")
	w.pass(time.Second)
	want := []string{
		"ejected checkout-3: checkout-3 is ejected by web-0: latency",
		"ejected checkout-4: checkout-4 is ejected by 2 callers, web-0 among them: latency",
		"ejected checkout-4: checkout-4 is ejected by web-1: failure-percentage",
		"ejected checkout-5: checkout-5 is ejected by web-1: failure-percentage",
	}
	if got := w.seen(); !slices.Equal(got, want) {
		t.Errorf("\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	// What has made way for others is new when it comes back.
	for range 3 * hotSlots {
		tell("web-1", nil, "latency")
		w.pass(time.Second)
	}
	tell("web-1", map[int]float64{3: 1}, "latency")
	w.pass(time.Second)
	if got := w.seen(); len(got) != 5 || !strings.HasPrefix(got[4], "ejected checkout-3") {
		t.Errorf("of one that comes back: %q", got)
	}
}

// A service that fails as a whole is one event a second and kind, and its
// instances do not push out what else reports let see.
func TestManyInstancesShareAnEvent(t *testing.T) {
	w := newWorld(t, Config{})
	for range 100 {
		for _, open := range [][]int{{0, 1, 2, 3, 4, 5, 6}, nil, nil} {
			w.opened("web-0", "error-ratio", open...)
			w.pass(time.Second)
		}
	}
	got := w.seen()
	if len(got) != 200 || got[0] != "breaker-open : circuit breakers have opened to 7 instances: checkout-0, checkout-1, checkout-2, checkout-3 and 3 more" ||
		got[1] != "breaker-closed : circuit breakers have closed to 7 instances: checkout-0, checkout-1, checkout-2, checkout-3 and 3 more" {
		t.Errorf("%d events, the first %q", len(got), got[:min(2, len(got))])
	}
}

// An instance that leaves with an open breaker is not one whose breaker closes.
func TestBreakerOfOneThatLeft(t *testing.T) {
	w := newWorld(t, Config{})
	for range 3 {
		w.opened("web-0", "error-ratio", 1)
		w.pass(time.Second)
	}
	for range 6 {
		w.report("web-0", gaugeMetric("meshd.breaker.open", w.now, 0, "meshd.service", checkoutPort))
		w.pass(time.Second)
	}
	if got := w.seen(); len(got) != 2 || got[1] != "breaker-closed checkout-1: checkout-1 has left, and circuit breakers with it" {
		t.Errorf("%q", got)
	}
}
