package ctl

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/show"
)

func (a *App) topCommand() *cobra.Command {
	var out format
	var once bool
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "top [SERVICE…]",
		Short: "Watch rate, success and latency of every service",
		Long: `Watch rate, success and latency of every service, as its callers see them over
the last five seconds. On a terminal the table is drawn again in place, else
there is a line a service each time.

A call failed if its HTTP status was 500 or more, if its gRPC status was
UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE or DATA_LOSS,
or if a sidecar had to answer in the service's place.`,
		Example: `  meshctl top
  meshctl top checkout --interval 5s
  meshctl top --once -o json`,
		ValidArgsFunction: a.completeServices,
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			if interval <= 0 {
				return usagef("--interval %v: want more than 0", interval)
			}
			return a.withClient(func(c *api.Client) error {
				if once || out != "table" {
					m, err := c.Metrics(cmd.Context())
					if err != nil {
						return err
					}
					only(&m, args)
					return out.print(a.Out, m, func() []string { return show.Metrics(m) })
				}
				return a.top(cmd.Context(), c, interval, args)
			})
		}),
	}
	out.flag(cmd)
	cmd.Flags().BoolVar(&once, "once", false, "print the table once (always with -o json or yaml)")
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "between two looks")
	return cmd
}

func (a *App) top(ctx context.Context, c *api.Client, interval time.Duration, services []string) error {
	draw := func(m api.Metrics) {
		for _, s := range m.Services {
			fmt.Fprintln(a.Out, show.MetricsLine(time.Now(), s))
		}
	}
	if f, ok := show.Terminal(a.Out); ok {
		screen := show.NewScreen(f, func() int { return show.TerminalWidth(f) })
		draw = func(m api.Metrics) { screen.Draw(show.Metrics(m)) }
	}
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		m, err := c.Metrics(ctx)
		if ctx.Err() != nil {
			return nil // Ctrl-C is how it ends
		}
		if err != nil {
			return err
		}
		only(&m, services)
		draw(m)
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// only leaves the services that are named, if any are.
func only(m *api.Metrics, names []string) {
	if len(names) > 0 {
		m.Services = slices.DeleteFunc(m.Services, func(s api.ServiceMetrics) bool {
			return !slices.Contains(names, s.Name) && !slices.Contains(names, s.Namespace+"/"+s.Name)
		})
	}
}
