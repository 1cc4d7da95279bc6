package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// options are what the command line says.
type options struct {
	duration    time.Duration
	rounds      int
	rate        float64
	burst       int
	connections int
	only        []string // proxies; empty: all that are there
	loads       []string
	gomaxprocs  int
	json, check bool
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	var only, loads string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.DurationVar(&o.duration, "duration", 10*time.Second, "of one run, after a warm-up of "+warmUp.String())
	f.IntVar(&o.rounds, "rounds", 5, "runs of each proxy under each load, interleaved")
	f.Float64Var(&o.rate, "rate", 4000, "requests a second of the fixed load")
	f.IntVar(&o.burst, "burst", 1, "requests of the fixed load that are due at the same moment")
	f.IntVar(&o.connections, "connections", 16, "client connections")
	f.StringVar(&only, "only", "", "proxies, such as ours,envoy (default all that are there)")
	f.StringVar(&loads, "load", fixed+","+saturated, "fixed, saturated or both")
	f.IntVar(&o.gomaxprocs, "gomaxprocs", 0, "of our sidecar; 0 is as Go decides")
	f.BoolVar(&o.json, "json", false, "print all runs and their summary as JSON instead of a table")
	f.BoolVar(&o.check, "check", false, "exit 1 if a bar is missed; docs/performance.md has them")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.loads = strings.Split(loads, ",")
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	var errs []error
	for _, name := range o.only {
		if !slices.ContainsFunc(proxies(), func(p proxy) bool { return p.name == name }) {
			errs = append(errs, fmt.Errorf("--only %q: ours, envoy, haproxy and nginx are accepted", name))
		}
	}
	for _, name := range o.loads {
		if name != fixed && name != saturated {
			errs = append(errs, fmt.Errorf("--load %q: fixed and saturated are accepted", name))
		}
	}
	if f.NArg() > 0 {
		errs = append(errs, fmt.Errorf("argument %q: only flags are accepted", f.Arg(0)))
	}
	if o.duration < 100*time.Millisecond || o.duration > time.Hour {
		errs = append(errs, fmt.Errorf("--duration %v: 100ms to 1h is accepted", o.duration))
	}
	if o.rounds < 1 || o.rounds > 1000 {
		errs = append(errs, fmt.Errorf("--rounds %d: 1 to 1000 is accepted", o.rounds))
	}
	if !(o.rate >= 1 && o.rate <= 1e6) {
		errs = append(errs, fmt.Errorf("--rate %v: 1 to 1000000 is accepted", o.rate))
	}
	if o.burst < 1 || o.burst > 1000 {
		errs = append(errs, fmt.Errorf("--burst %d: 1 to 1000 is accepted", o.burst))
	}
	if o.connections < 1 || o.connections > 1000 {
		errs = append(errs, fmt.Errorf("--connections %d: 1 to 1000 is accepted", o.connections))
	}
	if o.gomaxprocs < 0 {
		errs = append(errs, fmt.Errorf("--gomaxprocs %d: 0 or more is accepted", o.gomaxprocs))
	}
	return o, errors.Join(errs...)
}

// load is the load that an option names.
func (o options) load(name string) load {
	l := load{Connections: o.connections, Duration: o.duration}
	if name == fixed {
		l.Rate, l.Burst = o.rate, o.burst
	}
	return l
}
