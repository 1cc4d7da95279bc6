package ctl

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/show"
)

// maxTraces bounds a list of them.
const maxTraces = 1000

// A traceOrder is what the user of meshctl trace has asked for.
type traceOrder struct {
	slow, failed bool
	service      string
	least        time.Duration
	limit        int
}

func (a *App) traceCommand() *cobra.Command {
	var out format
	var o traceOrder
	cmd := &cobra.Command{
		Use:   "trace ID | --slow | --error",
		Short: "Draw a trace, or find the slowest and the failed",
		Long: `Draw a trace as a waterfall: a bar for each span, with the attempts of each call,
why it was tried again, what it waited for, and what the time went to.

--slow lists the slowest traces that meshd keeps, --error the newest that failed,
and draws the first of them. Calls that fail or are slow are kept whatever the
sampling; meshctl why has the decisions of each sidecar on the way.`,
		Example: `  meshctl trace 4bf92f3577b34da6a3ce929d0e0e4736
  meshctl trace --error --service checkout
  meshctl trace --slow --min 100ms --limit 20 -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			asked := len(args)
			for _, is := range []bool{o.slow, o.failed} {
				if is {
					asked++
				}
			}
			switch {
			case asked != 1:
				return usagef("want a trace id, --slow or --error, one of the three")
			case len(args) == 1 && !isTraceID(args[0]):
				return usagef("trace id %q: want 32 hexadecimal digits, as in traceparent", args[0])
			case len(args) == 1 && (o.service != "" || o.least != 0):
				return usagef("--service and --min go with --slow and --error")
			case o.least < 0:
				return usagef("--min %v: want 0 or more", o.least)
			case o.limit < 1 || o.limit > maxTraces:
				return usagef("--limit %d: want 1 to %d", o.limit, maxTraces)
			}
			return nil
		},
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			return a.withClient(func(c *api.Client) error {
				if len(args) == 0 {
					return a.findTraces(cmd, c, o, out)
				}
				id := strings.ToLower(args[0])
				t, err := c.Trace(cmd.Context(), id)
				if api.IsNotFound(err) {
					return fmt.Errorf("meshd keeps no trace %s: it may be on its way (a second), older than what fits, or not sampled; meshctl why %s asks the sidecars", id, id)
				}
				if err != nil {
					return err
				}
				return out.print(a.Out, t, func() []string { return show.Waterfall(t, a.size()) })
			})
		}),
	}
	out.flag(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.slow, "slow", false, "the slowest")
	f.BoolVar(&o.failed, "error", false, "the newest that failed")
	f.StringVar(&o.service, "service", "", "only with spans of this `SERVICE`, or of calls to it")
	f.DurationVar(&o.least, "min", 0, "only those that took at least this long")
	f.IntVar(&o.limit, "limit", 10, "list so many")
	_ = cmd.RegisterFlagCompletionFunc("service", func(cmd *cobra.Command, _ []string, complete string) ([]string, cobra.ShellCompDirective) {
		return a.completeServices(cmd, nil, complete)
	}) // fails only for an unknown flag
	return cmd
}

func isTraceID(s string) bool {
	return len(s) == 32 && strings.Trim(strings.ToLower(s), "0123456789abcdef") == ""
}

// findTraces lists traces and draws the first.
func (a *App) findTraces(cmd *cobra.Command, c *api.Client, o traceOrder, out format) error {
	query := url.Values{"kind": {"slow"}, "limit": {strconv.Itoa(o.limit)}}
	what := "slow"
	if o.failed {
		query.Set("kind", "error")
		what = "failed"
	}
	if o.service != "" {
		s, err := serviceName(o.service)
		if err != nil {
			return err
		}
		query.Set("service", s.Namespace+"/"+s.Name)
	}
	if o.least > 0 {
		query.Set("min", o.least.String())
	}
	all, err := c.Traces(cmd.Context(), query)
	if err != nil {
		return err
	}
	if out != "table" {
		return out.print(a.Out, all, nil)
	}
	if len(all) == 0 {
		fmt.Fprintf(a.Err, "meshd keeps no %s trace\n", what)
		return nil
	}
	size := a.size()
	lines := append(show.Traces(all, size.Zone), "")
	t, err := c.Trace(cmd.Context(), all[0].ID)
	if err == nil {
		lines = append(lines, show.Waterfall(t, size)...)
	} else if !api.IsNotFound(err) { // it may just have made room for others
		return err
	}
	return printLines(a.Out, lines)
}
