package sidecar

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/meshd/meshd/internal/program"
	"github.com/meshd/meshd/internal/wait"
)

const (
	trimEvery = 2 * time.Second
	// gcPercent starts a collection at a quarter above what is live, not at
	// twice: a call allocates little, so that collections are rare at any size.
	gcPercent = 25
	// heapRoom is what may be allocated before that in any case. It is given back
	// every trimEvery: what is seldom allocated needs no other collection.
	heapRoom = 3 << 20
	// scavengeBelow is the size of heap up to which collecting and returning
	// it costs about a millisecond, every trimEvery.
	scavengeBelow = 16 << 20
)

// keepSmall keeps the resident set to what serving calls needs. GOGC, where it
// is set, has its way.
func keepSmall(ctx context.Context, getenv func(string) string) {
	now := 0
	grow := func(live uint64) {
		if n := growthFor(live); getenv("GOGC") == "" && (n-now > 5 || now-n > 5) {
			now = n
			debug.SetGCPercent(n)
		}
	}
	grow(heapRoom)
	exe := program.Find()
	exe.Trim() // start-up is over
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/gc/heap/live:bytes"}}
	for {
		if wait.For(ctx, trimEvery) != nil {
			return
		}
		metrics.Read(heap)
		if heap[0].Value.Uint64() < scavengeBelow {
			debug.FreeOSMemory()
		}
		grow(heap[1].Value.Uint64())
		exe.Trim()
	}
}

// growthFor is the percentage for a heap of so many live bytes.
func growthFor(live uint64) int { return int(max(gcPercent, 100*heapRoom/max(live, heapRoom/2))) }
