package process

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Binary is the path of one of the mesh's programs, as `make build` left it, or
// in the folder that the environment's MESHD_BIN names.
func Binary(t testing.TB, name string) string {
	t.Helper()
	if dir := os.Getenv("MESHD_BIN"); dir != "" {
		path := filepath.Join(dir, name)
		if _, err := os.Stat(path); err != nil {
			t.Fatalf("%v: MESHD_BIN says that it is there", err)
		}
		return path
	}
	root, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; root != "/"; root = filepath.Dir(root) {
		if _, err := os.Stat(filepath.Join(root, "go.mod")); err == nil {
			break
		}
	}
	path := filepath.Join(root, "bin", name)
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("%v: run `make build` first", err)
	}
	return path
}

// Await polls cond until it returns nil, and returns how long that took. The
// test fails with what cond said last if it does not in time.
func Await(t testing.TB, within time.Duration, cond func() error) time.Duration {
	t.Helper()
	from := time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond()
		took := time.Since(from)
		if err == nil {
			return took
		}
		if took > within {
			t.Fatalf("not within %v: %v", within, err)
		}
		<-tick.C
	}
}

// Signal sends to processes, which need not be children; each must be there.
func Signal(t testing.TB, sig syscall.Signal, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if pid <= 1 {
			t.Fatalf("no process to signal: pid %d", pid)
		}
		if err := syscall.Kill(pid, sig); err != nil {
			t.Fatalf("%v to %d: %v", sig, pid, err)
		}
	}
}

// Gone reports that a process runs no more, reaped or not.
func Gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	// The name, in parentheses, may hold any character.
	state := b[bytes.LastIndexByte(b, ')')+1:]
	return bytes.HasPrefix(state, []byte(" Z")) || bytes.HasPrefix(state, []byte(" X"))
}

// RSS is the resident memory of any process (VmRSS), in bytes.
func RSS(t testing.TB, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if kb, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.Fields(kb)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatalf("pid %d has no VmRSS: it has ended", pid)
	return 0
}

// Descriptors counts the open ones of any process.
func Descriptors(t testing.TB, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}
