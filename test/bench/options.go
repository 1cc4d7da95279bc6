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
	warmUp      time.Duration
	rounds      int
	rate        float64
	burst       int
	connections int
	only        []string // proxies; empty: all that are there
	protocols   []string
	shapes      []string // empty: all
	loads       []string
	bin         string
	profile     string // files' names begin so; empty: none
	gomaxprocs  int
	json, check bool
	telemetry   bool

	fleet         bool
	fleetDuration time.Duration
	sidecars      int
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	var only, protocol, shapes, loads string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.DurationVar(&o.duration, "duration", 7*time.Second, "of one run")
	f.DurationVar(&o.warmUp, "warm-up", time.Second, "of the same load before a run")
	f.IntVar(&o.rounds, "rounds", 3, "runs of each proxy under each load, interleaved")
	f.Float64Var(&o.rate, "rate", 4000, "requests a second of the fixed load")
	f.IntVar(&o.burst, "burst", 0, "requests of the fixed load that are due at the same moment; 0 is as many as a connection carries")
	f.IntVar(&o.connections, "connections", 16, "client connections of HTTP/1.1")
	f.StringVar(&only, "only", "", "proxies, such as ours,envoy (default all that are there)")
	f.StringVar(&protocol, "protocol", strings.Join(protocols(), ","), "what is spoken, some of these")
	f.StringVar(&shapes, "shape", "", "connections and requests at once on each, such as c16m1,c4m16 (default all that a protocol has)")
	f.StringVar(&loads, "load", fixed+","+saturated, "fixed, saturated or both; TCP knows only saturated")
	f.StringVar(&o.bin, "bin", "bin", "the folder of our sidecar and meshd, in the repository or absolute")
	f.IntVar(&o.gomaxprocs, "gomaxprocs", 0, "of our sidecar; 0 is as Go decides")
	f.StringVar(&o.profile, "profile", "", "write CPU profiles of our sidecar's runs to `PREFIX`-PROTOCOL-SHAPE-LOAD-ROUND.pprof")
	f.BoolVar(&o.json, "json", false, "print all runs and their summary as JSON instead of a table")
	f.BoolVar(&o.telemetry, "telemetry", false, "compare our sidecar with itself: traces of 0, 1 and 100 % of the calls, and an access log")
	f.BoolVar(&o.fleet, "fleet", false, "measure meshd instead, to which a fleet of sidecars reports")
	f.DurationVar(&o.fleetDuration, "fleet-duration", time.Minute, "of --fleet; with 1h, all that meshd keeps is kept")
	f.IntVar(&o.sidecars, "sidecars", fleetSize, "of --fleet; its bars are for 500")
	f.BoolVar(&o.check, "check", false, "exit 1 if a bar is missed; docs/performance.md has them")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.loads = strings.Split(loads, ",")
	o.protocols = strings.Split(protocol, ",")
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	if shapes != "" {
		o.shapes = strings.Split(shapes, ",")
	}
	var errs []error
	for _, name := range o.protocols {
		if !slices.Contains(protocols(), name) {
			errs = append(errs, fmt.Errorf("--protocol %q: %s are accepted", name, strings.Join(protocols(), ", ")))
		}
	}
	for _, name := range o.shapes {
		if !slices.ContainsFunc(protocols(), func(p string) bool {
			return slices.ContainsFunc(o.shapesOf(p), func(s shape) bool { return s.String() == name })
		}) {
			errs = append(errs, fmt.Errorf("--shape %q: c16m1 and c4m16 are accepted, and for TCP c1m1 and c4m1", name))
		}
	}
	for _, name := range o.only {
		if !slices.ContainsFunc(o.proxies(), func(p proxy) bool { return p.name == name }) {
			errs = append(errs, fmt.Errorf("--only %q: %s are accepted", name, o.names()))
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
	if o.warmUp < time.Millisecond || o.warmUp > time.Hour {
		errs = append(errs, fmt.Errorf("--warm-up %v: 1ms to 1h is accepted", o.warmUp))
	}
	if o.rounds < 1 || o.rounds > 1000 {
		errs = append(errs, fmt.Errorf("--rounds %d: 1 to 1000 is accepted", o.rounds))
	}
	if !(o.rate >= 1 && o.rate <= 1e6) {
		errs = append(errs, fmt.Errorf("--rate %v: 1 to 1000000 is accepted", o.rate))
	}
	if o.burst < 0 || o.burst > 1000 {
		errs = append(errs, fmt.Errorf("--burst %d: 0 to 1000 is accepted", o.burst))
	}
	if o.connections < 1 || o.connections > 1000 {
		errs = append(errs, fmt.Errorf("--connections %d: 1 to 1000 is accepted", o.connections))
	}
	if o.fleetDuration < time.Second || o.fleetDuration > 24*time.Hour {
		errs = append(errs, fmt.Errorf("--fleet-duration %v: 1s to 24h is accepted", o.fleetDuration))
	}
	if o.sidecars < 1 || o.sidecars > 5000 {
		errs = append(errs, fmt.Errorf("--sidecars %d: 1 to 5000 is accepted", o.sidecars))
	}
	if o.gomaxprocs < 0 {
		errs = append(errs, fmt.Errorf("--gomaxprocs %d: 0 or more is accepted", o.gomaxprocs))
	}
	if len(errs) == 0 && len(o.cells()) == 0 {
		errs = append(errs, errors.New("--protocol, --shape and --load leave nothing: combinations that exist are accepted"))
	}
	return o, errors.Join(errs...)
}

// proxies are those that can be compared.
func (o options) proxies() []proxy {
	if o.telemetry {
		return telemetryProxies()
	}
	return proxies()
}

func (o options) names() string {
	var names []string
	for _, p := range o.proxies() {
		names = append(names, p.name)
	}
	return strings.Join(names, ", ")
}

// reference is what the others are compared with, and what the table calls it.
func (o options) reference() (name, title string) {
	if o.telemetry {
		return baseline, "none"
	}
	return "envoy", "Envoy"
}
