package sidecar

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"time"

	"golang.org/x/sys/unix"
)

// trimAfter is when start-up is over: connected, and the first calls made.
const trimAfter = 2 * time.Second

// trim gives memory back once start-up is over. Most of a fresh process's
// resident set is program text and read-only data that initialisation touched
// and nothing needs again: clean pages of the executable, which the kernel
// reads again, from its cache, if they are needed after all. With the heap that
// start-up left, that is half of a sidecar's resident set.
func trim(ctx context.Context) {
	sleep(ctx, trimAfter)
	if ctx.Err() != nil {
		return
	}
	debug.FreeOSMemory()
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
