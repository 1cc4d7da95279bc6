package ctl

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/show"
)

// maxWindow is what meshd keeps.
const maxWindow = time.Hour

func (a *App) latencyCommand() *cobra.Command {
	var out format
	var watch, once bool
	var window, interval time.Duration
	cmd := &cobra.Command{
		Use:   "latency SERVICE",
		Short: "Draw latency and instances of a service over time",
		Long: `Draw latency, instances and load of a service on one axis of time, as its callers
see them, with marks where something happened: ▲ another number of instances is
wanted, + an instance came, − it left, ○ breakers opened, ● the last one closed,
✕ an instance was ejected, ! configuration was rejected, ◆ a new version came.
The first line is the newest second, and what the mean call's time went to.

On a terminal the picture is drawn again every second, else once.`,
		Example: `  meshctl latency checkout --watch
  meshctl latency shop/cart --window 15m --once
  meshctl latency checkout -o json | jq '.samples[-1].p99Ms'`,
		Args:              between(1, 1),
		ValidArgsFunction: a.completeServices,
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			service, err := serviceName(args[0])
			switch {
			case err != nil:
				return err
			case watch && once:
				return usagef("--watch and --once: want one of the two")
			case interval <= 0:
				return usagef("--interval %v: want more than 0", interval)
			}
			if err := checkWindow(window); err != nil {
				return err
			}
			ctx := cmd.Context()
			return a.withClient(func(c *api.Client) error {
				if out == "table" && (watch || a.terminal() && !once) {
					return a.watch(ctx, interval, func() ([]string, error) {
						size := a.size()
						v, err := latencyOf(ctx, c, service, window, size)
						return show.Latency(v.scale(), size), err
					})
				}
				size := a.size()
				v, err := latencyOf(ctx, c, service, window, size)
				if err != nil {
					return err
				}
				return out.print(a.Out, v, func() []string { return show.Latency(v.scale(), size) })
			})
		}),
	}
	out.flag(cmd)
	f := cmd.Flags()
	f.BoolVar(&watch, "watch", false, "draw again and again (as on a terminal anyway)")
	f.BoolVar(&once, "once", false, "draw once (as without a terminal, and with -o json or yaml, anyway)")
	f.DurationVar(&window, "window", 5*time.Minute, "how far back, up to 1h")
	f.DurationVar(&interval, "interval", time.Second, "between two looks")
	return cmd
}

func checkWindow(w time.Duration) error {
	if w < time.Second || w > maxWindow {
		return usagef("--window %v: want 1s to 1h", w)
	}
	return nil
}

// A latencyView is what meshctl latency has of a service.
type latencyView struct {
	Service       api.ServiceName `json:"service"`
	From          time.Time       `json:"from"`
	WindowSeconds float64         `json:"windowSeconds"`
	StepSeconds   float64         `json:"stepSeconds"`
	Samples       []api.Sample    `json:"samples"`
	Events        []api.Event     `json:"events"`
}

func (v latencyView) scale() show.Scale {
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
	return show.Scale{Service: v.Service, Samples: v.Samples, Events: v.Events, From: v.From,
		Window: seconds(v.WindowSeconds), Step: seconds(v.StepSeconds)}
}

func latencyOf(ctx context.Context, c *api.Client, s api.ServiceName, window time.Duration, size show.Size) (latencyView, error) {
	dots := time.Duration(2 * size.PlotWidth())
	step := max((window/dots + time.Second - 1).Truncate(time.Second), time.Second)
	v := latencyView{Service: s, From: time.Now().Add(-window), WindowSeconds: window.Seconds(), StepSeconds: step.Seconds()}
	var err error
	if v.Samples, err = c.Series(ctx, s, window, url.Values{"step": {step.String()}}); err != nil {
		return v, unknownService(err)
	}
	if n := len(v.Samples); n > 0 {
		v.From = v.Samples[n-1].Time.Add(step - window)
	}
	v.Events, err = c.Events(ctx, s, window)
	return v, err
}

// unknownService says where services are listed.
func unknownService(err error) error {
	if api.IsNotFound(err) {
		return fmt.Errorf("%w: see meshctl status", err)
	}
	return err
}
