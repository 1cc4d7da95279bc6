package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/show"
)

func (a *App) whyCommand() *cobra.Command {
	var out format
	var lastError, sidecar string
	cmd := &cobra.Command{
		Use:   "why TRACE_ID | --last-error SERVICE",
		Short: "Explain why a call went as it did",
		Long: `Explain why a call went as it did: its attempts, why each was made, and what the
endpoints were like. Sidecars keep the newest calls that failed, were slow or
are sampled; all sidecars that meshd knows are asked, or one with --sidecar.`,
		Example: `  meshctl why --last-error checkout
  meshctl why 4bf92f3577b34da6a3ce929d0e0e4736
  meshctl why --last-error checkout --sidecar 127.0.0.1:15000 -o json`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) > 1:
				return usagef("%d trace ids: want one", len(args))
			case (len(args) == 1) == (lastError != ""):
				return usagef("want a trace id or --last-error SERVICE, one of the two")
			case len(args) == 1 && !isTraceID(args[0]):
				return usagef("trace id %q: want 32 hexadecimal digits, as in traceparent", args[0])
			}
			return nil
		},
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			query := url.Values{}
			if lastError != "" {
				query = url.Values{"service": {lastError}, "kept": {"error"}, "limit": {"1"}}
			} else {
				query.Set("trace", args[0])
			}
			records, err := a.why(cmd.Context(), sidecar, query)
			if err != nil {
				return err
			}
			if lastError != "" {
				records = records[:1]
			}
			return out.print(a.Out, records, func() []string { return show.Why(records) })
		}),
	}
	cmd.Flags().StringVar(&lastError, "last-error", "", "the newest failed call to `SERVICE`, such as checkout or shop/cart:8080")
	cmd.Flags().StringVar(&sidecar, "sidecar", "", "ask only the sidecar whose admin port is at `ADDR`")
	out.flag(cmd)
	return cmd
}

// why asks the sidecars. It returns the newest record first of a service, the
// oldest first of a trace; an error if there is none.
func (a *App) why(ctx context.Context, sidecar string, query url.Values) ([]api.CallRecord, error) {
	of := []sidecarAt{{addr: sidecar}}
	if sidecar == "" {
		err := a.withClient(func(c *api.Client) error {
			status, err := c.Status(ctx)
			of = sidecarsOf(status, "")
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(of) == 0 {
			return nil, errors.New("meshd knows no sidecar that has an admin port: name one with --sidecar ADDR")
		}
	}
	records, failed := askSidecars(ctx, of, query)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(failed) > 0 {
		fmt.Fprintf(a.Err, "%d of %d sidecars could not be asked: %s\n", len(failed), len(of), listed(failed))
	}
	if len(failed) == len(of) {
		return nil, errNoSidecar
	}
	if len(records) == 0 {
		if s := query.Get("service"); s != "" {
			return nil, fmt.Errorf("no failed call to %s is kept by the %d sidecars asked: sidecars keep the newest 256, of those that they made or took", s, len(of)-len(failed))
		}
		return nil, fmt.Errorf("no call of trace %s is kept by the %d sidecars asked: sidecars keep the newest that failed, were slow, or are sampled", query.Get("trace"), len(of)-len(failed))
	}
	newest := query.Get("trace") == ""
	slices.SortStableFunc(records, func(x, y api.CallRecord) int {
		if newest {
			// Who made the call knows more of it than who took it.
			if x.Inbound != y.Inbound {
				if x.Inbound {
					return 1
				}
				return -1
			}
			return y.Time.Compare(x.Time)
		}
		return x.Time.Compare(y.Time)
	})
	return records, nil
}

// askSidecars also returns those that could not be asked.
func askSidecars(ctx context.Context, of []sidecarAt, query url.Values) (records []api.CallRecord, failed []string) {
	answers := make([][]api.CallRecord, len(of))
	errs := eachSidecar(ctx, of, func(ctx context.Context, i int, s sidecarAt) (err error) {
		answers[i], err = api.Why(ctx, s.addr, query)
		return err
	})
	for i, err := range errs {
		if err != nil {
			failed = append(failed, of[i].addr)
		}
	}
	slices.Sort(failed)
	return slices.Concat(answers...), failed
}

// listed are the first few.
func listed(all []string) string {
	if len(all) > 4 {
		return strings.Join(all[:4], ", ") + fmt.Sprintf(" and %d more", len(all)-4)
	}
	return strings.Join(all, ", ")
}
