package ctl

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/ctl/api"
)

// scalePoll is the pause between two looks at how many are ready.
const scalePoll = 100 * time.Millisecond

func (a *App) scaleCommand() *cobra.Command {
	var namespace string
	var wait bool
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "scale SERVICE N",
		Short: "Say how many instances of a service run",
		Long: `Say how many instances of a service run. Its supervisor, meshctl run, starts
the missing ones or drains the newest.`,
		Example: `  meshctl scale checkout 5
  meshctl scale checkout 5 --wait`,
		Args:              between(2, 2),
		ValidArgsFunction: a.completeServices,
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			n, err := strconv.Atoi(args[1])
			if err != nil || n < 0 {
				return usagef("replicas %q: want a whole number, 0 or more", args[1])
			}
			return a.withClient(func(c *api.Client) error {
				if err := c.SetScale(cmd.Context(), namespace, args[0], n); err != nil {
					return err
				}
				if wait {
					if err := awaitScale(cmd.Context(), c, namespace, args[0], n, timeout); err != nil {
						return err
					}
				}
				fmt.Fprintf(a.Out, "%s scaled to %d\n", args[0], n)
				return nil
			})
		}),
	}
	cmd.Flags().StringVarP(&namespace, "namespace", "n", "default", "the service's namespace")
	cmd.Flags().BoolVar(&wait, "wait", false, "return when that many are ready")
	cmd.Flags().DurationVar(&timeout, "timeout", time.Minute, "give up waiting after this long")
	return cmd
}

func awaitScale(ctx context.Context, c *api.Client, namespace, service string, n int, timeout time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	tick := time.NewTicker(scalePoll)
	defer tick.Stop()
	last := api.Scale{}
	for {
		sc, err := c.Scale(ctx, namespace, service)
		if err == nil && sc.Replicas != n {
			return fmt.Errorf("%s was scaled to %d meanwhile", service, sc.Replicas)
		}
		if err == nil && sc.Ready == n {
			return nil
		}
		if err == nil {
			last = sc
		} else if !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return fmt.Errorf("%s has %d of %d instances ready after %v: is its meshctl run running? see meshctl status",
				service, last.Ready, n, timeout)
		}
	}
}
