package stats

import (
	"math"
	"testing"
	"time"
)

// Every code has its name in a series of its own, and one that gRPC does not
// know is UNKNOWN.
func TestGRPCOutcomes(t *testing.T) {
	r := NewRegistry()
	route := r.Client("s").Route("r")
	for code := range uint32(17) {
		for range code + 1 {
			route.Record(GRPC(code), ErrNone, time.Millisecond)
		}
	}
	for _, code := range []uint32{17, 999, math.MaxUint32} {
		route.Record(GRPC(code), ErrNone, time.Millisecond)
	}
	route.Record(GRPC(14), ErrDestinationUnavailable, time.Millisecond)
	got := map[string]uint64{}
	for _, s := range r.Snapshot().Client[0].Series {
		if s.Status != 200 || s.GRPC == "" {
			t.Errorf("%+v", s)
		}
		got[s.GRPC+" "+s.Error] += s.Count
	}
	for code := range uint32(17) {
		want := uint64(code + 1)
		if code == grpcUnknown {
			want += 3
		}
		if n := got[GRPCName(code)+" "]; n != want {
			t.Errorf("%d %s: %d calls, want %d", code, GRPCName(code), n, want)
		}
	}
	if got["UNAVAILABLE destination_unavailable"] != 1 || len(got) != 18 {
		t.Errorf("%v", got)
	}
}

func TestStatusIsOfGRPCOrNot(t *testing.T) {
	for _, status := range []int{0, 200, 599, 999, 1017, 1999, -1, math.MaxInt, math.MinInt} {
		if code, ok := GRPCCode(status); ok {
			t.Errorf("%d is gRPC's %d", status, code)
		}
	}
	if code, ok := GRPCCode(1016); !ok || code != 16 {
		t.Errorf("1016 is %d, %v", code, ok)
	}
}
