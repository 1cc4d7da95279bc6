package demo

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/meshd/meshd/ctl/show"
	"github.com/meshd/meshd/dashboard/chart"
	"github.com/meshd/meshd/internal/wait"
)

// workers shows one instance of slow with more and more workers under the
// same load: up to what it is asked for, throughput follows the workers, and
// p99 falls once the queue is gone.
func workers(ctx context.Context, cfg ExperimentConfig, r *rig) (chart.Figure, error) {
	if _, err := r.client.Apply(ctx, []byte(calmPolicy)); err != nil {
		return chart.Figure{}, err
	}
	fmt.Fprintf(cfg.Out, "One server, %v of work a call, %.0f calls a second asked for, %v a step.\n\n", serviceTime, cfg.Rate, cfg.Step)
	fmt.Fprintf(cfg.Out, "%7s  %9s  %10s  %8s  %9s  %9s\n", "WORKERS", "CAPACITY", "ANSWERED/S", "FAILED/S", "P50", "P99")
	var names []string
	var answered, capacity, p50, p99 []float64
	for _, n := range []int{1, 2, 4, 8, 16} {
		s, err := r.run(ctx, Slow, 1, "--workers", strconv.Itoa(n))
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
		err = wait.For(ctx, warmUp(cfg.Step))
		before := load.Snapshot()
		if err == nil {
			err = wait.For(ctx, cfg.Step-warmUp(cfg.Step))
		}
		got := load.Snapshot()
		over := got.Time.Sub(before.Time).Seconds()
		got = got.Since(before)
		stop()
		s.end()
		if err != nil {
			return chart.Figure{}, err
		}
		most := float64(n) * float64(time.Second) / float64(serviceTime)
		fmt.Fprintf(cfg.Out, "%7d  %7.0f/s  %10.0f  %8.0f  %9s  %9s  %s\n", n, most, float64(got.OK)/over, float64(got.Failed)/over,
			show.Milliseconds(ms(got.Quantile(0.5))), show.Milliseconds(ms(got.Quantile(0.99))), topCause(got))
		names = append(names, strconv.Itoa(n))
		answered = append(answered, float64(got.OK)/over)
		capacity = append(capacity, min(most, cfg.Rate))
		p50, p99 = append(p50, ms(got.Quantile(0.5))), append(p99, ms(got.Quantile(0.99)))
	}
	return chart.Figure{
		Title:       fmt.Sprintf("Workers in one server at %.0f calls a second", cfg.Rate),
		Description: "Throughput and latency for 1, 2, 4, 8 and 16 workers; the meshctl demo prints the same as a table.",
		Width:       640, Height: 420,
		X: chart.Axis{Label: "workers", Categories: names},
		Panels: []chart.Panel{
			{Y: chart.Axis{Label: "calls a second"}, Series: []chart.Series{
				{Name: "possible", Kind: chart.Bar, Y: capacity}, {Name: "answered", Kind: chart.Bar, Y: answered},
			}},
			{Y: chart.Axis{Label: "latency", Format: chart.Millis}, Series: []chart.Series{
				{Name: "p50", Kind: chart.Bar, Color: 3, Y: p50}, {Name: "p99", Kind: chart.Bar, Color: 4, Y: p99},
			}},
		},
	}, nil
}
