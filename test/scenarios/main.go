// Command scenarios does bad things to real processes — instances that hang,
// crash, slow down or get too many calls — and measures what callers see of it:
// through our sidecars with their defaults, with protections off, and through
// Envoy. docs/resilience.md says what was found.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := dispatch(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err == nil || errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errReported):
		os.Exit(1)
	default:
		fmt.Fprintln(os.Stderr, "scenarios:", err)
		os.Exit(1)
	}
}

// dispatch is main, or a child that it makes of itself.
func dispatch(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	if len(args) > 0 && args[0] == "backend" {
		return backendMain(ctx, args[1:])
	}
	o, err := parseOptions(args, stderr)
	if err != nil {
		return err
	}
	if os.Getenv(insideEnv) == "" {
		if os.Geteuid() != 0 {
			return errors.New("this needs root: it makes a network namespace")
		}
		return isolated(ctx, args, stdout, stderr)
	}
	if err := loopbackUp(); err != nil {
		return err
	}
	debug.SetGCPercent(400) // the load's own latency is not to be seen
	return all(ctx, o, stdout, stderr)
}

// A run is one proxy in one scenario.
type run struct {
	*scope
	ctx   context.Context
	proxy string
	// length is how long the scenario's main load is; the scenario's own
	// length times what --seconds makes of it.
	length time.Duration
	cases  []string           // some of the scenario's; empty: all
	shared map[string]float64 // by the runs of a scenario, whatever the proxy
}

// once computes what does not depend on the proxy at its first run.
func (r *run) once(name string, f func() float64) float64 {
	v, ok := r.shared[name]
	if !ok {
		v = f()
		r.shared[name] = v
	}
	return v
}

// part is a share of the run's length.
func (r *run) part(share float64) time.Duration { return time.Duration(share * float64(r.length)) }

// all runs the chosen scenarios with the chosen proxies, and prints a table of
// each as soon as it is there.
func all(ctx context.Context, o options, stdout, stderr io.Writer) error {
	root, err := repository()
	if err != nil {
		return err
	}
	if slices.Contains(o.proxies, envoy) {
		if _, err := os.Stat(envoyPath(root)); err != nil {
			return fmt.Errorf("%w: run make setup first, or leave envoy out by --proxies", err)
		}
	}
	var tables []table
	var errs []error
	for _, sc := range scenarios() {
		if len(o.only) > 0 && !slices.Contains(o.only, sc.name) {
			continue
		}
		length := time.Duration(sc.seconds) * time.Second
		if o.seconds > 0 {
			length = time.Duration(o.seconds * float64(time.Second))
		}
		t := table{Name: sc.name, Title: sc.title, Columns: sc.columns}
		shared := map[string]float64{}
		for _, proxy := range o.proxies {
			began := time.Now()
			fmt.Fprintf(stderr, "%s, %s\n", sc.name, proxy)
			err := within(sc.name+", "+proxy, envoyPath(root), func(s *scope) {
				t.Rows = append(t.Rows, sc.run(&run{s, ctx, proxy, length, o.cases, shared})...)
			})
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			errs = append(errs, err)
			fmt.Fprintf(stderr, "  %.0f s\n", time.Since(began).Seconds())
		}
		t.sort()
		fmt.Fprintln(stdout, t)
		tables = append(tables, t)
		if o.check {
			for _, m := range t.missed() {
				errs = append(errs, errors.New("missed: "+m))
			}
			if slices.Contains(o.proxies, ours) && !slices.ContainsFunc(t.Rows, func(r row) bool { return r.Proxy == ours }) {
				errs = append(errs, fmt.Errorf("missed: %s: there is no run of ours", sc.name))
			}
		}
	}
	if o.json != "" {
		b, err := json.MarshalIndent(tables, "", "  ")
		if err == nil {
			err = os.WriteFile(o.json, append(b, '\n'), 0o644)
		}
		errs = append(errs, err)
	}
	if o.doc != "" {
		errs = append(errs, document(o.doc, tables))
	}
	return errors.Join(errs...)
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
