package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/meshd/meshd/dashboard/chart"
	"github.com/meshd/meshd/internal/loadgen"
)

// An ExperimentConfig is one experiment.
type ExperimentConfig struct {
	Setup
	Name    string        // one of Experiments
	Picture string        // an SVG file
	Report  string        // an HTML file with all pictures and the table; empty: none
	Rate    float64       // calls a second; zero: what suits the experiment
	Step    time.Duration // under load before the next value is tried; zero: 6 s
	Out     io.Writer     // the table
}

// An experiment tries several values of one thing under load.
type experiment struct {
	rate float64
	run  func(context.Context, ExperimentConfig, *rig) (report, error)
}

const defaultStep = 6 * time.Second

// warmUp is the part of a step that is left out of its figures, for
// connections to be made.
func warmUp(step time.Duration) time.Duration { return step / 6 }

func experiments() map[string]experiment {
	return map[string]experiment{
		"workers": {rate: 600, run: one(workers)},
		"servers": {rate: 170, run: one(servers)},
		"scale":   {rate: 700, run: ramp},
	}
}

// one is an experiment with one picture.
func one(run func(context.Context, ExperimentConfig, *rig) (chart.Figure, error)) func(context.Context, ExperimentConfig, *rig) (report, error) {
	return func(ctx context.Context, cfg ExperimentConfig, r *rig) (report, error) {
		f, err := run(ctx, cfg, r)
		return report{figures: []chart.Figure{f}}, err
	}
}

// Experiments names those there are.
func Experiments() []string {
	return []string{"scale", "servers", "workers"}
}

// calmPolicy keeps the mesh's protections out of an experiment that overloads
// a service on purpose: they would hide what it is about.
const calmPolicy = `apiVersion: meshd.io/v1alpha1
kind: TrafficPolicy
metadata: {name: slow, namespace: default}
spec:
  targetRefs: [{kind: Service, name: slow}]
  retry: {attempts: 0}
  breaker: {disabled: true}
  limits: {connections: 0, pending: 0, requests: 0}
`

// Experiment runs one experiment, prints its table line by line and writes
// its picture. It leaves nothing else behind.
func Experiment(ctx context.Context, cfg ExperimentConfig) error {
	e, ok := experiments()[cfg.Name]
	if !ok {
		return fmt.Errorf("experiment %q: want one of %v", cfg.Name, Experiments())
	}
	if cfg.Rate == 0 {
		cfg.Rate = e.rate
	}
	if cfg.Step == 0 {
		cfg.Step = defaultStep
	}
	cfg.Setup.Say = func(string) {} // the table is the output
	r, err := startRig(ctx, cfg.Setup)
	defer r.close()
	if err != nil {
		return err
	}
	var text bytes.Buffer
	out := cfg.Out
	cfg.Out = io.MultiWriter(out, &text)
	left, err := e.run(ctx, cfg, r)
	if err != nil {
		return err
	}
	var svg bytes.Buffer
	if err := left.figures[0].SVG(&svg, chart.Light()); err != nil {
		return fmt.Errorf("picture: %w", err)
	}
	if err := os.WriteFile(cfg.Picture, svg.Bytes(), 0o644); err != nil {
		return fmt.Errorf("picture: %w", err)
	}
	fmt.Fprintf(out, "\npicture: %s\n", absolute(cfg.Picture))
	if cfg.Report == "" {
		return nil
	}
	if err := left.write(cfg.Report, cfg.Name, text.String()); err != nil {
		return err
	}
	fmt.Fprintf(out, "report: %s\n", absolute(cfg.Report))
	return nil
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// The experiments' load gives up soon on what is not answered: an overloaded
// service shows by its failed calls, and its queue stays short enough to be
// drawn beside the others.
const (
	experimentConnections = 32
	experimentBacklog     = 32
)

// startLoad sends calls to slow, through the load's sidecar, until stop.
func (r *rig) startLoad(rate float64) (g *loadgen.Generator, stop func(), err error) {
	g, err = loadgen.New(loadgen.Config{URL: "http://" + Slow + "/", Proxy: r.outbound, Rate: rate,
		Connections: experimentConnections, Backlog: experimentBacklog})
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Run(ctx)
	}()
	return g, func() {
		cancel()
		<-done
	}, nil
}

func ms(d time.Duration) float64 { return d.Seconds() * 1000 }

// topCause says why calls failed, shortly.
func topCause(s loadgen.Snapshot) string {
	return first(causes(s))
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}
