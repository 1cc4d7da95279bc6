package ctl

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/show"
)

func (a *App) mapCommand() *cobra.Command {
	var out format
	var watch bool
	var window, interval time.Duration
	cmd := &cobra.Command{
		Use:   "map",
		Short: "Show who calls whom",
		Long: `Show who calls whom, how often, with what success and latency, as the callers see
it. Below each service is what it calls; where that has been shown already, ↑
says so.`,
		Example: `  meshctl map
  meshctl map --window 15m -o json | jq '.[] | [.from.name, .to.name, .rps]'
  meshctl map --watch`,
		Args: cobra.NoArgs,
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			if err := checkWindow(window); err != nil {
				return err
			}
			if interval <= 0 {
				return usagef("--interval %v: want more than 0", interval)
			}
			return a.withClient(func(c *api.Client) error {
				if watch && out == "table" {
					return a.watch(cmd.Context(), interval, func() ([]string, error) {
						edges, err := c.Map(cmd.Context(), window)
						return mapLines(edges, window), err
					})
				}
				edges, err := c.Map(cmd.Context(), window)
				if err != nil {
					return err
				}
				return out.print(a.Out, edges, func() []string { return mapLines(edges, window) })
			})
		}),
	}
	out.flag(cmd)
	cmd.Flags().BoolVar(&watch, "watch", false, "show it again and again")
	cmd.Flags().DurationVar(&window, "window", time.Minute, "how far back, up to 1h")
	cmd.Flags().DurationVar(&interval, "interval", time.Second, "between two looks")
	return cmd
}

func mapLines(edges []api.Edge, window time.Duration) []string {
	if len(edges) == 0 {
		return []string{"no calls in the last " + show.ShortDuration(window)}
	}
	return show.Map(edges)
}
