// Package tcp relays bytes that the sidecar does not understand, or no longer looks at,
// between two TCP connections: CONNECT tunnels, upgraded connections, and redirected
// connections that are not HTTP. The bytes stay in the kernel (splice).
package tcp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshd/meshd/sidecar/stats"
)

// Options of a relay.
type Options struct {
	// IdleTimeout ends a relay in which no byte has arrived or been acknowledged on either
	// connection for that long (and at most a quarter longer). A transfer in one direction
	// keeps both alive, however slow. 0: never.
	IdleTimeout time.Duration
	// FirstAtoB and FirstBtoA have been read from a and from b already and are sent before
	// anything else. They count in the Result and are not kept.
	FirstAtoB, FirstBtoA []byte
	// CountAtoB and CountBtoA grow by the bytes moved, as they move or at most
	// some seconds later. Optional.
	CountAtoB, CountBtoA *stats.Counter
}

// Reason says why a relay ended.
type Reason string

const (
	Closed   Reason = "closed"   // both sides said that they had no more to say
	Reset    Reason = "reset"    // one side was reset, timed out or became unreachable
	Idle     Reason = "idle"     // Options.IdleTimeout
	Canceled Reason = "canceled" // the context ended
)

// Result of a relay.
type Result struct {
	// AtoB and BtoA are bytes handed to the kernel for b and for a.
	AtoB, BtoA int64
	Reason     Reason
	// Culprit is, for Reset, the side that went away.
	Culprit Side
}

// A Side is one of the two connections of a relay.
type Side uint8

// The sides. A is the zero Side.
const (
	A Side = iota
	B
)

// ErrIdle is the error of a relay that ended because of its IdleTimeout.
var ErrIdle = errors.New("no byte moved within the idle timeout")

// Relay moves bytes between a and b in both directions until both have ended, and closes
// both. It blocks; when it returns, nothing of it runs any more. The connections' deadlines
// are its own meanwhile, and nobody else may read or write them.
//
// The end of one side's data (FIN) is passed on as such and the other direction goes on,
// for as long as it likes (RFC 9293, section 3.6: half-close). Everything else ends both
// connections by a reset (RST): a truncated transfer must not look like a complete one. The
// error is nil for Closed alone, wraps ErrIdle or the context's cause, or says which
// direction failed.
func Relay(ctx context.Context, a, b *net.TCPConn, o Options) (Result, error) {
	r := &relay{}
	r.ways[0] = way{name: "a to b", from: A, src: a, dst: b, back: &r.ways[1], count: o.CountAtoB}
	r.ways[1] = way{name: "b to a", from: B, src: b, dst: a, back: &r.ways[0], count: o.CountBtoA}
	for i := range r.ways {
		if err := r.ways[i].init(); err != nil {
			r.abort(Reset, A, err)
			return Result{Reason: Reset}, r.err
		}
	}

	stopCtx := context.AfterFunc(ctx, func() { r.abort(Canceled, A, context.Cause(ctx)) })
	defer stopCtx()
	stopIdle := r.watchIdle(o.IdleTimeout)
	defer stopIdle()

	done := make(chan struct{})
	go func() {
		defer close(done)
		r.run(&r.ways[1], o.FirstBtoA)
	}()
	r.run(&r.ways[0], o.FirstAtoB)
	<-done

	r.end(Closed, A, nil, false)
	return Result{
		AtoB: r.ways[0].moved.Load(), BtoA: r.ways[1].moved.Load(), Reason: r.reason, Culprit: r.culprit,
	}, r.err
}

// relay is the state that the two directions, the context and the idle timer share.
type relay struct {
	ways [2]way

	mu      sync.Mutex // guards the rest; never held while blocking
	ended   bool
	reason  Reason
	culprit Side
	err     error
}

// way is one direction.
type way struct {
	name     string
	from     Side
	src, dst *net.TCPConn
	back     *way
	count    *stats.Counter // may be nil
	messages messages
	moved    atomic.Int64
	finished atomic.Bool // src's end was read; set before it is passed on to dst
}

// abort resets both connections, which wakes both directions.
func (r *relay) abort(reason Reason, culprit Side, err error) { r.end(reason, culprit, err, true) }

// end closes both connections; only the first call counts.
func (r *relay) end(reason Reason, culprit Side, err error, reset bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended {
		return
	}
	r.ended, r.reason, r.culprit = true, reason, culprit
	if err != nil {
		r.err = fmt.Errorf("relay: %w", err)
	}
	for i := range r.ways {
		c := r.ways[i].src
		if reset {
			c.SetLinger(0) // close sends RST
		}
		c.Close()
	}
}

// run moves w's bytes to their end, passes the end on, and stays until the other way has
// ended as well or its source is gone.
func (r *relay) run(w *way, first []byte) {
	if err := w.pump(first); err != nil {
		r.abort(Reset, w.gone(), fmt.Errorf("%s: %w", w.name, err))
		return
	}
	w.src.SetReadDeadline(time.Time{}) // before finished: w.back may set one then
	w.finished.Store(true)
	if err := w.dst.CloseWrite(); err != nil && !w.back.finished.Load() {
		r.abort(Reset, w.back.from, fmt.Errorf("%s: %w", w.name, err))
		return
	}
	if w.back.finished.Load() {
		// The other way waits in hungUp, or is about to: wake it.
		w.dst.SetReadDeadline(time.Unix(1, 0))
		return
	}
	if hungUp(w.src) && !w.back.finished.Load() {
		r.abort(Reset, w.from, fmt.Errorf("%s: connection reset after its end", w.name))
	}
}
