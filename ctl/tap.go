package ctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/show"
)

const (
	// tapLook is how often meshd is asked for sidecars that have come.
	tapLook = 2 * time.Second
	// maxTaps bounds the sidecars that one meshctl taps.
	maxTaps = 64
)

// The points from which calls are seen.
const (
	viewIn      = "in"
	viewCallers = "callers"
	viewOut     = "out"
)

// A tapOrder is what the user of meshctl tap has asked for.
type tapOrder struct {
	service    string
	view       string
	sidecar    string
	method     string
	path       string
	status     string
	instance   string
	headers    []string
	failed     bool
	minLatency time.Duration
	maxRPS     float64
	limit      int
	during     time.Duration
}

func (a *App) tapCommand() *cobra.Command {
	var o tapOrder
	var out format
	cmd := &cobra.Command{
		Use:   "tap SERVICE",
		Short: "Show calls live, as they end",
		Long: `Show calls live, as they end: those that SERVICE takes, as the sidecars of its
instances see them. Its callers see more of a call, such as attempts, and calls
that never got to an instance: --view callers. --view out shows the calls that
SERVICE makes. Instances that come meanwhile are tapped too.

At most --max-rps calls a second are shown, and the number of the others is
said. A sidecar that nobody taps does nothing for it. Headers of requests are
shown only by name, and never the value of one that lets somebody in, such as
Authorization or Cookie.`,
		Example: `  meshctl tap checkout
  meshctl tap shop/cart --error --view callers
  meshctl tap checkout --path /items --min-latency 100ms --headers x-user
  meshctl tap checkout --status 5xx,429 --limit 10 -o json`,
		Args:              between(1, 1),
		ValidArgsFunction: a.completeServices,
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			o.service = args[0]
			if err := o.check(out); err != nil {
				return err
			}
			return a.tap(cmd.Context(), o, out == "json")
		}),
	}
	out.flag(cmd)
	f := cmd.Flags()
	f.StringVar(&o.view, "view", viewIn, "who sees the calls: in, callers or out")
	f.StringVar(&o.method, "method", "", "only calls of this method, such as GET")
	f.StringVar(&o.path, "path", "", "only calls whose path begins so")
	f.StringVar(&o.status, "status", "", "only these: 503, 5xx, 400-499, UNAVAILABLE, or several with commas")
	f.BoolVar(&o.failed, "error", false, "only calls that failed")
	f.DurationVar(&o.minLatency, "min-latency", 0, "only calls that took at least this long")
	f.StringVar(&o.instance, "instance", "", "only calls to this instance")
	f.StringSliceVar(&o.headers, "headers", nil, "show these headers of the request: `NAME,…`")
	f.Float64Var(&o.maxRPS, "max-rps", 100, "show at most so many calls a second, up to 1000")
	f.IntVar(&o.limit, "limit", 0, "end after so many calls; 0: do not")
	f.DurationVar(&o.during, "for", 0, "end after this long; 0: do not")
	f.StringVar(&o.sidecar, "sidecar", "", "tap only the sidecar whose admin port is at `ADDR`")
	_ = cmd.RegisterFlagCompletionFunc("view", cobra.FixedCompletions([]string{viewIn, viewCallers, viewOut}, cobra.ShellCompDirectiveNoFileComp)) // fails only for an unknown flag
	return cmd
}

func (o *tapOrder) check(out format) error {
	switch {
	case out == "yaml":
		return usagef("-o yaml: want table or json, a line a call")
	case o.view != viewIn && o.view != viewCallers && o.view != viewOut:
		return usagef("--view %q: want in, callers or out", o.view)
	case o.maxRPS <= 0 || o.maxRPS > 1000:
		return usagef("--max-rps %v: want more than 0 and at most 1000", o.maxRPS)
	case o.limit < 0:
		return usagef("--limit %d: want 0 or more", o.limit)
	case o.minLatency < 0:
		return usagef("--min-latency %v: want 0 or more", o.minLatency)
	case o.during < 0:
		return usagef("--for %v: want 0 or more", o.during)
	}
	return nil
}

// query is what the sidecars are asked.
func (o *tapOrder) query() url.Values {
	q := url.Values{"side": {"out"}, "max-rps": {strconv.FormatFloat(o.maxRPS, 'g', -1, 64)}}
	if o.view == viewIn {
		q.Set("side", "in")
	}
	if o.view != viewOut {
		q.Set("service", o.service)
	}
	for name, value := range map[string]string{
		"method": o.method, "path": o.path, "status": o.status, "instance": o.instance, "headers": strings.Join(o.headers, ","),
	} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if o.failed {
		q.Set("error", "true")
	}
	if o.minLatency > 0 {
		q.Set("min-latency", o.minLatency.String())
	}
	return q
}

// A tapping is one run of meshctl tap.
type tapping struct {
	app   *App
	order tapOrder
	json  bool
	end   context.CancelFunc

	mu     sync.Mutex // of what follows, and of the output
	shown  int
	since  time.Time // when the second began in which inIt calls came
	inIt   float64
	over   uint64 // beyond max-rps here
	missed map[string]api.TapMissed
	err    error // of a sidecar that has refused, or of the output

	state map[string]tapState // of the sidecars
	work  sync.WaitGroup
}

// A tapState is how a sidecar is tapped.
type tapState uint8

const (
	tapNone   tapState = iota // it is not: it was never heard of, or is gone
	tapAsked                  // it is being asked
	tapHeard                  // it is tapped
	tapFailed                 // it could not be, and the user has been told
	tapAgain                  // it is asked again after that
)

func (a *App) tap(ctx context.Context, o tapOrder, asJSON bool) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	if o.during > 0 {
		ctx, end = context.WithTimeout(ctx, o.during)
		defer end()
	}
	t := &tapping{app: a, order: o, json: asJSON, end: end, missed: map[string]api.TapMissed{}, state: map[string]tapState{}}
	defer t.work.Wait()
	defer end()
	if o.sidecar != "" {
		err := api.Tap(ctx, o.sidecar, o.query(), func(e api.TapEvent) { t.event(o.sidecar, e) })
		return t.finish(ctx, err)
	}
	return a.withClient(func(c *api.Client) error {
		if err := t.find(ctx, c); err != nil {
			return err
		}
		look := time.NewTicker(tapLook)
		defer look.Stop()
		for {
			select {
			case <-look.C:
				_ = t.find(ctx, c) // it knows sidecars already: a meshd that is away is no reason to end
			case <-ctx.Done():
				end()
				t.work.Wait()
				return t.finish(ctx, nil)
			}
		}
	})
}

// finish ends the run: what was not shown is said.
func (t *tapping) finish(ctx context.Context, err error) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := api.TapMissed{Over: t.over}
	for _, m := range t.missed {
		sum.Over += m.Over
		sum.Lost += m.Lost
	}
	if sum.Over > 0 {
		fmt.Fprintf(t.app.Err, "%d more calls matched and were not shown: more than --max-rps %v\n", sum.Over, t.order.maxRPS)
	}
	if sum.Lost > 0 {
		fmt.Fprintf(t.app.Err, "%d more calls matched and were lost: they came faster than they were read\n", sum.Lost)
	}
	if t.err != nil {
		return t.err
	}
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// find taps the sidecars that are not tapped yet.
func (t *tapping) find(ctx context.Context, c *api.Client) error {
	status, err := c.Status(ctx)
	if err != nil {
		return err
	}
	of, err := t.sidecars(status)
	if err != nil {
		return err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, s := range of {
		addr := s.addr
		switch t.state[addr] {
		case tapNone:
			if len(t.state) >= maxTaps {
				continue
			}
			t.state[addr] = tapAsked
		case tapFailed:
			t.state[addr] = tapAgain
		default:
			continue
		}
		t.work.Go(func() { t.one(ctx, addr) })
	}
	return nil
}

// sidecars are those that are to be tapped.
func (t *tapping) sidecars(status api.Status) ([]sidecarAt, error) {
	name := t.order.service
	served := slices.ContainsFunc(status.Services, func(s api.Service) bool { return isService(s, name) })
	switch {
	case !served && len(sidecarsOf(status, name)) == 0:
		return nil, fmt.Errorf("no service %s: see meshctl status", name)
	case !served && t.order.view != viewOut:
		return nil, fmt.Errorf("%s has no instance, and only makes calls: want --view out", name)
	}
	if t.order.view == viewCallers {
		name = "" // any may call it
	}
	of := sidecarsOf(status, name)
	if len(of) == 0 {
		return nil, fmt.Errorf("%s has no instance with a sidecar's admin port: see meshctl status, or name one with --sidecar ADDR", t.order.service)
	}
	return of, nil
}

// one taps a sidecar until it or ctx ends.
func (t *tapping) one(ctx context.Context, addr string) {
	err := api.Tap(ctx, addr, t.order.query(), func(e api.TapEvent) { t.event(addr, e) })
	t.mu.Lock()
	defer t.mu.Unlock()
	refused := (*api.SidecarRefused)(nil)
	switch {
	case ctx.Err() != nil:
	case errors.As(err, &refused) && refused.Code == 400:
		t.err = refused // so would the others
		t.end()
	case t.state[addr] == tapHeard:
		delete(t.state, addr) // it has ended, as instances do
	case t.state[addr] == tapAsked:
		t.state[addr] = tapFailed
		fmt.Fprintf(t.app.Err, "%v\n", err)
		if t.allFailed() {
			if t.err = errNoSidecar; refused != nil {
				t.err = errors.New("no sidecar can be tapped now")
			}
			t.end()
		}
	default:
		t.state[addr] = tapFailed
	}
}

// allFailed needs mu.
func (t *tapping) allFailed() bool {
	for _, s := range t.state {
		if s != tapFailed {
			return false
		}
	}
	return true
}

// event shows a call.
func (t *tapping) event(addr string, e api.TapEvent) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.err != nil || t.order.limit > 0 && t.shown >= t.order.limit:
		return // it ends
	case e.Missed != nil:
		t.missed[addr] = *e.Missed
		return
	case e.Call == nil:
		t.state[addr] = tapHeard
		return
	}
	if now := time.Now(); now.Sub(t.since) >= time.Second {
		t.since, t.inIt = now, 0
	}
	if t.inIt++; t.inIt > max(t.order.maxRPS, 1) {
		t.over++
		return
	}
	if t.err = t.print(*e.Call); t.err != nil {
		t.end()
		return
	}
	if t.shown++; t.shown == t.order.limit {
		t.end()
	}
}

func (t *tapping) print(c api.TapCall) error {
	if t.json {
		return json.NewEncoder(t.app.Out).Encode(c)
	}
	_, err := fmt.Fprintln(t.app.Out, show.Tap(c, time.Local))
	return err
}
