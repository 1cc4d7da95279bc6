package loadgen

import (
	"maps"
	"math"
	"sync/atomic"
	"time"
)

// A Snapshot is what happened since the beginning, or, by Since, in between.
type Snapshot struct {
	Time                      time.Time
	Sent, OK, Failed, Dropped int64 // Dropped are among Failed
	InFlight                  int64
	Causes                    map[string]int64 // of failures
	latency                   counts
}

// Snapshot is not exact to the request while the load runs.
func (g *Generator) Snapshot() Snapshot {
	s := Snapshot{
		Time: time.Now(), OK: g.ok.Load(), Failed: g.failed.Load(), Dropped: g.dropped.Load(),
		Sent: g.sent.Load(), InFlight: g.inFlight.Load(), latency: g.latency.load(),
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	s.Causes = maps.Clone(g.causes)
	return s
}

// Since is what happened after the earlier snapshot, of the same load.
func (s Snapshot) Since(earlier Snapshot) Snapshot {
	s.Sent -= earlier.Sent
	s.OK -= earlier.OK
	s.Failed -= earlier.Failed
	s.Dropped -= earlier.Dropped
	for i, n := range earlier.latency {
		s.latency[i] -= n
	}
	s.Causes = maps.Clone(s.Causes)
	for why, n := range earlier.Causes {
		if s.Causes[why] -= n; s.Causes[why] == 0 {
			delete(s.Causes, why)
		}
	}
	return s
}

// Quantile is the latency that the share q of the successful requests did not
// exceed, to 2.2 %; 0 without any.
func (s Snapshot) Quantile(q float64) time.Duration { return s.latency.quantile(q) }

// The histogram's buckets are exponential: 32 for each doubling, from 1 µs to
// 2^30 µs (18 minutes).
const (
	perDoubling = 32
	doublings   = 30
	buckets     = perDoubling * doublings
)

type counts [buckets]int64

type histogram [buckets]atomic.Int64

func (h *histogram) record(d time.Duration) {
	i := int(math.Log2(max(float64(d)/float64(time.Microsecond), 1)) * perDoubling)
	h[min(i, buckets-1)].Add(1)
}

func (h *histogram) load() (c counts) {
	for i := range h {
		c[i] = h[i].Load()
	}
	return c
}

func (c *counts) quantile(q float64) time.Duration {
	total := int64(0)
	for _, n := range c {
		total += n
	}
	rank, seen := int64(math.Ceil(q*float64(total))), int64(0)
	for i, n := range c {
		if seen += n; n > 0 && seen >= rank {
			return time.Duration(math.Exp2((float64(i)+0.5)/perDoubling) * float64(time.Microsecond))
		}
	}
	return 0
}
