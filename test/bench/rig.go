package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
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
	// Beside is the CPU of the reference that ran at the same time; 0: none did.
	Beside float64 `json:"cpuMicrosBeside,omitempty"`
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

// drift is by how much more the second of two proxies gets at a fixed rate: were
// the rates the same, whoever comes first in a burst would do so all the time.
const drift = 0.0025

// measure starts the proxies, warms them up, measures them in c under l, all at
// the same time, and stops them. Failed requests are in the samples; the error
// is about everything else.
func (r *rig) measure(ctx context.Context, of []proxy, c cell, round int, l load) ([]sample, error) {
	spans := r.sink.spans.Load()
	runs := make([]*running, 0, len(of))
	stop := func() {
		for _, run := range runs {
			run.stop() // flushes spans
		}
		runs = nil
	}
	defer func() { stop() }()
	for _, p := range of {
		r.runs++
		dir := fmt.Sprintf("%s/%d-%s", r.dir, r.runs, p.name)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		defer os.RemoveAll(dir)
		run, err := p.start(ctx, r, c.Protocol, dir)
		if err != nil {
			return nil, err
		}
		runs = append(runs, run)
		fmt.Fprintf(r.progress, "pid %d", run.process.pid)
		if run.admin != "" {
			fmt.Fprintf(r.progress, ", admin %s", run.admin)
		}
		fmt.Fprint(r.progress, "  ")
	}
	samples, errs := make([]sample, len(of)), make([]error, len(of))
	var all sync.WaitGroup
	for i, run := range runs {
		profile := ""
		if run.admin != "" && r.profile != "" && (len(of) == 1 || of[i].name != baseline) {
			profile = fmt.Sprintf("%s-%s-%s-%s-%d.pprof", r.profile, c.Protocol, c.Shape, c.Load, round)
		}
		l := l
		l.Rate *= 1 + drift*float64(i)
		all.Go(func() {
			if samples[i], errs[i] = loaded(ctx, run, l, r.warmUp, profile); errs[i] != nil {
				errs[i] = fmt.Errorf("%s: %w\n%s", of[i].name, errs[i], &run.process.out)
			}
		})
	}
	all.Wait()
	stop()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	for i, p := range of {
		s := &samples[i]
		s.Round, s.cell, s.Proxy = round, c, p.name
		if p.traces { // one of them at most does
			s.Spans = r.sink.spans.Load() - spans
		}
		// Both OpenTelemetry exporters send every 5 s.
		if p.traces && c.Protocol != protoTCP && s.Spans == 0 && s.Failure == "" && l.Duration >= 7*time.Second {
			s.Failure = "no span arrived: it did not trace"
		}
	}
	return samples, nil
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
