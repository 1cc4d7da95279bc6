package ctl

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/show"
)

// meshdTarget is what log-level calls meshd itself.
const meshdTarget = "meshd"

var logLevels = []string{"debug", "info", "warn", "error"}

// A levelOf is the log level of one process.
type levelOf struct {
	Process  string `json:"process"` // meshd or sidecar
	Service  string `json:"service,omitempty"`
	Instance string `json:"instance,omitempty"`
	Address  string `json:"address"`
	Level    string `json:"level,omitempty"`
	Error    string `json:"error,omitempty"`
}

func (a *App) logLevelCommand() *cobra.Command {
	var out format
	var sidecar, instance string
	cmd := &cobra.Command{
		Use:   "log-level [SERVICE|meshd] [LEVEL]",
		Short: "Show or change what meshd and sidecars log",
		Long: `Show or change what meshd and sidecars log while they run: debug, info, warn or
error. A service's are the sidecars of its instances. A change holds until the
process ends; --log-level is what it begins with.`,
		Example: `  meshctl log-level
  meshctl log-level checkout debug
  meshctl log-level checkout --instance checkout-0 debug
  meshctl log-level meshd info`,
		Args: func(cmd *cobra.Command, args []string) error {
			if err := between(0, 2)(cmd, args); err != nil {
				return err
			}
			switch {
			case len(args) == 1 && slices.Contains(logLevels, args[0]) && sidecar == "":
				return usagef("whose? want meshctl log-level SERVICE %s, or meshd", args[0])
			case len(args) == 2 && sidecar != "":
				return usagef("a service and --sidecar: want one of the two")
			case len(args) > 0 && args[0] == meshdTarget && instance != "":
				return usagef("--instance: meshd has none")
			case instance != "" && len(args) == 0:
				return usagef("--instance: want its service too")
			}
			return nil
		},
		ValidArgsFunction: a.completeLogLevel,
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			target, level := "", ""
			switch {
			case sidecar != "" && len(args) == 1:
				level = args[0]
			case len(args) > 0:
				target = args[0]
				if len(args) == 2 {
					level = args[1]
				}
			}
			if level != "" && !slices.Contains(logLevels, level) {
				return usagef("level %q: want debug, info, warn or error", level)
			}
			levels, err := a.logLevel(cmd.Context(), target, sidecar, instance, level)
			if err != nil {
				return err
			}
			err = out.print(a.Out, levels, func() []string { return levelTable(levels) })
			failed := 0
			for _, l := range levels {
				if l.Error != "" {
					failed++
				}
			}
			if err == nil && failed == len(levels) {
				err = errNoSidecar
			} else if err == nil && failed > 0 {
				err = fmt.Errorf("%d of %d could not be asked", failed, len(levels))
			}
			return err
		}),
	}
	cmd.Flags().StringVar(&sidecar, "sidecar", "", "the sidecar whose admin port is at `ADDR`, in place of a service")
	cmd.Flags().StringVar(&instance, "instance", "", "only this instance of the service")
	out.flag(cmd)
	return cmd
}

func (a *App) completeLogLevel(cmd *cobra.Command, args []string, complete string) ([]string, cobra.ShellCompDirective) {
	if len(args) == 1 {
		return logLevels, cobra.ShellCompDirectiveNoFileComp
	}
	names, directive := a.completeServices(cmd, args, complete)
	if len(args) == 0 {
		names = append(names, meshdTarget)
	}
	return names, directive
}

// logLevel asks, and sets level before if it is not empty.
func (a *App) logLevel(ctx context.Context, target, sidecar, instance, level string) (out []levelOf, err error) {
	of := []sidecarAt{{addr: sidecar}}
	if sidecar == "" {
		err = a.withClient(func(c *api.Client) error {
			if target == "" || target == meshdTarget {
				was, err := c.LogLevel(ctx, level)
				if err != nil {
					return err
				}
				out = append(out, levelOf{Process: meshdTarget, Address: c.URL(), Level: was})
			}
			of, err = a.levelTargets(ctx, c, target, instance)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	sidecars := make([]levelOf, len(of))
	errs := eachSidecar(ctx, of, func(ctx context.Context, i int, s sidecarAt) (err error) {
		sidecars[i] = levelOf{Process: "sidecar", Service: s.service, Instance: s.instance, Address: s.addr}
		sidecars[i].Level, err = api.SidecarLogLevel(ctx, s.addr, level)
		return err
	})
	for i, err := range errs {
		if err != nil {
			sidecars[i].Error = err.Error()
		}
	}
	slices.SortStableFunc(sidecars, func(x, y levelOf) int {
		return cmp.Or(cmp.Compare(x.Service, y.Service), cmp.Compare(x.Instance, y.Instance))
	})
	return append(out, sidecars...), ctx.Err()
}

// levelTargets are the sidecars that are meant.
func (a *App) levelTargets(ctx context.Context, c *api.Client, target, instance string) ([]sidecarAt, error) {
	if target == meshdTarget {
		return nil, nil
	}
	status, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	of := sidecarsOf(status, target)
	if instance != "" {
		of = slices.DeleteFunc(of, func(s sidecarAt) bool { return s.instance != instance })
	}
	switch {
	case len(of) > 0 || target == "":
		return of, nil
	case instance != "":
		return nil, fmt.Errorf("%s has no instance %s with a sidecar's admin port: see meshctl status", target, instance)
	case !slices.ContainsFunc(status.Services, func(s api.Service) bool { return isService(s, target) }):
		return nil, fmt.Errorf("no service %s: see meshctl status", target)
	}
	return nil, errors.New(target + " has no instance with a sidecar's admin port: see meshctl status, or name one with --sidecar ADDR")
}

func levelTable(levels []levelOf) []string {
	rows := [][]string{{"PROCESS", "SERVICE", "INSTANCE", "ADDRESS", "LEVEL"}}
	for _, l := range levels {
		level := l.Level
		if l.Error != "" {
			level = "? " + l.Error
		}
		rows = append(rows, []string{l.Process, l.Service, l.Instance, l.Address, level})
	}
	return show.Columns(rows)
}
