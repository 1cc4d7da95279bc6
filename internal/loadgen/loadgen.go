// Package loadgen sends HTTP requests at a fixed rate, whatever becomes of
// them (open loop). Latency counts from the moment at which a request was due,
// so that a server that stalls cannot hide it by slowing its caller down.
package loadgen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// A Config is one load. URL and Rate must be given.
type Config struct {
	URL    string
	Host   string // the Host header, if not URL's
	Proxy  string // host:port of an HTTP proxy; empty: none, whatever the environment says
	Header http.Header
	Rate   float64 // requests a second, to begin with
	// Connections bounds the requests in flight, 64 if zero. Requests that
	// are due meanwhile wait, Backlog of them at most (16 times Connections
	// if zero); more are dropped and count as failed.
	Connections, Backlog int
	// Duration ends the load; zero: only the context does.
	Duration time.Duration
	Timeout  time.Duration // of one request, from its sending; 10 s if zero
}

// A Generator is one load. Snapshot may be called at any time, from any
// goroutine; Run once.
type Generator struct {
	cfg       Config
	transport http.RoundTripper

	sent, ok, failed, dropped atomic.Int64
	inFlight                  atomic.Int64
	latency                   histogram
	rate                      atomic.Uint64 // bits of a float64
	mu                        sync.Mutex
	causes                    map[string]int64
}

// New checks cfg.
func New(cfg Config) (*Generator, error) {
	u, err := url.Parse(cfg.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http":
		return nil, fmt.Errorf("load: URL %q: want http://HOST/…", cfg.URL)
	case cfg.Rate <= 0 || cfg.Rate > 1e6:
		return nil, fmt.Errorf("load: rate %v: want more than 0 and at most 1000000 a second", cfg.Rate)
	case cfg.Connections < 0 || cfg.Backlog < 0 || cfg.Duration < 0 || cfg.Timeout < 0:
		return nil, errors.New("load: connections, backlog, duration and timeout: want 0 or more")
	}
	if cfg.Connections == 0 {
		cfg.Connections = 64
	}
	if cfg.Backlog == 0 {
		cfg.Backlog = 16 * cfg.Connections
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	transport := &http.Transport{MaxIdleConnsPerHost: cfg.Connections, MaxConnsPerHost: cfg.Connections, DisableCompression: true}
	if cfg.Proxy != "" {
		transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: cfg.Proxy})
	}
	g := &Generator{cfg: cfg, transport: transport, causes: map[string]int64{}}
	g.SetRate(cfg.Rate)
	return g, nil
}

// SetRate changes the rate from the next request on; what is not more than 0
// changes nothing. It may be called from any goroutine.
func (g *Generator) SetRate(perSecond float64) {
	if perSecond > 0 && perSecond <= 1e6 {
		g.rate.Store(math.Float64bits(perSecond))
	}
}

// Run sends until the context or the duration ends, waits for the answers of
// what was sent, and returns. It returns no error for what became of them.
func (g *Generator) Run(ctx context.Context) {
	if t, ok := g.transport.(*http.Transport); ok {
		defer t.CloseIdleConnections()
	}
	due := make(chan time.Time, g.cfg.Backlog)
	var workers sync.WaitGroup
	for range g.cfg.Connections {
		workers.Go(func() {
			for at := range due {
				g.one(at)
			}
		})
	}
	g.pace(ctx, due)
	close(due)
	workers.Wait()
}

// pace puts every request's due time into due. A machine that was late is
// caught up with at once: the rate holds over time.
func (g *Generator) pace(ctx context.Context, due chan<- time.Time) {
	start := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for after := time.Duration(0); ; after += time.Duration(float64(time.Second) / math.Float64frombits(g.rate.Load())) {
		if g.cfg.Duration > 0 && after >= g.cfg.Duration {
			return
		}
		at := start.Add(after)
		if wait := time.Until(at); wait > 0 {
			timer.Reset(wait)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
		} else if ctx.Err() != nil {
			return
		}
		select {
		case due <- at:
		default:
			g.sent.Add(1)
			g.dropped.Add(1)
			g.fail("dropped: too many waiting")
		}
	}
}

func (g *Generator) one(at time.Time) {
	g.sent.Add(1)
	g.inFlight.Add(1)
	defer g.inFlight.Add(-1)
	ctx, cancel := context.WithTimeout(context.Background(), g.cfg.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, g.cfg.URL, nil)
	if err != nil {
		g.fail(err.Error())
		return
	}
	req.Host = g.cfg.Host
	for name, values := range g.cfg.Header {
		req.Header[name] = values
	}
	resp, err := g.transport.RoundTrip(req)
	if err != nil {
		g.fail(err.Error())
		return
	}
	_, err = io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	switch {
	case err != nil:
		g.fail(err.Error())
	case resp.StatusCode != http.StatusOK:
		why := resp.Status
		if s := resp.Header.Get("Proxy-Status"); s != "" {
			why += " (" + s + ")"
		}
		g.fail(why)
	default:
		g.ok.Add(1)
		g.latency.record(time.Since(at))
	}
}

// maxCauses bounds the kinds of failure that are told apart.
const maxCauses = 32

func (g *Generator) fail(why string) {
	g.failed.Add(1)
	g.mu.Lock()
	defer g.mu.Unlock()
	if _, known := g.causes[why]; !known && len(g.causes) >= maxCauses {
		why = "other"
	}
	g.causes[why]++
}
