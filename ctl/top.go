package ctl

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/show"
	"github.com/meshd/meshd/internal/wait"
)

// instanceWindow is over how long top --instances shows instances.
const instanceWindow = 10 * time.Second

// A topOrder is what the user of meshctl top has asked for.
type topOrder struct {
	out              format
	once             bool
	interval         time.Duration
	instances, route string
	sidecars         []string
}

func (a *App) topCommand() *cobra.Command {
	var o topOrder
	cmd := &cobra.Command{
		Use:   "top [SERVICE…]",
		Short: "Watch rate, success and latency of services, instances or routes",
		Long: `Watch rate, success and latency of every service, as its callers see them over
the last five seconds. On a terminal the table is drawn again in place, else
there is a line a service each time.

--instances shows a service's instances over the last ten seconds, as their own
sidecars see them, how far their shares are from equal ones, and the weights
that their callers' balancers aim at now. --routes shows its routes between two
looks, as the sidecars of those that call it count them; --sidecar names one
that meshd does not know.

A call failed if its HTTP status was 500 or more, if its gRPC status was
UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE or DATA_LOSS,
or if a sidecar had to answer in the service's place.`,
		Example: `  meshctl top
  meshctl top checkout --interval 5s
  meshctl top --instances checkout
  meshctl top --routes shop/cart --once
  meshctl top --once -o json`,
		ValidArgsFunction: a.completeServices,
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			switch {
			case o.interval <= 0:
				return usagef("--interval %v: want more than 0", o.interval)
			case o.instances != "" && o.route != "":
				return usagef("--instances and --routes: want one of the two")
			case len(args) > 0 && (o.instances != "" || o.route != ""):
				return usagef("%d services: --instances and --routes name the only one", len(args))
			case len(o.sidecars) > 0 && o.route == "":
				return usagef("--sidecar goes with --routes")
			}
			return a.withClient(func(c *api.Client) error {
				switch {
				case o.instances != "":
					return a.topInstances(cmd.Context(), c, &o)
				case o.route != "":
					return a.topRoutes(cmd.Context(), c, &o)
				}
				return a.topServices(cmd.Context(), c, &o, args)
			})
		}),
	}
	o.out.flag(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.once, "once", false, "print the table once (always with -o json or yaml)")
	f.DurationVar(&o.interval, "interval", time.Second, "between two looks")
	f.StringVar(&o.instances, "instances", "", "the instances of `SERVICE`")
	f.StringVar(&o.route, "routes", "", "the routes of `SERVICE`")
	f.StringSliceVar(&o.sidecars, "sidecar", nil, "with --routes: also ask the sidecar whose admin port is at `ADDR`")
	for _, flag := range []string{"instances", "routes"} {
		_ = cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, complete string) ([]string, cobra.ShellCompDirective) {
			return a.completeServices(cmd, nil, complete)
		}) // fails only for an unknown flag
	}
	return cmd
}

func (o *topOrder) single() bool { return o.once || o.out != "table" }

func (a *App) topServices(ctx context.Context, c *api.Client, o *topOrder, args []string) error {
	get := func() (api.Metrics, error) {
		m, err := c.Metrics(ctx)
		only(&m, args)
		return m, err
	}
	if o.single() {
		m, err := get()
		if err != nil {
			return err
		}
		return o.out.print(a.Out, m, func() []string { return show.Metrics(m) })
	}
	return a.watch(ctx, o.interval, func() (lines []string, err error) {
		m, err := get()
		if a.terminal() {
			return show.Metrics(m), err
		}
		for _, s := range m.Services {
			lines = append(lines, show.MetricsLine(time.Now(), s))
		}
		return lines, err
	})
}

func (a *App) topInstances(ctx context.Context, c *api.Client, o *topOrder) error {
	s, err := serviceName(o.instances)
	if err != nil {
		return err
	}
	table := func(all []api.InstanceStat) []string {
		if len(all) == 0 {
			return []string{fmt.Sprintf("no instance of %s has reported in the last %v", show.Name(s.Namespace, s.Name), instanceWindow)}
		}
		return show.Instances(all)
	}
	if o.single() {
		all, err := c.Instances(ctx, s, instanceWindow)
		if err != nil {
			return unknownService(err)
		}
		return o.out.print(a.Out, all, func() []string { return table(all) })
	}
	return a.watch(ctx, o.interval, func() ([]string, error) {
		all, err := c.Instances(ctx, s, instanceWindow)
		return table(all), unknownService(err)
	})
}

func (a *App) topRoutes(ctx context.Context, c *api.Client, o *topOrder) error {
	looks := routeLooks{service: o.route, also: o.sidecars}
	if _, err := looks.look(ctx, c); err != nil {
		return err
	}
	if err := wait.For(ctx, o.interval); err != nil {
		return err
	}
	if o.single() {
		rows, err := looks.look(ctx, c)
		if err != nil {
			return err
		}
		return o.out.print(a.Out, rows, func() []string { return routeTable(o.route, rows) })
	}
	return a.watch(ctx, o.interval, func() ([]string, error) {
		rows, err := looks.look(ctx, c)
		return routeTable(o.route, rows), err
	})
}

// only leaves the services that are named, if any are.
func only(m *api.Metrics, names []string) {
	if len(names) > 0 {
		m.Services = slices.DeleteFunc(m.Services, func(s api.ServiceMetrics) bool {
			return !slices.Contains(names, s.Name) && !slices.Contains(names, s.Namespace+"/"+s.Name)
		})
	}
}
