package telemetry

import (
	"math"
	"testing"
	"time"
)

// attempts is what callers have sent an instance since a time.
func (w *world) attempts(instance string, since time.Time) (n float64) {
	in := w.store.services[checkout].instances[instance]
	in.each(slotOf(since), w.store.cur, w.store.cur, func(_ int64, f *instFigures) { n += float64(f.attempts) })
	return math.Round(n)
}

// A sidecar tells of attempts when there are more; what is new is of the time
// since its last report, and not since it last told of them.
func TestCountsThatDidNotGrow(t *testing.T) {
	w := newWorld(t, Config{})
	tell := func(start time.Time, n int) {
		ms := counterMetric("meshd.client.call.time", start, w.now, 0, "meshd.service", checkoutPort, "meshd.call.part", "held")
		if n < 0 {
			w.report("web-0", ms)
		} else {
			w.report("web-0", ms, counterMetric("meshd.endpoint.requests", start, w.now, float64(n), endpoint(0)...))
		}
		w.pass(time.Second)
	}
	tell(w.start, 10)
	for range 8 {
		tell(w.start, -1)
	}
	before := w.now.Add(-time.Second)
	tell(w.start, 50)
	w.pass(2 * time.Second)
	if late, all := w.attempts("checkout-0", before), w.attempts("checkout-0", w.start); late != 40 || all != 50 {
		t.Errorf("%v attempts in the last seconds and %v in all, want 40 and 50", late, all)
	}
}

// Who met meshd late, since that was started again, has told of everything in
// some seconds; until then a count that comes first was there before.
func TestCountsOfALateReporter(t *testing.T) {
	w := newWorld(t, Config{})
	w.now = w.now.Add(time.Hour)
	began := w.now
	old := w.start
	tell := func(counts ...float64) {
		w.report("web-0", counterMetric("meshd.client.call.time", old, w.now, 0, "meshd.service", checkoutPort, "meshd.call.part", "held"))
		for i, n := range counts {
			if n > 0 {
				w.report("web-0", counterMetric("meshd.endpoint.requests", old, w.now, n, endpoint(i)...))
			}
		}
		w.pass(time.Second)
	}
	tell()
	tell(1000) // in its turn
	tell(1003)
	for range int(tellsAll/time.Second) + 1 {
		tell()
	}
	if n := w.attempts("checkout-0", began); n != 3 {
		t.Errorf("%v attempts, want 3", n)
	}
	tell(0, 7) // an endpoint that is new
	w.pass(2 * time.Second)
	if n := w.attempts("checkout-1", began); n != 7 {
		t.Errorf("%v attempts at a new endpoint, want 7", n)
	}
}
