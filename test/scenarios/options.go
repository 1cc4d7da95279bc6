package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
)

// options are what the command line says.
type options struct {
	only    []string // scenarios; empty: all
	cases   []string // of scenarios that have several; empty: all
	proxies []string
	seconds float64 // of each scenario's main load; 0: the scenario's own
	check   bool
	json    string
	doc     string
}

func parseOptions(args []string, stderr io.Writer) (options, error) {
	var o options
	var only, cases, proxies, bin string
	var known []string
	for _, s := range scenarios() {
		known = append(known, s.name)
	}
	f := flag.NewFlagSet("scenarios", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&only, "only", "", "scenarios, some of "+strings.Join(known, ",")+" (default all)")
	f.StringVar(&cases, "case", "", "cases of faults, such as killed,frozen (default all)")
	f.StringVar(&proxies, "proxies", ours+","+off+","+envoy, "some of these")
	f.Float64Var(&o.seconds, "seconds", 0, "how long each scenario's main load is, for development; 0 is what each needs")
	f.BoolVar(&o.check, "check", false, "exit 1 if ours misses a bar")
	f.StringVar(&o.json, "json", "", "write the tables to `FILE` as JSON, too")
	f.StringVar(&o.doc, "doc", "", "put the tables below their headings in `FILE`, too")
	f.StringVar(&bin, "bin", "", "the folder of meshd and sidecar (default bin in the repository)")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if only != "" {
		o.only = strings.Split(only, ",")
	}
	if cases != "" {
		o.cases = strings.Split(cases, ",")
	}
	o.proxies = strings.Split(proxies, ",")
	var errs []error
	for _, name := range o.only {
		if !slices.Contains(known, name) {
			errs = append(errs, fmt.Errorf("--only %q: %s are accepted", name, strings.Join(known, ", ")))
		}
	}
	for _, name := range o.proxies {
		if !slices.Contains([]string{ours, off, envoy}, name) {
			errs = append(errs, fmt.Errorf("--proxies %q: %s, %s and %s are accepted", name, ours, off, envoy))
		}
	}
	if o.seconds != 0 && !(o.seconds >= 2 && o.seconds <= 3600) {
		errs = append(errs, fmt.Errorf("--seconds %v: 2 to 3600 is accepted", o.seconds))
	}
	if f.NArg() > 0 {
		errs = append(errs, fmt.Errorf("argument %q: only flags are accepted", f.Arg(0)))
	}
	if bin != "" {
		errs = append(errs, os.Setenv("MESHD_BIN", bin)) // for internal/testkit/process
	}
	return o, errors.Join(errs...)
}
