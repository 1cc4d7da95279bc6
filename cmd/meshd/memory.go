package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// What meshd keeps lives for an hour, and little of what it makes is garbage:
// with Go's default the process would be twice as large as that for nothing.
// The collector runs when the heap has grown by what is left up to wantedHeap, a
// tenth at least and the default at most. GOGC and GOMEMLIMIT win over this.

const (
	wantedHeap  = 208 << 20
	leastGrowth = 10 // percent
	mostGrowth  = 100
	looksEvery  = 5 * time.Second
)

// growthFor is the percentage for a heap of so many live bytes.
func growthFor(live uint64) int {
	if live == 0 {
		return mostGrowth
	}
	return int(min(max(100*(wantedHeap-float64(live))/float64(live), leastGrowth), mostGrowth))
}

// keepSmall adapts the collector until ctx ends.
func keepSmall(ctx context.Context) {
	tick := time.NewTicker(looksEvery)
	defer tick.Stop()
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	now := mostGrowth
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		metrics.Read(sample)
		if n := growthFor(sample[0].Value.Uint64()); n-now >= 5 || now-n >= 5 {
			now = n
			debug.SetGCPercent(n)
		}
	}
}
