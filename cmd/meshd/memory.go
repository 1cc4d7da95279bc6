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
// Up to wantedMemory it may be; when it keeps more, the collector runs whenever
// a leastRoom-th has been added, and gives the rest back. GOGC and GOMEMLIMIT win
// over this. Pages of the program that are seldom used are given back, as the
// sidecar's are.

const (
	wantedMemory = 208 << 20 // bytes, all that Go's runtime has
	leastRoom    = 6
	looksEvery   = 5 * time.Second
	trimEvery    = 6 // looks
)

// limitFor is the limit for a heap of so many live bytes, and beside it so many
// that the runtime needs for itself or cannot use, in bytes.
func limitFor(live, beside uint64) int64 {
	return int64(max(wantedMemory, live+live/leastRoom+beside))
}

// keepSmall adapts the collector until ctx ends.
func keepSmall(ctx context.Context) {
	tick := time.NewTicker(looksEvery)
	defer tick.Stop()
	sample := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
	}
	exe := program.Find()
	for look := 0; ; look++ {
		if look%trimEvery == 1 { // start-up is over
			exe.Trim()
		}
		metrics.Read(sample)
		of := func(i int) uint64 { return sample[i].Value.Uint64() }
		debug.SetMemoryLimit(limitFor(of(0), of(1)-of(2)-of(3)-of(4)))
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}
