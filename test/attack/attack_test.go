package attack

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/internal/testkit/race"
	"github.com/meshd/meshd/test/rig"
)

// What another client keeps, and what a sidecar may take; under the race
// detector, which slows both and takes memory itself, neither is asked.
const (
	keptGoodput = 0.9
	rssGrowth   = 64 << 20

	tries     = 3
	goodConns = 80 // connections that may be left open: those of the good client, and between sidecars
)

// An attack is what one hostile client does.
type attack struct {
	name     string
	run      func(*attacker) // until the attack is over
	during   time.Duration   // at least; 0 is 1 s
	parallel int             // times at once; 0 is 1
	closed   bool            // its connections must be closed
	refused  bool            // none of its requests may succeed
	codes    []http2.ErrCode // of the GOAWAYs that it may see; nil: any
}

// A target is a port that is attacked.
type target struct {
	addr, host string
	sidecars   []*rig.Sidecar // on the way of its calls
}

// TestOutbound: hostile applications at the port for their calls.
func TestOutbound(t *testing.T) { all(t, false) }

// TestInbound: hostile callers at the port that takes calls.
func TestInbound(t *testing.T) { all(t, true) }

func all(t *testing.T, inbound bool) {
	m := rig.New(t)
	app := rig.Serve(t, 0, application())
	server := m.Sidecar(t, rig.Spec{Service: "checkout", App: app})
	m.AwaitReady("checkout")
	client := m.Sidecar(t, rig.Spec{Service: "caller"})
	at := target{client.Outbound, "checkout:8080", []*rig.Sidecar{client, server}}
	if inbound {
		at.addr = server.Inbound
		at.sidecars = []*rig.Sidecar{server}
	}
	g := newGood(t, at.addr, at.host)
	process.Await(t, rig.Patience, func() error {
		w := g.window()
		pause(200 * time.Millisecond)
		for i, rate := range w.goodput() {
			if rate < goodRate*keptGoodput && !race.Enabled {
				return fmt.Errorf("HTTP/%d: %.0f useful calls a second without an attack, want %d: %v", i+1, rate, goodRate, g.last[i].Load())
			}
		}
		return nil
	})
	before := at.rss(t)
	for _, list := range [][]attack{floods, heads, windows, allowed, connections} {
		for _, x := range list {
			t.Run(x.name, func(t *testing.T) { at.judge(t, g, x) })
		}
	}
	t.Run("stream ids", func(t *testing.T) { at.judge(t, g, streamIDs...) })
	t.Run("texts", func(t *testing.T) { at.judge(t, g, texts...) })
	t.Run("slow", func(t *testing.T) { at.judge(t, g, slow...) })
	g.stop()
	at.calm(t)
	for i, s := range at.sidecars {
		if grown := s.RSS(t) - before[i]; grown > rssGrowth && !race.Enabled {
			t.Errorf("%s has grown by %d MB in all, want at most %d", s.Name, grown>>20, rssGrowth>>20)
		}
	}
}

// calm waits until nothing is left of the attacks.
func (at target) calm(t *testing.T) {
	for _, s := range at.sidecars {
		process.Await(t, rig.Patience, func() error {
			snap, err := s.Stats()
			if err != nil {
				return err
			}
			for _, svc := range slices.Concat(snap.Client, snap.Server) {
				if svc.Active != 0 {
					return fmt.Errorf("%s: %d calls of %s are under way", s.Name, svc.Active, svc.Name)
				}
			}
			if snap.Panics > 0 {
				t.Errorf("%s: %d panics", s.Name, snap.Panics)
			}
			if n := snap.Connections.Downstream; n > goodConns && !race.Enabled { // slow calls need more of them
				return fmt.Errorf("%s: %d connections of clients are open", s.Name, n)
			}
			return nil
		})
	}
}

// judge lets attacks run side by side. Goodput that is low once is tried
// again: the machine may have been busy; an attack takes it away every time.
func (at target) judge(t *testing.T, g *good, attacks ...attack) {
	for try := 1; ; try++ {
		lost := at.run(t, g, attacks)
		switch {
		case lost == "":
			return
		case try == tries:
			t.Error(lost)
			at.explain(t)
			return
		}
		t.Logf("once more: %s", lost)
	}
}

// run says what another client lost, if that was too much.
func (at target) run(t *testing.T, g *good, attacks []attack) (lost string) {
	calm := g.window()
	pause(500 * time.Millisecond)
	before, rss := calm.goodput(), at.rss(t)
	peak := slices.Clone(rss)

	during := time.Second
	for _, x := range attacks {
		during = max(during, x.during)
	}
	ctx, cancel := context.WithTimeout(t.Context(), during)
	defer cancel()
	var running sync.WaitGroup
	attackers := make([]*attacker, len(attacks))
	under := g.window()
	for i, x := range attacks {
		attackers[i] = &attacker{ctx: ctx, addr: at.addr, host: at.host}
		for range max(x.parallel, 1) {
			running.Go(func() { x.run(attackers[i]) })
		}
	}
	for ctx.Err() == nil {
		pause(20 * time.Millisecond)
		for i, now := range at.rss(t) {
			peak[i] = max(peak[i], now)
		}
	}
	after := under.goodput()
	running.Wait()

	for i, x := range attacks {
		t.Logf("%s: %v", x.name, attackers[i])
		x.judge(t, attackers[i])
	}
	for i, s := range at.sidecars {
		if s.Ended() {
			t.Fatalf("%s has ended", s.Name)
		}
		t.Logf("%s: RSS %.1f MB, at most %.1f MB", s.Name, mb(rss[i]), mb(peak[i]))
		if peak[i]-rss[i] > rssGrowth && !race.Enabled {
			t.Errorf("%s has grown by %.1f MB, want at most %.1f", s.Name, mb(peak[i]-rss[i]), mb(rssGrowth))
		}
	}
	t.Logf("goodput %.0f and %.0f calls a second, %.0f and %.0f before", after[0], after[1], before[0], before[1])
	if race.Enabled {
		return ""
	}
	for i := range after {
		if after[i] < keptGoodput*min(before[i], goodRate) || before[i] < keptGoodput*goodRate {
			lost += fmt.Sprintf("HTTP/%d: %.0f useful calls a second of another client, %.0f before: %v\n", i+1, after[i], before[i], g.last[i].Load())
		}
	}
	return strings.TrimSpace(lost)
}

// explain tells what the sidecars counted.
func (at target) explain(t *testing.T) {
	for _, s := range at.sidecars {
		all, err := s.Stats()
		t.Logf("%s: %v %v", s.Name, &all, err)
	}
}

func (x attack) judge(t *testing.T, a *attacker) {
	if a.conns.Load() == 0 {
		t.Errorf("%s: no connection was opened", x.name)
	}
	if x.closed && a.closed.Load() == 0 {
		t.Errorf("%s: no connection was closed, of %d", x.name, a.conns.Load())
	}
	for code, n := range a.goAway {
		if x.codes != nil && !slices.Contains(x.codes, code) {
			t.Errorf("%s: %d GOAWAYs say %v, want one of %v", x.name, n, code, x.codes)
		}
	}
	if x.closed && x.parallel > 1 && a.closed.Load() < int64(x.parallel) {
		t.Errorf("%s: %d connections were closed, want all %d", x.name, a.closed.Load(), x.parallel)
	}
	if x.refused && a.status["200"] > 0 {
		t.Errorf("%s: %d requests were answered with 200", x.name, a.status["200"])
	}
}

func (at target) rss(t *testing.T) []int64 {
	var out []int64
	for _, s := range at.sidecars {
		out = append(out, s.RSS(t))
	}
	return out
}

func mb(bytes int64) float64 { return float64(bytes) / (1 << 20) }

func pause(d time.Duration) { <-time.After(d) }

// application is what the sidecars are beside.
func application() http.Handler {
	mux := http.NewServeMux()
	small, big := strings.Repeat("x", 100), strings.Repeat("x", 1<<20)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, small) })
	mux.HandleFunc("/big", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, big) })
	mux.HandleFunc("/sink", func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	return mux
}
