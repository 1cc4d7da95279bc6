package telemetry

import (
	"math"
	"testing"
	"time"

	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
)

// A demander is one sidecar that reports each second on one service.
type demander struct {
	*world
	instance string
	ended    map[string]uint64  // by error.type
	seconds  map[string]float64 // by error.type
	active   int64
}

const limitedService = "default/checkout:8080"

func (w *world) demander(instance string) *demander {
	return &demander{world: w, instance: instance, ended: map[string]uint64{}, seconds: map[string]float64{}}
}

func (d *demander) ends(n uint64, each time.Duration, errorType string) {
	d.ended[errorType] += n
	d.seconds[errorType] += float64(n) * each.Seconds()
}

func (d *demander) report() {
	d.t.Helper()
	metrics := []*otlp.Metric{gaugeMetric("http.client.active_requests", d.now, d.active, "meshd.service", limitedService)}
	for errorType, n := range d.ended {
		m := histMetric("http.client.request.duration", d.start, d.now, 5, nil, "meshd.service", limitedService, "error.type", errorType)
		dp := m.GetExponentialHistogram().DataPoints[0]
		sum := d.seconds[errorType]
		dp.Sum, dp.ZeroCount = &sum, n
		metrics = append(metrics, m)
	}
	d.world.report(d.instance, metrics...)
}

func near(got, want float64) bool { return math.Abs(got-want) <= 0.03*want+1e-9 }

func TestDemands(t *testing.T) {
	w := newWorld(t, Config{})
	w.store.Follow([]string{limitedService})
	d := w.demander("front-0")
	id := "front.default/front-0"
	second := func(n int, f func()) {
		for range n {
			f()
			d.report()
			w.pass(time.Second)
		}
	}
	check := func(what string, rate, inFlight float64) {
		t.Helper()
		got, ok := w.store.Demands(limitedService)[id]
		if !ok || !near(got.Rate, rate) || !near(got.InFlight, inFlight) {
			t.Errorf("%s: %+v (there: %v), want %v calls a second and %v at once", what, got, ok, rate, inFlight)
		}
	}
	second(1, func() { d.ends(100, 20*time.Millisecond, "") })
	if got := w.store.Demands(limitedService); len(got) != 0 {
		t.Errorf("after one report: %v", got)
	}
	second(2, func() { d.ends(100, 20*time.Millisecond, "") })
	check("short calls", 100, 2)

	second(8, func() { d.ends(300, 20*time.Millisecond, "") })
	check("more of them", 300, 6)

	// Two thirds are refused: what is wanted stays.
	second(8, func() { d.ends(100, 20*time.Millisecond, ""); d.ends(200, 0, refusedByAtOnce) })
	check("refused by the limit of calls at once", 300, 6)
	second(30, func() { d.ends(100, 20*time.Millisecond, ""); d.ends(200, 0, refusedByRate) })
	check("refused by the limit of the rate", 300, 2)

	// One long call: it is one, also when it ends.
	d.active = 1
	second(40, func() {})
	if got := w.store.Demands(limitedService)[id]; got.Rate > 1 || got.InFlight > 1.1 {
		t.Errorf("one long call: %+v", got)
	}
	d.active = 0
	second(1, func() { d.ends(1, 40*time.Second, "") })
	if got := w.store.Demands(limitedService)[id]; got.InFlight > 1.1 {
		t.Errorf("one long call has ended: %+v", got)
	}

	w.pass(staleAfter)
	if got := w.store.Demands(limitedService); len(got) != 0 {
		t.Errorf("long silent: %v", got)
	}
	w.store.Follow(nil)
	second(3, func() { d.ends(10, 0, "") })
	if got := w.store.Demands(limitedService); len(got) != 0 {
		t.Errorf("not followed: %v", got)
	}
}

// Sums that no duration has change nothing.
func TestDemandOfNonsense(t *testing.T) {
	w := newWorld(t, Config{})
	w.store.Follow([]string{limitedService})
	d := w.demander("front-0")
	for _, sum := range []float64{1, math.NaN(), math.Inf(1), -5, 1e300, 0} {
		d.ended[""]++
		d.seconds[""] = sum
		d.report()
		w.pass(time.Second)
	}
	for _, got := range w.store.Demands(limitedService) {
		if !(got.InFlight >= 0 && got.InFlight <= 2) || !(got.Rate >= 0 && got.Rate <= 2) {
			t.Errorf("%+v", got)
		}
	}
}
