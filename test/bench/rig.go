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
	"strconv"
	"syscall"
	"time"
)

// warmUp is how long each proxy has the load before it is measured.
const warmUp = time.Second

// A rig is what all runs share.
type rig struct {
	root       string // of the repository
	dir        string // for files of the runs
	paths      map[string]string
	gomaxprocs int // of ours; 0: as Go decides
	sink       *sink
	backends   []string
	progress   io.Writer
	runs       int
}

// A sample is one run: one proxy under one load.
type sample struct {
	Round   int     `json:"round"`
	Load    string  `json:"load"`
	Proxy   string  `json:"proxy"`
	CPU     float64 `json:"cpuMicrosPerRequest"` // of the process's CPU-time clock
	Sched   float64 `json:"schedstatMicrosPerRequest"`
	RSS     int64   `json:"rssBytes"`
	PeakRSS int64   `json:"peakRSSBytes"`
	Spans   int64   `json:"spans"` // exported, those of the warm-up included
	report
	Failure string `json:"failure,omitempty"` // why the run does not count
}

// measure starts p, warms it up, measures it under l and stops it. Failed
// requests are in the sample; the error is about everything else.
func (r *rig) measure(ctx context.Context, p proxy, l load) (sample, error) {
	r.runs++
	dir := fmt.Sprintf("%s/%d-%s", r.dir, r.runs, p.name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return sample{}, err
	}
	defer os.RemoveAll(dir)
	spans := r.sink.spans.Load()
	run, err := p.start(ctx, r, dir)
	if err != nil {
		return sample{}, err
	}
	fmt.Fprintf(r.progress, "pid %d%s  ", run.process.pid, run.admin)
	s, err := loaded(ctx, run, l)
	run.stop() // flushes spans
	if err != nil {
		return sample{}, fmt.Errorf("%s: %w\n%s", p.name, err, &run.process.out)
	}
	s.Proxy, s.Spans = p.name, r.sink.spans.Load()-spans
	// Both OpenTelemetry exporters send every 5 s.
	if p.traces && s.Spans == 0 && s.Failure == "" && l.Duration >= 7*time.Second {
		s.Failure = "no span arrived: it did not trace"
	}
	return s, nil
}

func loaded(ctx context.Context, run *running, l load) (sample, error) {
	l.Addr, l.Host = run.listen, authority
	warm := l
	warm.Duration = warmUp
	cold, err := warm.child(ctx)
	if err != nil {
		return sample{}, err
	}
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
	s := sample{report: rep}
	if s.RSS, s.PeakRSS, err = memoryOf(run.process.pid); err != nil {
		return sample{}, err
	}
	used := after.since(before)
	s.CPU = used.clock.Seconds() * 1e6 / float64(max(rep.OK, 1))
	s.Sched = used.schedstat.Seconds() * 1e6 / float64(max(rep.OK, 1))
	switch disagree := used.check(); {
	case rep.Failed > 0 || cold.Failed > 0:
		s.Failure = fmt.Sprintf("%d requests failed: %v; of the warm-up %d: %v", rep.Failed, rep.Causes, cold.Failed, cold.Causes)
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
	cmd := exec.CommandContext(ctx, self, "load", l.Addr, l.Host,
		strconv.FormatFloat(l.Rate, 'g', -1, 64), strconv.Itoa(l.Burst), strconv.Itoa(l.Connections), l.Duration.String())
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
	if len(args) != 6 {
		return fmt.Errorf("load: want ADDR HOST RATE BURST CONNECTIONS DURATION, not %q", args)
	}
	l := load{Addr: args[0], Host: args[1]}
	var errs [4]error
	l.Rate, errs[0] = strconv.ParseFloat(args[2], 64)
	l.Burst, errs[1] = strconv.Atoi(args[3])
	l.Connections, errs[2] = strconv.Atoi(args[4])
	l.Duration, errs[3] = time.ParseDuration(args[5])
	for _, err := range errs {
		if err != nil {
			return fmt.Errorf("load: %w", err)
		}
	}
	rep, err := l.run()
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(rep)
}
