package demo

import (
	"context"
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/show"
	"github.com/meshd/meshd/dashboard/chart"
	"github.com/meshd/meshd/internal/wait"
	"github.com/meshd/meshd/scale"
)

// The experiment scale: the load goes up in steps and down again, instances
// follow it, and latency is watched meanwhile, second by second. How many there
// should be is decided of what meshd has measured, and nothing else is known.

// rampTarget leaves slow's instances, of one worker each, three tenths of their time.
var rampTarget = scale.Target{Workers: 1, Utilization: 0.7, Min: 1, Max: MaxInstances}

// rampSteps are the parts of the greatest rate that are tried in turn.
var rampSteps = []float64{0.15, 0.3, 0.5, 0.75, 1, 0.6, 0.3}

// A moment is a second of the experiment.
type moment struct {
	at        float64 // seconds since its start
	offered   float64 // calls a second
	answered  float64
	failed    float64
	p50, p99  float64 // ms; NaN where nothing was answered
	instances int     // ready
	wanted    int     // what was asked for in this second; 0: nothing
	why       string  // it was
}

// workWindow is how far back it is looked what a call takes that does not wait.
const workWindow = time.Minute

// need asks meshd what was measured of slow, and decides.
func (r *rig) need(ctx context.Context) (scale.Need, error) {
	samples, err := r.series(ctx, workWindow)
	if err != nil {
		return scale.Need{}, err
	}
	seconds := make([]scale.Second, len(samples))
	for i, s := range samples {
		seconds[i] = scale.Second{Rate: s.RPS, Queued: fromMs(s.QueuedMs), Own: fromMs(s.OwnMs)}
	}
	return rampTarget.Instances(seconds), nil
}

// series is slow's last window, by the second; empty where nobody has called it yet.
func (r *rig) series(ctx context.Context, window time.Duration) ([]api.Sample, error) {
	samples, err := r.client.Series(ctx, api.ServiceName{Namespace: "default", Name: Slow}, window, url.Values{"step": {"1s"}})
	if api.IsNotFound(err) {
		return nil, nil
	}
	return samples, err
}

func fromMs(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }

// ramp runs the experiment.
func ramp(ctx context.Context, cfg ExperimentConfig, r *rig) (report, error) {
	if _, err := r.run(ctx, Slow, 1); err != nil {
		return report{}, err
	}
	if err := r.awaitAnswer(ctx, Slow); err != nil {
		return report{}, err
	}
	load, stop, err := r.startLoad(cfg.Rate * rampSteps[0])
	if err != nil {
		return report{}, err
	}
	defer stop()
	fmt.Fprintf(cfg.Out, "One worker a server, %v of work a call: up to %.0f calls a second and down again, %v a step.\n"+
		"meshd measures what a call's time goes to; servers are to be %.0f %% busy with work of their own.\n\n", serviceTime, cfg.Rate, cfg.Step, 100*rampTarget.Utilization)
	fmt.Fprintf(cfg.Out, "%7s  %9s  %10s  %8s  %9s  %9s  %9s\n", "OFFERED", "INSTANCES", "ANSWERED/S", "FAILED/S", "P50", "P99", "WORST P99")

	var all []moment
	start, was, wanted := time.Now(), load.Snapshot(), 1
	for _, part := range rampSteps {
		rate := cfg.Rate * part
		load.SetRate(rate)
		begun := len(all)
		from := load.Snapshot()
		for end := time.Now().Add(cfg.Step); time.Now().Before(end); {
			if err := wait.For(ctx, min(time.Second, max(time.Until(end), 10*time.Millisecond))); err != nil {
				return report{}, err
			}
			now := load.Snapshot()
			got, over := now.Since(was), now.Time.Sub(was.Time).Seconds()
			was = now
			m := moment{
				at: now.Time.Sub(start).Seconds(), offered: rate, answered: float64(got.OK) / over, failed: float64(got.Failed) / over,
				p50: math.NaN(), p99: math.NaN(), instances: r.board.now(Slow),
			}
			if got.OK > 0 {
				m.p50, m.p99 = ms(got.Quantile(0.5)), ms(got.Quantile(0.99))
			}
			need, err := r.need(ctx)
			if err != nil {
				return report{}, err
			}
			if n := need.Instances; n != wanted {
				wanted, m.wanted, m.why = n, n, need.Why
				if err := r.client.SetScale(ctx, "default", Slow, n); err != nil {
					return report{}, err
				}
			}
			all = append(all, m)
		}
		got := was.Since(from)
		over, worst := was.Time.Sub(from.Time).Seconds(), 0.0
		for _, m := range all[begun:] {
			worst = max(worst, zeroIfNaN(m.p99))
		}
		fmt.Fprintf(cfg.Out, "%5.0f/s  %9d  %10.0f  %8.1f  %9s  %9s  %9s\n", rate, all[len(all)-1].instances, float64(got.OK)/over, float64(got.Failed)/over,
			show.Milliseconds(ms(got.Quantile(0.5))), show.Milliseconds(ms(got.Quantile(0.99))), show.Milliseconds(worst))
	}
	if s := load.Snapshot(); s.Failed > 0 {
		fmt.Fprintf(cfg.Out, "\nfailed: %s\n", strings.Join(causes(s), "; "))
	}
	spent, err := r.series(ctx, time.Since(start))
	if err != nil {
		return report{}, err
	}
	return rampReport(cfg, start, all, spent), nil
}

func zeroIfNaN(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return v
}

// rampReport draws the moments, and what meshd says the mean call's time was spent on.
func rampReport(cfg ExperimentConfig, start time.Time, all []moment, spent []api.Sample) report {
	var x, offered, answered, failed, p50, p99, instances, each []float64
	var marks []chart.Mark
	for _, m := range all {
		x, offered, answered, failed = append(x, m.at), append(offered, m.offered), append(answered, m.answered), append(failed, m.failed)
		p50, p99, instances = append(p50, m.p50), append(p99, m.p99), append(instances, float64(m.instances))
		each = append(each, m.answered/float64(max(m.instances, 1)))
		if m.wanted > 0 {
			marks = append(marks, chart.Mark{X: m.at, Title: fmt.Sprintf("scaled to %d: %s", m.wanted, m.why)})
		}
	}
	last := 0.0
	if len(x) > 0 {
		last = x[len(x)-1]
	}
	seconds := func(v float64) string { return fmt.Sprintf("%.0f s", v+0) } // of -0 too
	var at, own, before, way []float64
	for _, s := range spent {
		at = append(at, s.Time.Sub(start).Seconds())
		own, before = append(own, s.OwnMs), append(before, s.QueuedMs)
		way = append(way, s.MeanMs-s.OwnMs-s.QueuedMs)
	}
	figure := chart.Figure{
		Title:       fmt.Sprintf("Load up to %.0f calls/s, and instances that follow", cfg.Rate),
		Description: "Latency, calls a second, the parts of mean latency and the number of instances over the experiment's time; lines are moments at which another number of instances was asked for.",
		Width:       760, Height: 560,
		X:     chart.Axis{Min: 0, Max: last, Format: seconds},
		Marks: marks,
		Panels: []chart.Panel{
			{Title: "latency", Weight: 1.4, Y: chart.Axis{Format: chart.Millis}, Series: []chart.Series{
				{Name: "p50", X: x, Y: p50, Color: 1}, {Name: "p99", X: x, Y: p99, Color: 2}}},
			{Title: "calls a second", Series: []chart.Series{
				{Name: "offered", Kind: chart.Step, X: x, Y: offered, Color: 4}, {Name: "answered", X: x, Y: answered, Color: 1}, {Name: "failed", X: x, Y: failed, Color: 2}}},
			{Title: "mean latency by part", Y: chart.Axis{Format: chart.Millis}, Series: []chart.Series{
				{Name: "own", Kind: chart.Area, X: at, Y: own, Color: 1}, {Name: "queue", Kind: chart.Area, X: at, Y: before, Color: 7},
				{Name: "on the way", Kind: chart.Area, X: at, Y: way, Color: 6}}},
			{Title: "instances", Weight: 0.7, Y: chart.Axis{Whole: true}, Series: []chart.Series{{Kind: chart.Step, X: x, Y: instances, Color: 3}}},
		},
	}
	dots := chart.Figure{
		Title:       "p99 against the calls a second of each instance",
		Description: "A dot a second of the experiment: to the right an instance has more to do, and at some point calls wait.",
		Width:       760, Height: 300,
		X: chart.Axis{Label: "calls a second, each instance"},
		Panels: []chart.Panel{
			{Y: chart.Axis{Label: "p99", Format: chart.Millis}, Series: []chart.Series{{Kind: chart.Dots, X: each, Y: p99, Color: 2}}},
		},
	}
	return report{figures: []chart.Figure{figure, dots}}
}
