package breaker

import (
	"testing"
	"time"
)

var (
	both = Config{ConsecutiveFailures: 5, ErrorRatio: 0.5, MinRequests: 20}
	runs = Config{ConsecutiveFailures: 5}
)

func BenchmarkSuccess(b *testing.B) { benchmarkOutcome(b, both, true) }

func BenchmarkSuccessWithoutRatioRule(b *testing.B) { benchmarkOutcome(b, runs, true) }

func BenchmarkFailure(b *testing.B) {
	benchmarkOutcome(b, Config{ErrorRatio: 0.5, MinRequests: 1 << 31}, false)
}

func benchmarkOutcome(b *testing.B, cfg Config, success bool) {
	br := New("x", cfg, nil)
	b.ReportAllocs()
	for b.Loop() {
		t, _ := br.Allow()
		br.Done(t, success)
	}
}

func BenchmarkSuccessParallel(b *testing.B) {
	br := New("x", both, nil)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			t, _ := br.Allow()
			br.Done(t, true)
		}
	})
}

func BenchmarkReady(b *testing.B) {
	br := New("x", both, nil)
	for b.Loop() {
		br.Ready()
	}
}

// What all of this saves: gobreaker told of every call.
func BenchmarkPlainGobreaker(b *testing.B) {
	g := plain(both)
	b.ReportAllocs()
	for b.Loop() {
		done, _ := g.Allow()
		done(nil)
	}
}

func BenchmarkBudget(b *testing.B) {
	start := time.Now()
	budget := NewBudget(0.2, 3, func() int64 { return int64(time.Since(start)) })
	b.Run("Deposit", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			budget.Deposit()
		}
	})
	b.Run("DepositAt", func(b *testing.B) {
		for b.Loop() {
			budget.DepositAt(1e9)
		}
	})
	b.Run("Withdraw", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			budget.Withdraw()
		}
	})
}
