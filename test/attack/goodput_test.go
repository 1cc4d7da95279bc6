package attack

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/meshd/meshd/test/rig"
)

const (
	// goodRate is calls a second of the client that means well, over each
	// version of HTTP: little, so that it is the attack that takes them away
	// and not the machine.
	goodRate = 250
	// goodWithin is how long a call may take to be of use.
	goodWithin = time.Second
)

// A good client makes calls at a fixed rate, whatever becomes of those before
// (open loop), over HTTP/1.1 and HTTP/2, until it is stopped.
type good struct {
	tr   [2]*http.Transport
	host string
	end  chan struct{}
	work sync.WaitGroup
	stop func()
	// due and ok count calls by version, less one.
	due, ok [2]atomic.Int64
	last    [2]atomic.Value // a string: what became of one that was of no use
}

func newGood(t *testing.T, addr, host string) *good {
	g := &good{host: host, end: make(chan struct{})}
	for i := range g.tr {
		g.tr[i] = rig.Transport(t, i+1, addr)
		g.last[i].Store("")
		g.work.Go(func() { g.run(i) })
	}
	g.stop = sync.OnceFunc(func() {
		close(g.end)
		g.work.Wait()
		for _, tr := range g.tr {
			tr.CloseIdleConnections()
		}
	})
	t.Cleanup(g.stop)
	return g
}

func (g *good) run(i int) {
	tick := time.NewTicker(time.Second / goodRate)
	defer tick.Stop()
	from, made := time.Now(), int64(0)
	for {
		select {
		case <-g.end:
			return
		case <-tick.C:
		}
		// Ticks that were missed are made up for: the rate is what it is.
		for ; made < int64(time.Since(from)*goodRate/time.Second); made++ {
			g.due[i].Add(1)
			g.work.Go(func() {
				if err := g.call(i); err != nil {
					g.last[i].Store(err.Error())
					return
				}
				g.ok[i].Add(1)
			})
		}
	}
}

func (g *good) call(i int) error {
	ctx, cancel := context.WithTimeout(context.Background(), goodWithin)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.host+"/", nil)
	if err != nil {
		return err
	}
	res, err := g.tr[i].RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, b)
	}
	return err
}

// A window is a time over which calls are counted.
type window struct {
	g       *good
	from    time.Time
	due, ok [2]int64
}

func (g *good) window() window {
	w := window{g: g, from: time.Now()}
	for i := range w.ok {
		w.due[i], w.ok[i] = g.due[i].Load(), g.ok[i].Load()
	}
	return w
}

// goodput is useful calls a second of each version since the window began.
func (w window) goodput() (out [2]float64) {
	for i := range out {
		out[i] = float64(w.g.ok[i].Load()-w.ok[i]) / time.Since(w.from).Seconds()
	}
	return out
}
