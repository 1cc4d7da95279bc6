// Command bench compares what proxies cost: CPU time per request of the proxy
// process, its memory and its latency, of our sidecar, Envoy, HAProxy and
// nginx, in interleaved runs. docs/performance.md says how and why.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := dispatch(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// dispatch is main, or one of the children that it makes of itself.
func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "load":
			return loadMain(args[1:])
		case "backend":
			return backendMain(ctx, args[1:])
		case "grpc-backend":
			return grpcBackendMain(ctx, args[1:])
		case "tcp-backend":
			return tcpBackendMain(ctx, args[1:])
		}
	}
	return bench(ctx, args, stdout, stderr)
}

func bench(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	root, err := repository()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "meshd-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if !filepath.IsAbs(o.bin) {
		o.bin = filepath.Join(root, o.bin)
	}
	if o.fleet {
		return fleetMain(ctx, o, root, dir, stdout, stderr)
	}
	r := &rig{where: where{root, o.bin}, dir: dir, paths: map[string]string{}, gomaxprocs: o.gomaxprocs, profile: o.profile, warmUp: o.warmUp, progress: stderr}
	chosen, versions, err := r.choose(o, stderr)
	if err != nil {
		return err
	}
	if r.sink, err = startSink(); err != nil {
		return err
	}
	defer r.sink.close()
	cells := o.cells()
	if r.backends, err = startBackends(ctx, dir, cells); err != nil {
		return err
	}
	defer r.backends.stop()

	if busy := busyNow(); busy != "" {
		fmt.Fprintln(stderr, busy)
	}
	groups := o.groups(chosen)
	runs := o.rounds * runsOf(cells, groups)
	about := takes(runs, o.warmUp+o.duration)
	most := 2*about + time.Minute
	fmt.Fprintf(stderr, "%d runs of %v: about %v, at most %v\n", runs, o.duration, about.Round(time.Second), most.Round(time.Second))
	limited, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	samples, err := r.rounds(limited, o.rounds, o.load, cells, groups)
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case limited.Err() != nil:
		return fmt.Errorf("not done after %v", most)
	case err != nil:
		return err
	}
	reference, title := o.reference()
	rows := summarize(samples, reference)
	head := machine(o, r.backends.about) + versions
	if o.json {
		err = json.NewEncoder(stdout).Encode(map[string]any{"about": head, "gomaxprocs": ourProcs(o.gomaxprocs), "runs": samples, "summary": rows})
	} else {
		_, err = fmt.Fprintf(stdout, "%s\n%s", head, tables(rows, title))
	}
	var misses []string
	switch {
	case o.check && o.telemetry:
		misses = missedCosts(cells, rows, o.only)
	case o.check:
		misses = missed(cells, rows)
	}
	return errors.Join(err, verdict(samples, misses))
}

// rounds runs every cell against every group of proxies in turn, so that what
// the machine does otherwise meets all of them alike.
func (r *rig) rounds(ctx context.Context, rounds int, loadOf func(cell) load, cells []cell, groups [][]proxy) ([]sample, error) {
	var samples []sample
	for round := range rounds {
		for _, c := range cells {
			for _, g := range groups {
				if !g[0].speaks(c.Protocol) {
					continue
				}
				fmt.Fprintf(r.progress, "round %d of %d  %-5s %-5s %-9s  %-7s  ", round+1, rounds, c.Protocol, c.Shape, c.Load, g[len(g)-1].name)
				of := slices.Clone(g)
				if round%2 == 1 {
					slices.Reverse(of) // who is the first has no advantage of it
				}
				got, err := r.measure(ctx, of, c, round+1, loadOf(c))
				if err != nil {
					fmt.Fprintln(r.progress)
					return nil, err
				}
				if len(g) > 1 {
					beside(got, g[0].name)
				}
				samples = append(samples, got...)
				for _, s := range got {
					fmt.Fprint(r.progress, s, "  ")
				}
				fmt.Fprintln(r.progress)
			}
		}
	}
	return samples, nil
}

// beside notes in samples of one time what the reference among them took,
// unless that failed.
func beside(samples []sample, reference string) {
	i := slices.IndexFunc(samples, func(s sample) bool { return s.Proxy == reference })
	if samples[i].Failure != "" {
		return
	}
	for k := range samples {
		samples[k].Beside = samples[i].CPU
	}
}

// groups are the proxies that run at the same time: each alone, but what
// telemetry costs is beside the sidecar without it, since a percent is less than
// what a machine varies by from one minute to the next.
func (o options) groups(chosen []proxy) (groups [][]proxy) {
	i := slices.IndexFunc(chosen, func(p proxy) bool { return o.telemetry && p.name == baseline })
	for k, p := range chosen {
		switch {
		case i < 0 || len(chosen) == 1:
			groups = append(groups, []proxy{p})
		case k != i:
			groups = append(groups, []proxy{chosen[i], p})
		}
	}
	return groups
}

// runsOf is how many runs a round has.
func runsOf(cells []cell, groups [][]proxy) int {
	n := 0
	for _, c := range cells {
		for _, g := range groups {
			if g[0].speaks(c.Protocol) {
				n++
			}
		}
	}
	return n
}

// ourProcs is the GOMAXPROCS that our sidecar runs with, which without an
// option is what Go decides for this program too.
func ourProcs(option int) int {
	if option > 0 {
		return option
	}
	return runtime.GOMAXPROCS(0)
}

// choose finds the proxies that are wanted, and says what they are.
func (r *rig) choose(o options, stderr io.Writer) (chosen []proxy, versions string, err error) {
	for _, p := range o.proxies() {
		if len(o.only) > 0 && !slices.Contains(o.only, p.name) {
			continue
		}
		path, err := p.find(r.where)
		if err != nil && (len(o.only) > 0 || o.telemetry || p.name == "ours") {
			return nil, "", fmt.Errorf("%s is not there: %w", p.name, err)
		} else if err != nil {
			fmt.Fprintf(stderr, "without %s: %v\n", p.name, err)
			continue
		}
		r.paths[p.name] = path
		chosen = append(chosen, p)
		if p.version != "" {
			out, _ := exec.Command(path, p.version).CombinedOutput() // what it says of itself is for people
			first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
			versions += fmt.Sprintf("%s: %.85s\n", p.name, strings.TrimSpace(strings.TrimPrefix(first, path)))
		}
	}
	return chosen, versions, nil
}

// verdict is why the program fails.
func verdict(samples []sample, misses []string) error {
	var errs []error
	for _, s := range samples {
		if s.Failure != "" {
			errs = append(errs, fmt.Errorf("round %d, %v, %s: %s", s.Round, s.cell, s.Proxy, s.Failure))
		}
	}
	for _, m := range misses {
		errs = append(errs, errors.New("missed: "+m))
	}
	return errors.Join(errs...)
}

// machine says where the numbers come from.
func machine(o options, backend string) string {
	var u unix.Utsname
	unix.Uname(&u) // left empty if it fails
	burst := "as many at once as a connection carries"
	if o.burst > 0 {
		burst = fmt.Sprintf("%d at once", o.burst)
	}
	return fmt.Sprintf("%d CPUs, Linux %.20s, %s; ours with GOMAXPROCS=%d, the others with one thread\n"+
		"backends on %d addresses: %s\n"+
		"bodies of %d bytes; fixed is %.0f requests/s, %s; %d rounds of %v\n",
		runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]), runtime.Version(), ourProcs(o.gomaxprocs),
		backends, backend, len(theBody), o.rate, burst, o.rounds, o.duration)
}

// busyNow warns where others use the machine.
func busyNow() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	recent, _, _ := strings.Cut(string(b), " ")
	if load, err := strconv.ParseFloat(recent, 64); err != nil || load < 0.5 {
		return ""
	}
	return "the load average is " + recent + ": measure on an idle machine, or these numbers are noise"
}

// repository is the nearest folder upwards that holds go.mod.
func repository() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no go.mod here or above: run it inside the repository")
		}
	}
	return "", err
}
