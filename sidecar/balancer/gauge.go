package balancer

import (
	"math/bits"
	"slices"
	"sync"
	"time"
)

// A Gauge is what a server knows of itself: what it answers to a Prober. How
// long it takes depends on how many calls it has, so it remembers the latency
// of late by that number, and tells the one that a further call would meet
// (Prequal, section 4). It may be used by any number of goroutines.
type Gauge struct {
	mu       sync.Mutex
	inflight int64
	seen     [gaugeBuckets]recent
}

const (
	gaugeBuckets = 64
	gaugeDepth   = 9                // latencies kept of a bucket
	gaugeLife    = 10 * time.Second // of one
)

// recent is the last few latencies of calls that met about as many others.
type recent struct {
	latency [gaugeDepth]time.Duration
	at      [gaugeDepth]int64
	next    int
	n       int
}

// bucketOf is exact up to 8 calls, and eight to a doubling above.
func bucketOf(inflight int64) int {
	n := uint64(max(inflight, 0))
	if n < 8 {
		return int(n)
	}
	exponent := bits.Len64(n) - 4 // n>>exponent is 8 to 15
	return min(exponent*8+int(n>>exponent), gaugeBuckets-1)
}

// Begin counts a call in and says how many it meets: End is to be told.
func (g *Gauge) Begin() (met int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	met = g.inflight
	g.inflight++
	return met
}

// End counts a call out, latency after it met so many.
func (g *Gauge) End(met int64, latency time.Duration, now int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inflight--
	r := &g.seen[bucketOf(met)]
	r.latency[r.next], r.at[r.next] = latency, now
	r.next = (r.next + 1) % gaugeDepth
	r.n = min(r.n+1, gaugeDepth)
}

// Cancel counts a call out whose latency says nothing.
func (g *Gauge) Cancel() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.inflight--
}

// Read is the calls in flight, and the median of the latencies of late at
// about that number; at the nearest number, where there are none; 0 where there
// are none at all.
func (g *Gauge) Read(now int64) (inflight int64, latency time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := bucketOf(g.inflight)
	for off := range gaugeBuckets {
		for _, k := range [...]int{b - off, b + off} {
			if k < 0 || k >= gaugeBuckets {
				continue
			}
			if l, ok := g.seen[k].median(now); ok {
				return g.inflight, l
			}
		}
	}
	return g.inflight, 0
}

func (r *recent) median(now int64) (time.Duration, bool) {
	var live [gaugeDepth]time.Duration
	n := 0
	for k := range r.n {
		if now-r.at[k] < int64(gaugeLife) {
			live[n] = r.latency[k]
			n++
		}
	}
	if n == 0 {
		return 0, false
	}
	slices.Sort(live[:n])
	return live[n/2], true
}
