package breaker

import (
	"testing"
)

func BenchmarkAdaptive(b *testing.B) {
	a := NewAdaptive(AdaptiveConfig{Initial: 1000})
	now := int64(1)
	b.ReportAllocs()
	for b.Loop() {
		now += 20_000
		a.Acquire()
		a.Release(now, 10e6)
	}
}

func BenchmarkGate(b *testing.B) {
	g := NewGate(NewAdaptive(AdaptiveConfig{Initial: 1000}), GateConfig{})
	now := int64(1)
	var w Waiter
	b.ReportAllocs()
	for b.Loop() {
		now += 20_000
		g.Enter(now, &w)
		g.Leave(now, 10e6)
	}
}

func BenchmarkGateParallel(b *testing.B) {
	g := NewGate(NewAdaptive(AdaptiveConfig{Min: 1000, Max: 1000}), GateConfig{})
	b.RunParallel(func(pb *testing.PB) {
		var w Waiter
		now := int64(1)
		for pb.Next() {
			now += 20_000
			g.Enter(now, &w)
			g.Leave(now, 10e6)
		}
	})
}

// A call that is shed, and one that waits and is served, with 100 waiting.
func BenchmarkGateOverloaded(b *testing.B) {
	g := fixedGate(1, GateConfig{MaxWait: 1e15})
	g.Enter(1, new(Waiter))
	waiters := make([]Waiter, 101)
	for i := range waiters[:100] {
		g.Enter(1, &waiters[i])
	}
	next := &waiters[100]
	b.ReportAllocs()
	for b.Loop() {
		g.Enter(1, next)
		next = g.Leave(1, 10e6)
	}
}

func BenchmarkBucketTake(b *testing.B) {
	k := NewBucket(1e6, 100)
	now := int64(1e9)
	b.ReportAllocs()
	for b.Loop() {
		now += 500
		k.Take(now)
	}
}

func BenchmarkQuantileRecord(b *testing.B) {
	h := NewQuantile(0.95)
	now := int64(1e9)
	b.ReportAllocs()
	for b.Loop() {
		now += 5000
		h.Record(now, 10e6+now&0xfffff)
	}
}

func BenchmarkParsePriority(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		ParsePriority("sheddable-plus")
	}
}
