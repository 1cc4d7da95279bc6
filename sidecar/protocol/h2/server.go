// Package h2 is HTTP/2 (RFC 9113) as a relay speaks it: an engine of its own
// for connections from clients and connections to endpoints, with a stream's
// call in between, and the translation between HTTP/1.1 and HTTP/2
// (docs/design/003-http2.md).
package h2

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
)

// Config is what a Server needs to know. The functions are those of h1.Config.
type Config struct {
	Lookup    func(authority []byte) *call.Authority
	Resolve   func(authority string, original netip.AddrPort, done func(*call.Authority, stats.ErrorType))
	Elsewhere func(original netip.AddrPort) bool

	Tracer *call.Tracer
	Stats  *stats.Registry
	Dialer net.Dialer
	Logger *slog.Logger
	Server bool // inbound: calls go to the application

	Limits Limits
}

// Limits bound what a peer may do. Zero fields are set to their defaults.
type Limits struct {
	Streams     int // open streams of a client's connection; SETTINGS_MAX_CONCURRENT_STREAMS
	HeaderList  int // bytes of a head as RFC 9113 section 6.5.2 counts them; SETTINGS_MAX_HEADER_LIST_SIZE
	Fields      int // fields of a head
	Window      int // bytes that a stream may send before they were passed on; SETTINGS_INITIAL_WINDOW_SIZE
	Held        int // bytes of all streams of a connection that wait in us, before the connection waits
	Connections int // shared connections to one endpoint

	HeadTimeout time.Duration // from a HEADERS frame to its END_HEADERS
	Idle        time.Duration // of a client's connection without streams
	StreamIdle  time.Duration // without a byte in a call that has no deadline
	Quiet       time.Duration // without a byte on a connection with streams, before a PING asks
	PingTimeout time.Duration // for its answer
	WriteStuck  time.Duration // of a peer that takes nothing of what it is sent
}

// Defaults fills in what is zero.
func (l *Limits) Defaults() {
	n := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	t := func(v *time.Duration, d time.Duration) {
		if *v == 0 {
			*v = d
		}
	}
	n(&l.Streams, 1024)
	n(&l.HeaderList, 32<<10)
	n(&l.Fields, 128)
	n(&l.Window, 256<<10)
	n(&l.Held, 4<<20)
	n(&l.Connections, 8)
	t(&l.HeadTimeout, 10*time.Second)
	t(&l.Idle, 5*time.Minute)
	t(&l.StreamIdle, 5*time.Minute)
	t(&l.Quiet, 60*time.Second)
	t(&l.PingTimeout, 15*time.Second)
	t(&l.WriteStuck, 60*time.Second)
}

// connWindow is what a peer may send on a connection ahead of our credit,
// which is given at once while no more than Limits.Held waits in us: one slow
// stream does not use up what the others need.
const connWindow = 1 << 20

// A Server relays the calls of the connections given to Serve. One lock guards
// all its connections and streams; it is never held over a system call that
// reads or writes.
type Server struct {
	Config
	epoch time.Time
	ctx   context.Context

	mu         sync.Mutex
	now        int64 // of the event at hand, ns since epoch
	links      map[*link]struct{}
	dirty      []*link // have something to be written
	draining   bool
	closed     bool
	free       []*stream  // to be used again
	retired    []*stream  // over in the event at hand
	asked      []asked    // to begin when the event is over
	hedges     []hedgeDue // hedge.go
	hedgeFirst int        // of them
	hedgeLook  int64      // when they are next looked at
	hedgePace  call.HedgePace
	hedgeTimer *time.Timer
	hedgeArmed int64 // when it fires; 0: it does not

	traceparent [tracing.TraceparentLen]byte // of requestFields

	begun    []asked // answers that have begun in it, of no known length
	lastLoad string  // what the newest answer says of the application's load

	work   sync.WaitGroup // every goroutine of the server
	active atomic.Int64   // streams
}

// NewServer returns a server whose clock counts from epoch. When ctx ends,
// every connection is closed at once.
func NewServer(ctx context.Context, cfg Config, epoch time.Time) *Server {
	cfg.Limits.Defaults()
	srv := &Server{Config: cfg, epoch: epoch, ctx: ctx, links: map[*link]struct{}{}}
	srv.work.Go(func() { srv.sweep(ctx) })
	return srv
}

// enter takes the lock for an event.
func (srv *Server) enter() {
	srv.mu.Lock()
	srv.now = int64(time.Since(srv.epoch))
}

// event runs f, which concerns c, with the lock held, and writes what it has
// left to be written. A panic ends c alone.
func (srv *Server) event(c *link, f func()) {
	srv.enter()
	defer srv.exit(c)
	f()
	srv.flush()
}

// exit follows an event, with the lock held.
func (srv *Server) exit(c *link) {
	if p := recover(); p != nil {
		srv.panicked(p)
		if c != nil {
			c.wreck()
		}
	}
	srv.mu.Unlock()
}

// wreck ends a connection whose state a panic left unknown.
func (c *link) wreck() {
	defer func() { _ = recover() }()
	c.Shut()
	c.k.bury(stats.ErrProxyInternalError)
}

// Serve relays one connection, of which first was read already, until it
// ends. It blocks; the caller gives it a goroutine and counts it. original is
// where a redirected connection was going, or not valid.
func (srv *Server) Serve(c *net.TCPConn, original netip.AddrPort, first []byte) {
	srv.work.Add(1)
	defer srv.work.Done()
	k, err := newConn(srv, c)
	if err != nil {
		_ = c.Close()
		return
	}
	k.original = original
	k.elsewhere = srv.Elsewhere != nil && original.IsValid() && srv.Elsewhere(original)
	k.first = append(k.first, first...)
	k.run()
}

// Drain tells every client to open no more streams here (GOAWAY, in two steps)
// and closes connections as their last stream ends. It does not wait.
func (srv *Server) Drain() {
	srv.event(nil, func() {
		srv.draining = true
		for c := range srv.links {
			c.k.drain()
		}
	})
}

// Wait returns when all goroutines of the server have ended; after ctx has.
func (srv *Server) Wait() { srv.work.Wait() }

func (srv *Server) panicked(p any) {
	srv.Stats.Panics.Add(1)
	srv.Logger.Error("panic in a connection, which is closed", "panic", p, "stack", string(debug.Stack()),
		"next", "report it with the stack; other connections go on")
}

// sweepEvery is how often connections are looked at for what takes too long.
const sweepEvery = time.Second

// sweep closes, once a second, what is idle or stuck.
func (srv *Server) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			srv.event(nil, func() {
				srv.closed = true
				for c := range srv.links {
					c.k.bury(stats.ErrNone)
				}
			})
			return
		case <-tick.C:
		}
		srv.mu.Lock()
		links := make([]*link, 0, len(srv.links))
		for c := range srv.links {
			links = append(links, c)
		}
		srv.mu.Unlock()
		for _, c := range links {
			srv.event(c, c.k.sweep)
		}
	}
}
