package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A usage is the CPU time that a process has had, as the kernel tells it in
// three places.
type usage struct {
	// clock is the process's CPU-time clock (clock_getcpuclockid(3)): in
	// nanoseconds, of all threads, ended ones included. It is what counts.
	clock time.Duration
	// schedstat is the same for the threads that are there: the first field
	// of /proc/PID/task/*/schedstat.
	schedstat time.Duration
	// ticks is utime and stime of /proc/PID/stat: all threads, to 10 ms.
	ticks time.Duration
}

func usageOf(pid int) (usage, error) {
	clock, err := cpuClock(pid)
	if err != nil {
		return usage{}, err
	}
	tasks, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return usage{}, err
	}
	u := usage{clock: clock}
	for _, name := range tasks {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // the thread has ended
		}
		d, err := parseSchedstat(string(b))
		if err != nil {
			return usage{}, fmt.Errorf("%s: %w", name, err)
		}
		u.schedstat += d
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return usage{}, err
	}
	if u.ticks, err = parseStat(string(b)); err != nil {
		return usage{}, fmt.Errorf("/proc/%d/stat: %w", pid, err)
	}
	return u, nil
}

// since is what was used after earlier.
func (u usage) since(earlier usage) usage {
	return usage{u.clock - earlier.clock, u.schedstat - earlier.schedstat, u.ticks - earlier.ticks}
}

// check has the clocks agree. Ended threads are missing in schedstat, so that
// only more there than in the clock is wrong.
func (u usage) check() error {
	allow := 30*time.Millisecond + u.clock/33
	if d := u.clock - u.ticks; d.Abs() > allow || u.schedstat > u.clock+allow {
		return fmt.Errorf("CPU times disagree: clock %v, /proc/PID/stat %v, schedstat %v", u.clock, u.ticks, u.schedstat)
	}
	return nil
}

// cpuClock reads the CPU-time clock of a process: the clock's id holds the
// inverted pid and CPUCLOCK_SCHED, as clock_getcpuclockid(3) makes it.
func cpuClock(pid int) (time.Duration, error) {
	const cpuclockSched = 2
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|cpuclockSched), &ts); err != nil {
		return 0, fmt.Errorf("CPU-time clock of %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

func parseSchedstat(s string) (time.Duration, error) {
	first, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	ns, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("schedstat %q: want nanoseconds first", s)
	}
	return time.Duration(ns), nil
}

// parseStat reads fields 14 and 15 of proc_pid_stat(5), in ticks of 10 ms.
// The second, the name in parentheses, may hold anything.
func parseStat(s string) (time.Duration, error) {
	fields := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("stat %q: want 15 fields or more", s)
	}
	utime, err1 := strconv.ParseInt(fields[11], 10, 64)
	stime, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err1 != nil || err2 != nil {
		return 0, fmt.Errorf("stat %q: want numbers as utime and stime", s)
	}
	return time.Duration(utime+stime) * 10 * time.Millisecond, nil
}

// memoryOf is VmRSS and VmHWM (the peak of it) of /proc/PID/status, in bytes.
func memoryOf(pid int) (rss, peak int64, err error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	return parseStatus(b)
}

func parseStatus(b []byte) (rss, peak int64, err error) {
	for line := range bytes.Lines(b) {
		name, value, _ := strings.Cut(string(line), ":")
		into := map[string]*int64{"VmRSS": &rss, "VmHWM": &peak}[name]
		if into == nil {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("%s %q: want a number and kB", name, value)
		}
		*into = kib * 1024
	}
	if rss == 0 || peak == 0 {
		return 0, 0, fmt.Errorf("no VmRSS or no VmHWM: the process has ended")
	}
	return rss, peak, nil
}
