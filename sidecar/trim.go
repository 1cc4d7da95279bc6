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
	// twice: a call allocates nothing, so that collections are rare at any size.
	gcPercent = 25
	// scavengeBelow is the size of heap up to which collecting and returning
	// it costs about a millisecond, every trimEvery.
	scavengeBelow = 16 << 20
)

// keepSmall keeps the resident set to what serving calls needs. GOGC, where it
// is set, has its way.
func keepSmall(ctx context.Context, getenv func(string) string) {
	if getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	trim() // start-up is over
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	for {
		if wait.For(ctx, trimEvery) != nil {
			return
		}
		metrics.Read(heap)
		if heap[0].Value.Uint64() < scavengeBelow {
			debug.FreeOSMemory()
		}
		trim()
	}
}

// trim gives clean pages of the executable back: program text and read-only
// data that start-up, or something else rare, has touched. They are two thirds
// of a fresh process's resident set. The kernel maps those that are needed
// again from its cache; that takes about a hundred minor faults.
func trim() {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return // no /proc: nothing is lost
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for line := range bytes.Lines(maps) {
		from, to, ok := readOnlyMapping(string(bytes.TrimSpace(line)), exe)
		if ok {
			// Only advice: an error leaves things as they were.
			_, _, _ = unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED)
		}
	}
}

// readOnlyMapping reads a line of /proc/self/maps and reports whether it is a
// mapping of exe that is never written to (proc_pid_maps(5)).
func readOnlyMapping(line, exe string) (from, to uintptr, ok bool) {
	var perms, offset, dev, inode, path string
	n, err := fmt.Sscanf(line, "%x-%x %s %s %s %s %s", &from, &to, &perms, &offset, &dev, &inode, &path)
	return from, to, err == nil && n == 7 && path == exe && (perms == "r-xp" || perms == "r--p")
}
