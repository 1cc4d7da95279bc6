package telemetry

import (
	"math"
	"testing"
	"time"
)

// What is an error of a gRPC server's is a failed call, though its HTTP status
// is 200; what is its caller's is not.
func TestGRPCFailures(t *testing.T) {
	w := newWorld(t, Config{})
	codes := map[string]int{ // calls a second
		"OK": 80, "NOT_FOUND": 2, "CANCELLED": 2, "RESOURCE_EXHAUSTED": 2, "PERMISSION_DENIED": 1, "ABORTED": 1,
		"UNKNOWN": 2, "DEADLINE_EXCEEDED": 2, "UNIMPLEMENTED": 2, "INTERNAL": 2, "UNAVAILABLE": 2, "DATA_LOSS": 2,
	}
	for i := 1; i <= 8; i++ {
		w.pass(time.Second)
		for code, n := range codes {
			w.report("a", histMetric(duration, w.start, w.now, 5, repeat(0.010, n*i), "meshd.service", "default/checkout:8080",
				"http.response.status_code", "200", "rpc.response.status_code", code))
		}
	}
	w.pass(time.Second)
	got := w.store.Snapshot(DefaultWindow).Services[0]
	if math.Abs(got.RPS-100) > 0.01 || math.Abs(got.Success-0.88) > 0.0001 {
		t.Errorf("%v calls a second, success %v", got.RPS, got.Success)
	}
}
