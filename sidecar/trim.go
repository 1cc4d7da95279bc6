package sidecar

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"

	"golang.org/x/sys/unix"

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
	exe := executable()
	exe.trim() // start-up is over
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
		exe.trim()
	}
}

// growthFor is the percentage for a heap of so many live bytes.
func growthFor(live uint64) int { return int(max(gcPercent, 100*heapRoom/max(live, heapRoom/2))) }

// mappings are where a file is in the process's memory, from and to.
type mappings [][2]uintptr

// executable finds the program text and read-only data of the process, which
// stay where they are. Without /proc there is nothing, and nothing is lost.
func executable() (of mappings) {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return nil
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return nil
	}
	for line := range bytes.Lines(maps) {
		if from, to, ok := readOnlyMapping(string(bytes.TrimSpace(line)), exe); ok {
			of = append(of, [2]uintptr{from, to})
		}
	}
	return of
}

// trim gives clean pages back that start-up, or something else rare, has
// touched. They are two thirds of a fresh process's resident set. The kernel
// maps those that are needed again from its cache; that takes about a hundred
// minor faults.
func (of mappings) trim() {
	for _, m := range of {
		// Raw: see package swift. Only advice: an error leaves things as they were.
		_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, m[0], m[1]-m[0], unix.MADV_DONTNEED)
	}
}

// readOnlyMapping reads a line of /proc/self/maps and reports whether it is a
// mapping of exe that is never written to (proc_pid_maps(5)).
func readOnlyMapping(line, exe string) (from, to uintptr, ok bool) {
	var perms, offset, dev, inode, path string
	n, err := fmt.Sscanf(line, "%x-%x %s %s %s %s %s", &from, &to, &perms, &offset, &dev, &inode, &path)
	return from, to, err == nil && n == 7 && path == exe && (perms == "r-xp" || perms == "r--p")
}
