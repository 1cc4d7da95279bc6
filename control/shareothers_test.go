package control

import (
	"testing"

	"github.com/meshd/meshd/telemetry"
)

// Two meshds with a client each divide one limit, and not two.
func TestMeshdsShareALimit(t *testing.T) {
	limit := sharedLimit{service: checkoutService, rate: 100, requests: 10}
	a, b := newRig(t, limit), newRig(t, limit)
	var saidA, saidB []byte
	a.shares.notice = func(v []byte) error { saidA = v; return nil }
	b.shares.notice = func(v []byte) error { saidB = v; return nil }
	a.shares.others = func() [][]byte { return [][]byte{saidB} }
	b.shares.others = func() [][]byte { return [][]byte{saidA, []byte("of a newer version")} }
	saidB = []byte("{}")
	a.comes("a", checkoutService)
	b.comes("b", checkoutService)
	a.demand["a"] = telemetry.Demand{Rate: 20, InFlight: 1}
	b.demand["b"] = telemetry.Demand{Rate: 500, InFlight: 100}
	for range 2 {
		a.shares.divide()
		b.shares.divide()
	}
	ra, rb := a.has("a"), b.has("b")
	if sum := ra.Rates[checkoutService] + rb.Rates[checkoutService]; sum > 100 || sum < 99 {
		t.Errorf("%v and %v calls a second of 100", ra.Rates, rb.Rates)
	}
	if ra.Rates[checkoutService] > 30 || ra.Rates[checkoutService] < 20 {
		t.Errorf("who wants 20 has %v", ra.Rates[checkoutService])
	}
	if sum := ra.Requests[checkoutService] + rb.Requests[checkoutService]; sum != 10 {
		t.Errorf("%v and %v calls at once of 10", ra.Requests, rb.Requests)
	}
	if a.shares.resource(shareKey("b")) != nil {
		t.Error("a meshd tells another's client")
	}
}
