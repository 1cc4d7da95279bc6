package main

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/meshd/meshd/internal/program"
)

// What meshd keeps lives for an hour, and little of what it makes is garbage:
// with Go's default the process would be twice as large as that for nothing.
// The collector runs when the heap has grown by what is left up to wantedHeap, a
// tenth at least and the default at most. GOGC and GOMEMLIMIT win over this.
// Pages of the program that are seldom used are given back, as the sidecar's are.

const (
	wantedHeap  = 208 << 20
	leastGrowth = 10 // percent
	mostGrowth  = 100
	looksEvery  = 5 * time.Second
	trimEvery   = 6 // looks
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
	exe := program.Find()
	for looks := 0; ; looks++ {
		if looks%trimEvery == 1 { // start-up is over
			exe.Trim()
		}
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
