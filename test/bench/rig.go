package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// A rig is what all runs share.
type rig struct {
	where
	dir        string // for files of the runs
	paths      map[string]string
	gomaxprocs int // of ours; 0: as Go decides
	profile    string
	warmUp     time.Duration // of the load before what is measured
	sink       *sink
	backends   *backendSet
	progress   io.Writer
	runs       int
}

// A sample is one run: one proxy in one cell.
type sample struct {
	Round int `json:"round"`
	cell
	Proxy   string  `json:"proxy"`
	CPU     float64 `json:"cpuMicros"`       // of the process's CPU-time clock, a request; of tcp, 10^6 bytes
	Sched   float64 `json:"schedstatMicros"` // the same by /proc/PID/task/*/schedstat
	RSS     int64   `json:"rssBytes"`
	PeakRSS int64   `json:"peakRSSBytes"`
	Spans   int64   `json:"spans"` // exported, those of the warm-up included
	report
	Failure string `json:"failure,omitempty"` // why the run does not count
}

// String is for the progress.
func (s sample) String() string {
	if s.Protocol == protoTCP {
		return fmt.Sprintf("%.2f GB/CPU s  %.2f GB/s  %s", 1000/s.CPU, float64(s.Bytes)/1e9/s.Seconds, s.Failure)
	}
	return fmt.Sprintf("%.1f µs/req  %.0f req/s  p99 %.2f ms  %s", s.CPU, float64(s.OK)/s.Seconds, s.P99, s.Failure)
}

// measure starts p, warms it up, measures it in c under l and stops it. Failed
// requests are in the sample; the error is about everything else.
func (r *rig) measure(ctx context.Context, p proxy, c cell, round int, l load) (sample, error) {
	r.runs++
	dir := fmt.Sprintf("%s/%d-%s", r.dir, r.runs, p.name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return sample{}, err
	}
	defer os.RemoveAll(dir)
	spans := r.sink.spans.Load()
	run, err := p.start(ctx, r, c.Protocol, dir)
	if err != nil {
		return sample{}, err
	}
	fmt.Fprintf(r.progress, "pid %d", run.process.pid)
	var profile string
	if run.admin != "" {
		fmt.Fprintf(r.progress, ", admin %s", run.admin)
		if r.profile != "" {
			profile = fmt.Sprintf("%s-%s-%s-%s-%d.pprof", r.profile, c.Protocol, c.Shape, c.Load, round)
		}
	}
	fmt.Fprint(r.progress, "  ")
	s, err := loaded(ctx, run, l, r.warmUp, profile)
	run.stop() // flushes spans
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w\n%s", p.name, err, &run.process.out)
	}
	s.Round, s.cell, s.Proxy, s.Spans = round, c, p.name, r.sink.spans.Load()-spans
	// Both OpenTelemetry exporters send every 5 s.
	if p.traces && c.Protocol != protoTCP && s.Spans == 0 && s.Failure == "" && l.Duration >= 7*time.Second {
		s.Failure = "no span arrived: it did not trace"
	}
	return s, nil
}

// loaded has l run against run, and its CPU profile written if there is a name
// for it.
func loaded(ctx context.Context, run *running, l load, warmUp time.Duration, profile string) (sample, error) {
	l.Addr, l.Host = run.listen, authority
	warm := l
	warm.Duration = warmUp
	cold, err := warm.child(ctx)
	if err != nil {
		return sample{}, err
	}
	profiled := profiling(ctx, run.admin, profile, l.Duration)
	before, err := usageOf(run.process.pid)
	if err != nil {
		return sample{}, err
	}
	rep, err := l.child(ctx)
	if err != nil {
		return sample{}, err
	}
	after, err := usageOf(run.process.pid)
	if err != nil {
		return sample{}, err
	}
	if err := <-profiled; err != nil {
		return sample{}, err
	}
	s := sample{report: rep}
	if s.RSS, s.PeakRSS, err = memoryOf(run.process.pid); err != nil {
		return sample{}, err
	}
	used := after.since(before)
	units := float64(rep.OK)
	if l.Protocol == protoTCP {
		units = float64(rep.Bytes) / 1e6
	}
	s.CPU = used.clock.Seconds() * 1e6 / max(units, 1)
	s.Sched = used.schedstat.Seconds() * 1e6 / max(units, 1)
	switch disagree := used.check(); {
	case rep.Failed > 0 || cold.Failed > 0:
		s.Failure = fmt.Sprintf("%d failed: %v; of the warm-up %d: %v", rep.Failed, rep.Causes, cold.Failed, cold.Causes)
	case rep.OK == 0:
		s.Failure = "no request was answered"
	case disagree != nil:
		s.Failure = disagree.Error()
	}
	return s, nil
}

// child runs l in a process of its own.
func (l load) child(ctx context.Context) (report, error) {
	self, err := os.Executable()
	if err != nil {
		return report{}, err
	}
	arg, err := json.Marshal(l)
	if err != nil {
		return report{}, err
	}
	cmd := exec.CommandContext(ctx, self, "load", string(arg))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	runtime.LockOSThread() // Pdeathsig comes when the thread that forked ends
	defer runtime.UnlockOSThread()
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return report{}, ctx.Err()
		}
		return report{}, fmt.Errorf("load: %w: %s", err, bytes.TrimSpace(errs.Bytes()))
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		return report{}, fmt.Errorf("load: %w", err)
	}
	return r, nil
}

// loadMain is the child's side of it.
func loadMain(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("load: want one argument, a load in JSON, not %q", args)
	}
	var l load
	if err := json.Unmarshal([]byte(args[0]), &l); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	rep, err := l.run()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(rep)
}
