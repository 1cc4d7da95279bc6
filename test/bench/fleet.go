package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/meshd/meshd/ctl/api"
)

// What meshd costs while a fleet of sidecars reports to it.

// The bars of docs/design/010, which are of fleetSize sidecars.
const (
	fleetSize    = 500
	maxFleetCPU  = 0.3   // cores, of the store
	maxFleetRSS  = 300e6 // bytes
	fleetSettles = 5 * time.Second
)

// A fleetRun is what was measured. Sizes are bytes, CPU is cores.
type fleetRun struct {
	Sidecars  int     `json:"sidecars"`
	Seconds   float64 `json:"seconds"`
	Idle      state   `json:"idle"`
	Loaded    state   `json:"loaded"`
	Store     float64 `json:"storeBusy"` // cores of Loaded.CPU, at most: what meshd says
	Generator float64 `json:"generatorCPU"`
	Metrics   sent    `json:"metrics"`
	Spans     sent    `json:"spans"`
	Hour      *hour   `json:"hour,omitempty"`
}

// state is meshd's, over a stretch or at its end.
type state struct {
	CPU  float64 `json:"cpu"`
	RSS  int64   `json:"rssBytes"`
	Peak int64   `json:"peakRSSBytes"` // since its start
}

// sent is what became of exports.
type sent struct {
	Taken    int64   `json:"taken"`
	Lost     int64   `json:"lost"`    // failed, or not sent since the one before was still under way
	Refused  int64   `json:"refused"` // in part
	Bytes    int64   `json:"bytes"`
	Slowest  float64 `json:"slowestMs"`
	FirstWhy string  `json:"firstWhy,omitempty"`
}

// hour is what telemetry's TestFleet finds of the store alone, without a wire,
// after an hour of such reports.
type hour struct {
	CPU  float64 `json:"cpu"`
	Heap int64   `json:"heapBytes"`
}

func (s *exports) sent() sent {
	out := sent{
		Taken: s.taken.Load(), Lost: s.lost.Load(), Refused: s.refused.Load(), Bytes: s.bytes.Load(),
		Slowest: float64(s.slowest.Load()) / 1e6,
	}
	if why := s.cause.Load(); why != nil {
		out.FirstWhy = *why
	}
	return out
}

// fleetMain measures, prints and judges; root is the repository, dir is for files.
func fleetMain(ctx context.Context, o options, root, dir string, stdout, stderr io.Writer) error {
	if busy := busyNow(); busy != "" {
		fmt.Fprintln(stderr, busy)
	}
	run, err := measureFleet(ctx, o, dir, stderr)
	if err != nil {
		return err
	}
	if o.sidecars == fleetSize { // as many as there are in it
		fmt.Fprintln(stderr, "go test ./telemetry -run TestFleet")
		if run.Hour, err = measureHour(ctx, root); err != nil {
			return err
		}
	}
	if o.json {
		err = json.NewEncoder(stdout).Encode(run)
	} else {
		_, err = io.WriteString(stdout, run.table())
	}
	if o.check {
		err = errors.Join(err, run.missed())
	}
	return err
}

// measureFleet starts meshd, and a fleet that reports to it.
func measureFleet(ctx context.Context, o options, dir string, progress io.Writer) (*fleetRun, error) {
	addrs, err := freeAddrs(2)
	if err != nil {
		return nil, err
	}
	conf := filepath.Join(dir, "mesh.yaml")
	endpoints := (o.sidecars + fleetServices - 1) / fleetServices
	if err := os.WriteFile(conf, fleetObjects(endpoints), 0o600); err != nil {
		return nil, err
	}
	meshd, err := startProcess("meshd", nil, filepath.Join(o.bin, "meshd"),
		"--config", conf, "--xds-addr", addrs[0], "--http-addr", addrs[1], "--data-dir", filepath.Join(dir, "meshd"))
	if err != nil {
		return nil, err
	}
	defer meshd.stop()
	if err := meshd.ready(ctx, "http://"+addrs[1]+"/readyz", addrs[1]); err != nil {
		return nil, err
	}
	settles := min(fleetSettles, o.fleetDuration)
	fmt.Fprintf(progress, "meshd, pid %d: idle for %v, then %d sidecars for %v\n", meshd.pid, settles, o.sidecars, settles+o.fleetDuration)
	run := &fleetRun{Sidecars: o.sidecars, Seconds: o.fleetDuration.Seconds()}
	if run.Idle, _, err = watch(ctx, meshd, settles); err != nil {
		return nil, err
	}
	m, err := startModel(endpoints)
	if err != nil {
		return nil, err
	}
	defer m.close()
	f, err := startFleet(addrs[0], o.sidecars, m)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if _, _, err = watch(ctx, meshd, settles); err != nil { // all is new to it
		return nil, err
	}
	f.metrics.reset()
	f.spans.reset()
	busy, begin, err1 := storeBusy(ctx, addrs[1])
	if run.Loaded, run.Generator, err = watch(ctx, meshd, o.fleetDuration); err != nil {
		return nil, err
	}
	after, end, err2 := storeBusy(ctx, addrs[1])
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	run.Store = (after - busy) / end.Sub(begin).Seconds()
	run.Metrics, run.Spans = f.metrics.sent(), f.spans.sent()
	return run, nil
}

// storeBusy is for how many seconds meshd's store has worked by now.
func storeBusy(ctx context.Context, addr string) (seconds float64, now time.Time, err error) {
	client, err := api.NewClient("http://" + addr)
	if err != nil {
		return 0, now, err
	}
	defer client.Close()
	status, err := client.Status(ctx)
	return status.Telemetry.BusySeconds, time.Now(), err
}

// watch is what a process, and this one beside it, use during so long.
func watch(ctx context.Context, p *process, during time.Duration) (s state, own float64, err error) {
	before, err1 := usageOf(p.pid)
	mine, err2 := usageOf(os.Getpid())
	begin := time.Now()
	if err := errors.Join(err1, err2); err != nil {
		return s, 0, err
	}
	select {
	case <-time.After(during):
	case <-p.done:
		return s, 0, fmt.Errorf("%s ended:\n%s", p.name, &p.out)
	case <-ctx.Done():
		return s, 0, errors.New("interrupted")
	}
	seconds := time.Since(begin).Seconds()
	after, err1 := usageOf(p.pid)
	mineAfter, err2 := usageOf(os.Getpid())
	if err := errors.Join(err1, err2); err != nil {
		return s, 0, err
	}
	used := after.since(before)
	if err := used.check(); err != nil {
		return s, 0, err
	}
	s.CPU = used.clock.Seconds() / seconds
	s.RSS, s.Peak, err = memoryOf(p.pid)
	return s, mineAfter.since(mine).clock.Seconds() / seconds, err
}

// fleetObjects are the services that the fleet is of.
func fleetObjects(endpoints int) []byte {
	var b strings.Builder
	for s := range fleetServices {
		fmt.Fprintf(&b, "---\napiVersion: v1\nkind: Service\nmetadata: {name: service-%02d}\nspec: {ports: [{name: main, port: 8080}]}\n", s)
		fmt.Fprintf(&b, "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: service-%02d\n  labels: {kubernetes.io/service-name: service-%02d}\n", s, s)
		fmt.Fprint(&b, "addressType: IPv4\nports: [{name: main, port: 31006}]\nendpoints:\n")
		for e := range endpoints {
			fmt.Fprintf(&b, "- {addresses: [%q], targetRef: {kind: Pod, name: service-%02d-%02d}}\n", strings.TrimSuffix(endpointAddr(s, e), ":31006"), s, e)
		}
	}
	return []byte(b.String())
}

var hourFigures = regexp.MustCompile(`a second of reports: (\S+) of CPU; (\d+) MB in use`)

// measureHour runs TestFleet.
func measureHour(ctx context.Context, root string) (*hour, error) {
	cmd := exec.CommandContext(ctx, "go", "test", "./telemetry", "-run", "^TestFleet$", "-count=1", "-v")
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("TestFleet: %w\n%s", err, out)
	}
	m := hourFigures.FindSubmatch(out)
	if m == nil {
		return nil, fmt.Errorf("TestFleet does not say what it found:\n%s", out)
	}
	cpu, err1 := time.ParseDuration(string(m[1]))
	heap, err2 := strconv.ParseInt(string(m[2]), 10, 64)
	return &hour{CPU: cpu.Seconds(), Heap: heap << 20}, errors.Join(err1, err2)
}

func (r *fleetRun) table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "meshd, to which %d sidecars report on %d services every second\n", r.Sidecars, fleetServices)
	fmt.Fprintf(&b, "%-34s %-12s %s\n", "", "CPU, cores", "memory, MB")
	line := func(what string, s state) {
		fmt.Fprintf(&b, "%-34s %5.2f        RSS %.1f, peak %.1f\n", what, s.CPU, float64(s.RSS)/1e6, float64(s.Peak)/1e6)
	}
	line("measured: idle", r.Idle)
	line(fmt.Sprintf("measured: they report, for %v", time.Duration(r.Seconds*1e9)), r.Loaded)
	fmt.Fprintf(&b, "%-34s %5.2f\n", "  of it the store, as meshd says", r.Store)
	fmt.Fprintf(&b, "%-34s %5.2f\n", "  the rest: gRPC, the process", r.Loaded.CPU-r.Store)
	if h := r.Hour; h != nil {
		fmt.Fprintf(&b, "%-34s %5.2f        heap %.1f\n", "TestFleet: the store, full hour", h.CPU, float64(h.Heap)/1e6)
	}
	for _, s := range r.exports() {
		fmt.Fprintf(&b, "%s: %d exports of %.1f kB, %d lost, %d refused in part; %.1f MB/s; the slowest took %.0f ms\n",
			s.what, s.Taken, float64(s.Bytes)/1e3/float64(max(s.Taken, 1)), s.Lost, s.Refused, float64(s.Bytes)/1e6/r.Seconds, s.Slowest)
	}
	fmt.Fprintf(&b, "the sidecars: %.2f cores for all of them, most of it gRPC's\n", r.Generator)
	if r.Hour != nil && r.Seconds < 3600 {
		fmt.Fprintln(&b, "an hour of history is not in the RSS: --fleet-duration 1h measures it")
	}
	return b.String()
}

// namedSent is a signal's.
type namedSent struct {
	what string
	sent
}

func (r *fleetRun) exports() []namedSent {
	return []namedSent{{"metrics", r.Metrics}, {"spans", r.Spans}}
}

// missed says which bars are.
func (r *fleetRun) missed() error {
	var errs []error
	miss := func(format string, args ...any) { errs = append(errs, fmt.Errorf("missed: "+format, args...)) }
	if r.Store > maxFleetCPU {
		miss("meshd's store takes %.2f cores, at most %.2f are wanted", r.Store, maxFleetCPU)
	}
	if r.Loaded.RSS > maxFleetRSS {
		miss("meshd's RSS is %.1f MB, at most %.0f is wanted", float64(r.Loaded.RSS)/1e6, maxFleetRSS/1e6)
	}
	for _, s := range r.exports() {
		if s.Taken == 0 || s.Lost+s.Refused > 0 {
			miss("%s: %d exports taken, %d lost, %d refused in part (%s); all are wanted", s.what, s.Taken, s.Lost, s.Refused, s.FirstWhy)
		}
	}
	return errors.Join(errs...)
}
