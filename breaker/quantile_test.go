package breaker

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	for _, svc := range services {
		h := NewQuantile(0.95)
		rng := rand.New(rand.NewPCG(2, 3))
		v := make([]float64, 20000)
		now := int64(0)
		for i := range v {
			now += ms
			v[i] = svc.draw(rng)
			h.Record(now, int64(v[i]*1e9))
		}
		if got, want := float64(h.Value())/1e9, quantile(v, 0.95); math.Abs(got-want) > 0.15*want {
			t.Errorf("%s: p95 %.2f ms, want %.2f ms", svc.name, got*1e3, want*1e3)
		}
	}
}

func TestQuantileFollows(t *testing.T) {
	h := NewQuantile(0.95)
	now := int64(0)
	record := func(n int, latency int64) {
		for range n {
			now += ms
			h.Record(now, latency)
		}
	}
	record(31, 10*ms)
	if h.Value() != 0 {
		t.Fatal("a value from 31 samples")
	}
	record(5000, 10*ms)
	if v := h.Value(); v < 95*ms/10 || v > 11*ms {
		t.Fatalf("%v of 10 ms", time.Duration(v))
	}
	record(256, 100*ms) // more than one in twenty of the last thousand
	if v := h.Value(); v < 90*ms {
		t.Fatalf("%v soon after 100 ms", time.Duration(v))
	}
	record(5000, 10*ms)
	if v := h.Value(); v > 11*ms {
		t.Fatalf("%v long after 100 ms", time.Duration(v))
	}
}

// At low load the value is no older than some seconds.
func TestQuantileAtLowLoad(t *testing.T) {
	h := NewQuantile(0.5)
	now := int64(0)
	for range 60 {
		now += int64(200 * time.Millisecond)
		h.Record(now, 20*ms)
	}
	if v := h.Value(); v < 19*ms || v > 22*ms {
		t.Fatalf("%v of 20 ms", time.Duration(v))
	}
}

func TestQuantileBuckets(t *testing.T) {
	for _, ns := range []int64{-5, 0, 1, 1023, 1024, 1025, 1e6, 12345678, 1e9, 137e9, 138e9, math.MaxInt64} {
		i := quantileBucket(ns)
		low, width := quantileBounds(i)
		if i < 0 || i >= quantileBuckets || ns >= 1024 && ns < 1<<38 && (ns < low || ns >= low+width) {
			t.Errorf("%d ns is in bucket %d: %d and %d more", ns, i, low, width)
		}
	}
}
