package ctl

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/show"
)

// whyTimeout bounds the wait for one sidecar.
const whyTimeout = 2 * time.Second

var errNoSidecar = errors.New("no sidecar can be reached: admin ports listen on loopback, of another machine or pod too; there, " +
	"`kubectl port-forward POD 15000` or `ssh -L 15000:127.0.0.1:15000 HOST` and then --sidecar 127.0.0.1:15000, " +
	"or `kubectl exec POD -- meshctl why ... --sidecar 127.0.0.1:15000`")

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
			case len(args) == 1 && (len(args[0]) != 32 || strings.Trim(strings.ToLower(args[0]), "0123456789abcdef") != ""):
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
	addrs := []string{sidecar}
	if sidecar == "" {
		err := a.withClient(func(c *api.Client) (err error) {
			addrs, err = adminAddresses(ctx, c)
			return err
		})
		if err != nil {
			return nil, err
		}
		if len(addrs) == 0 {
			return nil, errors.New("meshd knows no sidecar that has an admin port: name one with --sidecar ADDR")
		}
	}
	records, failed := askSidecars(ctx, addrs, query)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(failed) > 0 {
		fmt.Fprintf(a.Err, "%d of %d sidecars could not be asked: %s\n", len(failed), len(addrs), listed(failed))
	}
	if len(failed) == len(addrs) {
		return nil, errNoSidecar
	}
	if len(records) == 0 {
		if s := query.Get("service"); s != "" {
			return nil, fmt.Errorf("no failed call to %s is kept by the %d sidecars asked: sidecars keep the newest 256, of those that they made or took", s, len(addrs)-len(failed))
		}
		return nil, fmt.Errorf("no call of trace %s is kept by the %d sidecars asked: sidecars keep the newest that failed, were slow, or are sampled", query.Get("trace"), len(addrs)-len(failed))
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

func adminAddresses(ctx context.Context, c *api.Client) ([]string, error) {
	status, err := c.Status(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, s := range status.Services {
		for _, i := range s.Instances {
			if i.Admin != "" {
				out = append(out, i.Admin)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out), nil
}

// askSidecars asks up to 32 at once.
func askSidecars(ctx context.Context, addrs []string, query url.Values) (records []api.CallRecord, failed []string) {
	var mu sync.Mutex
	var work sync.WaitGroup
	places := make(chan struct{}, 32)
	for _, addr := range addrs {
		places <- struct{}{}
		work.Go(func() {
			defer func() { <-places }()
			ctx, cancel := context.WithTimeout(ctx, whyTimeout)
			defer cancel()
			got, err := api.Why(ctx, addr, query)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, addr)
				return
			}
			records = append(records, got...)
		})
	}
	work.Wait()
	slices.Sort(failed)
	return records, failed
}

// listed are the first few.
func listed(all []string) string {
	if len(all) > 4 {
		return strings.Join(all[:4], ", ") + fmt.Sprintf(" and %d more", len(all)-4)
	}
	return strings.Join(all, ", ")
}
