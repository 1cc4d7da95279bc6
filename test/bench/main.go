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
			return backendMain(args[1:])
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
	r := &rig{root: root, dir: dir, paths: map[string]string{}, gomaxprocs: o.gomaxprocs, progress: stderr}
	chosen, versions, err := r.choose(o.only, stderr)
	if err != nil {
		return err
	}
	if r.sink, err = startSink(); err != nil {
		return err
	}
	defer r.sink.close()
	var backend *process
	if backend, r.backends, err = startBackend(ctx, dir); err != nil {
		return err
	}
	defer backend.stop()

	if busy := busyNow(); busy != "" {
		fmt.Fprintln(stderr, busy)
	}
	samples, err := r.rounds(ctx, o, chosen)
	switch {
	case ctx.Err() != nil:
		return errors.New("interrupted")
	case err != nil:
		return err
	}
	rows := summarize(samples)
	head := machine(o, backend.name) + versions
	if o.json {
		err = json.NewEncoder(stdout).Encode(map[string]any{"about": head, "runs": samples, "summary": rows})
	} else {
		_, err = fmt.Fprintf(stdout, "%s\n%s", head, table(rows))
	}
	return errors.Join(err, verdict(samples, rows, o.check))
}

// rounds runs every load against every proxy in turn, so that what the machine
// does otherwise meets all of them alike.
func (r *rig) rounds(ctx context.Context, o options, chosen []proxy) ([]sample, error) {
	var samples []sample
	for round := range o.rounds {
		for _, name := range o.loads {
			for _, p := range chosen {
				fmt.Fprintf(r.progress, "round %d of %d  %-9s  %-7s  ", round+1, o.rounds, name, p.name)
				s, err := r.measure(ctx, p, o.load(name))
				if err != nil {
					fmt.Fprintln(r.progress)
					return nil, err
				}
				s.Round, s.Load = round+1, name
				samples = append(samples, s)
				fmt.Fprintf(r.progress, "%.1f µs/req  %.0f req/s  p99 %.2f ms  %s\n", s.CPU, float64(s.OK)/s.Seconds, s.P99, s.Failure)
			}
		}
	}
	return samples, nil
}

// choose finds the proxies that are wanted, and says what they are.
func (r *rig) choose(only []string, stderr io.Writer) (chosen []proxy, versions string, err error) {
	for _, p := range proxies() {
		if len(only) > 0 && !slices.Contains(only, p.name) {
			continue
		}
		path, err := p.find(r.root)
		if err != nil && (len(only) > 0 || p.name == "ours") {
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
func verdict(samples []sample, rows []row, check bool) error {
	var errs []error
	for _, s := range samples {
		if s.Failure != "" {
			errs = append(errs, fmt.Errorf("round %d, %s, %s: %s", s.Round, s.Load, s.Proxy, s.Failure))
		}
	}
	if check {
		for _, m := range missed(rows) {
			errs = append(errs, errors.New("missed: "+m))
		}
	}
	return errors.Join(errs...)
}

// machine says where the numbers come from.
func machine(o options, backend string) string {
	var u unix.Utsname
	unix.Uname(&u) // left empty if it fails
	return fmt.Sprintf("%d CPUs, Linux %.20s, %s; %s on %d addresses\n"+
		"HTTP/1.1, %d connections, bodies of %d bytes; fixed is %.0f requests/s, %d at once; %d rounds of %v\n",
		runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]), runtime.Version(), backend, backends,
		o.connections, len(theBody), o.rate, o.burst, o.rounds, o.duration)
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
