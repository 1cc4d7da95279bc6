package tracing

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestRateLimit(t *testing.T) {
	for _, c := range []struct {
		perSecond float64
		burst     int // at once, after a pause
		in10s     int // of what then comes in 10 s
	}{
		{0, 0, 0}, {1, 1, 10}, {0.1, 1, 1}, {50, 50, 500}, {2.5, 2, 25},
	} {
		now := int64(time.Hour)
		l := newRateLimit(c.perSecond, func() int64 { return now })
		count := func() (n int) {
			for l.pass() {
				n++
			}
			return n
		}
		if got := count(); got != c.burst {
			t.Errorf("%v a second: %d at once, want %d", c.perSecond, got, c.burst)
		}
		got := 0
		for range 10_000 {
			now += int64(time.Millisecond)
			got += count()
		}
		if got < c.in10s-1 || got > c.in10s+1 {
			t.Errorf("%v a second: %d in 10 s", c.perSecond, got)
		}
	}
}

// TestRateLimitTogether: many at once get no more than one alone.
func TestRateLimitTogether(t *testing.T) {
	l := newRateLimit(100, func() int64 { return int64(time.Hour) })
	var passed atomic.Int64
	var work sync.WaitGroup
	for range 8 {
		work.Go(func() {
			for range 1000 {
				if l.pass() {
					passed.Add(1)
				}
			}
		})
	}
	work.Wait()
	if n := passed.Load(); n != 100 {
		t.Errorf("%d passed", n)
	}
}

func TestRateLimitingSampler(t *testing.T) {
	s, err := readSettings(getenv(map[string]string{"OTEL_TRACES_SAMPLER": "parentbased_ratelimiting", "OTEL_TRACES_SAMPLER_ARG": "0.001"}))
	if err != nil {
		t.Fatal(err)
	}
	caller := SpanContext{TraceID: [16]byte{1}, SpanID: [8]byte{1}, Flags: FlagSampled}
	sampled := 0
	for range 100 {
		if !s.sampler.Start(caller, true, -1).Sampled() {
			t.Fatal("the caller's decision is not followed")
		}
		if s.sampler.Start(SpanContext{}, false, 0).Sampled() {
			t.Fatal("a route's ratio of 0 is not followed")
		}
		if s.sampler.Start(SpanContext{}, false, -1).Sampled() {
			sampled++
		}
	}
	if sampled != 1 {
		t.Errorf("%d new traces are sampled", sampled)
	}
	own, err := readSettings(getenv(map[string]string{"OTEL_TRACES_SAMPLER": "ratelimiting", "OTEL_TRACES_SAMPLER_ARG": "0"}))
	if err != nil || own.sampler.Start(caller, true, -1).Sampled() {
		t.Errorf("ratelimiting without a parent: %v", err)
	}
}
