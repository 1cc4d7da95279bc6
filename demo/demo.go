package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/meshd/meshd/internal/loadgen"
	"github.com/meshd/meshd/internal/wait"
)

// A Config is one demo.
type Config struct {
	Setup
	Replicas int           // of each service at the start
	Rate     float64       // calls of front a second
	Duration time.Duration // zero: until ctx ends or somebody quits
	Interval time.Duration // between two looks
	Out      io.Writer     // a terminal is drawn on, anything else gets lines
	// Keys are read from the terminal.
	Keys bool
	// Socket is where `meshctl demo kill` and the like reach it.
	Socket string
}

const (
	loadConnections = 128
	retry           = 500 * time.Millisecond
)

// Run runs the demo until ctx ends, Duration has passed or the user quits,
// and leaves nothing behind. It returns an error if something could not be
// started or a whole service was lost.
func Run(ctx context.Context, cfg Config) (err error) {
	ctx, quit := context.WithCancel(ctx)
	defer quit()
	d := &demo{cfg: cfg, quit: quit}
	d.view = newView(&cfg)
	cfg.Say = d.view.say
	d.view.say("starting meshd, three services and their sidecars …")

	d.rig, err = startRig(ctx, cfg.Setup)
	defer d.rig.close()
	if err != nil {
		return unlessStopped(ctx, err)
	}
	d.services = map[string]*running{}
	for _, role := range []string{Slow, Fast, Front} { // the called ones first
		if d.services[role], err = d.rig.run(ctx, role, cfg.Replicas); err != nil {
			return unlessStopped(ctx, err)
		}
	}
	if err := d.rig.awaitAnswer(ctx, Front); err != nil {
		return unlessStopped(ctx, err)
	}
	return d.underLoad(ctx)
}

// unlessStopped drops an error that is only the user's Ctrl-C.
func unlessStopped(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

type demo struct {
	cfg      Config
	quit     context.CancelFunc
	rig      *rig
	services map[string]*running
	load     *loadgen.Generator
	view     *view

	mu     sync.Mutex
	slowed map[string]bool // instances
}

func (d *demo) underLoad(ctx context.Context) error {
	var err error
	d.load, err = loadgen.New(loadgen.Config{
		URL: "http://" + Front + "/", Proxy: d.rig.outbound, Rate: d.cfg.Rate,
		Connections: loadConnections, Duration: d.cfg.Duration,
	})
	if err != nil {
		return err
	}
	d.slowed = map[string]bool{}
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	d.view.begin(d)
	defer func() { d.view.end(d.load.Snapshot()) }()
	defer wg.Wait()
	defer cancel()

	loaded := make(chan struct{})
	wg.Go(func() {
		defer close(loaded)
		d.load.Run(ctx)
	})
	if l, remove, err := listen(d.cfg.Socket); err != nil {
		d.view.say(fmt.Sprintf("meshctl demo kill, slow and reset do not reach this demo: %v", err))
	} else {
		wg.Go(func() {
			d.actions().serve(ctx, l)
			remove()
		})
	}
	if d.cfg.Keys {
		if k, err := openKeyboard(); err == nil {
			wg.Go(func() { k.read(func(key byte) { d.press(ctx, key) }) })
			defer k.close()
		}
	}
	wg.Go(func() { d.watch(ctx) })

	tick := time.NewTicker(d.cfg.Interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			d.view.tick(d.load.Snapshot())
		case <-loaded:
			return nil
		case <-ctx.Done():
			return nil
		case <-d.services[Front].ended:
			return d.services[Front].err
		case <-d.services[Fast].ended:
			return d.services[Fast].err
		case <-d.services[Slow].ended:
			return d.services[Slow].err
		}
	}
}

// watch shows what meshd measures, for as long as there is one.
func (d *demo) watch(ctx context.Context) {
	for ctx.Err() == nil {
		d.rig.client.WatchMetrics(ctx, d.view.metrics) // ends with meshd, or with ctx
		_ = wait.For(ctx, retry)
	}
}

// awaitAnswer waits until a call of service, through the load's sidecar, is
// answered 200.
func (r *rig) awaitAnswer(ctx context.Context, service string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	transport := &http.Transport{Proxy: http.ProxyURL(&url.URL{Scheme: "http", Host: r.outbound}), DisableKeepAlives: true}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+service+"/", nil)
		if err != nil {
			return err
		}
		resp, err := transport.RoundTrip(req)
		switch {
		case err != nil:
			last = err
		case resp.StatusCode != http.StatusOK:
			resp.Body.Close()
			last = fmt.Errorf("%s answers %s (%s)", service, resp.Status, resp.Header.Get("Proxy-Status"))
		default:
			resp.Body.Close()
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return ctx.Err()
			}
			return r.explain(fmt.Errorf("calls through the sidecar do not succeed: %w", last))
		}
	}
}
