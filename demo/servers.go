package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meshd/meshd/ctl/show"
	"github.com/meshd/meshd/dashboard/chart"
	"github.com/meshd/meshd/internal/loadgen"
	"github.com/meshd/meshd/internal/wait"
)

// mostServers is where the experiment stops adding.
const mostServers = 6

// A spread is one step: what each instance was given.
type spread struct {
	calls []float64 // a second, oldest instance first
	got   loadgen.Snapshot
	after time.Duration // from ready to the first call of the newest; -1: none came
}

// servers adds instances of slow one by one while the load goes on, and asks
// the instances themselves how many calls they got.
func servers(ctx context.Context, cfg ExperimentConfig, r *rig) (chart.Figure, error) {
	s, err := r.run(ctx, Slow, 1)
	if err != nil {
		return chart.Figure{}, err
	}
	if err := r.awaitAnswer(ctx, Slow); err != nil {
		return chart.Figure{}, err
	}
	load, stop, err := r.startLoad(cfg.Rate)
	if err != nil {
		return chart.Figure{}, err
	}
	defer stop()
	fmt.Fprintf(cfg.Out, "One worker a server, %v of work a call, %.0f calls a second, %v a step; the load never stops.\n\n", serviceTime, cfg.Rate, cfg.Step)
	fmt.Fprintf(cfg.Out, "%7s  %10s  %6s  %9s  %9s  %10s  %8s  %s\n", "SERVERS", "ANSWERED/S", "FAILED", "P50", "P99", "FIRST CALL", "MAX/MEAN", "CALLS/S OF EACH")
	var steps []spread
	for n := 1; n <= mostServers; n++ {
		if n > 1 {
			before := r.board.count(Slow)
			if err := r.client.SetScale(ctx, "default", Slow, n); err != nil {
				return chart.Figure{}, err
			}
			if err := r.board.awaitCount(ctx, Slow, before+1); err != nil {
				return chart.Figure{}, r.explain(err)
			}
		}
		step, err := r.measure(ctx, s, load, cfg.Step)
		if err != nil {
			return chart.Figure{}, err
		}
		steps = append(steps, step)
		first := "none"
		switch {
		case n == 1:
			first = "-"
		case step.after >= 0:
			first = show.Milliseconds(ms(step.after))
		}
		fmt.Fprintf(cfg.Out, "%7d  %10.0f  %6d  %9s  %9s  %10s  %8.2f  %s\n", n, sum(step.calls), step.got.Failed,
			show.Milliseconds(ms(step.got.Quantile(0.5))), show.Milliseconds(ms(step.got.Quantile(0.99))),
			first, slices.Max(step.calls)*float64(n)/sum(step.calls), each(step.calls))
	}
	if all := load.Snapshot(); all.Failed > 0 {
		fmt.Fprintf(cfg.Out, "\nfailed: %s\n", strings.Join(causes(all), "; "))
	}
	return serversFigure(cfg, steps), nil
}

// measure lets a step's time pass and sees what each instance got in it.
func (r *rig) measure(ctx context.Context, s *running, load *loadgen.Generator, step time.Duration) (spread, error) {
	if err := wait.For(ctx, warmUp(step)); err != nil {
		return spread{}, err
	}
	names := s.Pool().Instances()
	before, err := instanceStats(ctx, s, names)
	if err != nil {
		return spread{}, err
	}
	was := load.Snapshot()
	if err := wait.For(ctx, step-warmUp(step)); err != nil {
		return spread{}, err
	}
	after, err := instanceStats(ctx, s, names)
	if err != nil {
		return spread{}, err
	}
	now := load.Snapshot()
	out := spread{got: now.Since(was), after: -1}
	for i := range names {
		out.calls = append(out.calls, float64(after[i].Calls-before[i].Calls)/now.Time.Sub(was.Time).Seconds())
	}
	newest := len(names) - 1
	if ready, ok := r.board.since(names[newest]); ok && after[newest].First > 0 {
		out.after = max(time.Unix(0, after[newest].First).Sub(ready), 0)
	}
	return out, nil
}

func instanceStats(ctx context.Context, s *running, names []string) ([]Stats, error) {
	var all []Stats
	for _, name := range names {
		ports := s.Pool().Ports(name)
		if len(ports) == 0 {
			return nil, fmt.Errorf("%s has just ended", name)
		}
		var answer bytes.Buffer
		if err := appCall(ctx, http.MethodGet, ports[0], "/-/stats", &answer); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		var stats Stats
		if err := json.Unmarshal(answer.Bytes(), &stats); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all = append(all, stats)
	}
	return all, nil
}

func serversFigure(cfg ExperimentConfig, steps []spread) chart.Figure {
	var names []string
	p50, p99 := chart.Series{Name: "p50", Kind: chart.Bar, Color: 3}, chart.Series{Name: "p99", Kind: chart.Bar, Color: 4}
	instances := make([]chart.Series, len(steps))
	for i := range instances {
		instances[i] = chart.Series{Kind: chart.Bar, Color: 1}
	}
	for n, step := range steps {
		names = append(names, strconv.Itoa(n+1))
		p50.Y, p99.Y = append(p50.Y, ms(step.got.Quantile(0.5))), append(p99.Y, ms(step.got.Quantile(0.99)))
		for i := range instances {
			calls := math.NaN() // not there yet
			if i < len(step.calls) {
				calls = step.calls[i]
			}
			instances[i].Y = append(instances[i].Y, calls)
		}
	}
	return chart.Figure{
		Title:       fmt.Sprintf("Servers added, %.0f calls/s", cfg.Rate),
		Description: "Calls a second of each instance, and latency, for one to six servers; the meshctl demo prints the same as a table.",
		Width:       640, Height: 420,
		X: chart.Axis{Label: "servers", Categories: names},
		Panels: []chart.Panel{
			{Y: chart.Axis{Label: "calls a second, each server"}, Series: instances},
			{Y: chart.Axis{Label: "latency", Format: chart.Millis}, Series: []chart.Series{p50, p99}},
		},
	}
}

func sum(values []float64) (total float64) {
	for _, v := range values {
		total += v
	}
	return total
}

func each(values []float64) string {
	var all []string
	for _, v := range values {
		all = append(all, strconv.FormatFloat(v, 'f', 0, 64))
	}
	return strings.Join(all, " ")
}
