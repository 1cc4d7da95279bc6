package h1

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/pool"
	"github.com/meshd/meshd/sidecar/stats"
)

// Config is what a Server needs to know. All fields but those said optional
// are required.
type Config struct {
	// Lookup finds what an authority stands for, without blocking; nil when
	// that has to be asked: then Resolve is called.
	Lookup func(authority []byte) *call.Authority
	// Resolve finds it out and calls done once, from any goroutine, never from
	// within Resolve. original is where a redirected connection was going, or
	// not valid. nil with an error type: the proxy answers the call by itself.
	Resolve func(authority string, original netip.AddrPort, done func(*call.Authority, stats.ErrorType))
	// Elsewhere reports that a redirected connection's calls are not for Lookup,
	// whatever they name, but for Resolve. Optional.
	Elsewhere func(original netip.AddrPort) bool
	// Opaque takes a connection that does not speak HTTP/1, and the bytes read
	// of it; it owns the connection. nil: such a connection gets an error.
	Opaque func(ctx context.Context, c *net.TCPConn, original netip.AddrPort, first []byte)
	// Peek reports that nobody looks into a connection, for where it was going
	// (not valid: it was not redirected). Where that has to be asked, it calls
	// opaque from any goroutine, never from within, if that is the answer; what
	// the connection says counts until then. It is called before anything is
	// read, with silent once more when SniffTimeout is over, and never blocks.
	// Optional.
	Peek func(original netip.AddrPort, silent bool, opaque func()) bool
	// HTTP2 takes a connection that opens with HTTP/2's preface, and the bytes
	// read of it, and returns when it has ended. nil: as Opaque does.
	HTTP2 func(c *net.TCPConn, original netip.AddrPort, first []byte)
	// Translate takes a connection whose next request, of which all bytes are
	// first, is to a service that speaks HTTP/2, and returns when it has ended.
	// nil: such a service is called in HTTP/1.1.
	Translate func(c *net.TCPConn, original netip.AddrPort, first []byte)
	// Original finds where a connection was going before it was redirected.
	Original func(*net.TCPConn) (netip.AddrPort, bool)
	// Relay copies between two connections until both are done, and closes both.
	Relay func(ctx context.Context, a, b *net.TCPConn, fromA, fromB []byte)

	Tracer *call.Tracer
	Stats  *stats.Registry
	Dialer net.Dialer // Control may set a mark; the timeout is the cluster's
	Limits Limits
	Logger *slog.Logger
	Server bool // inbound: calls go to the application

	// HeadTimeout bounds the time from a request's first byte to the end of
	// its head; IdleTimeout the time between two requests; StreamIdle that
	// without a byte in a call whose route has no timeout; SniffTimeout how
	// long a redirected connection may be silent before it is taken for one
	// on which the server speaks first (on others the next byte decides).
	HeadTimeout, IdleTimeout, StreamIdle, SniffTimeout time.Duration
}

// Defaults fills in the times and limits that are zero.
func (c *Config) Defaults() {
	set := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	set(&c.HeadTimeout, 10*time.Second)
	set(&c.IdleTimeout, 5*time.Minute)
	set(&c.StreamIdle, 5*time.Minute)
	set(&c.SniffTimeout, 200*time.Millisecond)
	if c.Limits == (Limits{}) {
		c.Limits = DefaultLimits
	}
	c.Limits.HeadBytes = min(c.Limits.HeadBytes, readSize)
	c.Limits.Trailer = min(c.Limits.Trailer, readSize/2)
}

// A Server relays the HTTP/1.1 calls of the connections given to Serve.
type Server struct {
	Config
	epoch    time.Time
	ctx      context.Context
	draining atomic.Bool

	mu       sync.Mutex // guards sessions; never held while a session's lock is taken
	sessions map[*session]struct{}
	work     sync.WaitGroup // every goroutine of the server
	hedges   hedges
}

// NewServer returns a server whose clock counts from epoch. When ctx ends,
// every connection is closed at once.
func NewServer(ctx context.Context, cfg Config, epoch time.Time) *Server {
	cfg.Defaults()
	s := &Server{Config: cfg, epoch: epoch, ctx: ctx, sessions: map[*session]struct{}{}}
	s.hedges.now = s.now
	context.AfterFunc(ctx, s.closeAll)
	return s
}

// now is the engine's clock: ns since epoch, monotonic.
func (srv *Server) now() int64 { return int64(time.Since(srv.epoch)) }

// Serve relays one connection until it ends. It blocks; the caller gives it a
// goroutine. A panic closes the connection and is counted.
func (srv *Server) Serve(c *net.TCPConn) {
	srv.work.Add(1)
	defer srv.work.Done()
	s := &session{srv: srv}
	if s.down.Init(c) != nil {
		_ = c.Close()
		return
	}
	if !srv.add(s) {
		_ = c.Close()
		return
	}
	srv.Stats.Downstream.Add(1)
	defer srv.Stats.Downstream.Add(-1)
	defer srv.remove(s)
	defer s.recover()
	s.run()
}

func (srv *Server) add(s *session) bool {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	if srv.ctx.Err() != nil {
		return false
	}
	srv.sessions[s] = struct{}{}
	return true
}

func (srv *Server) remove(s *session) {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	delete(srv.sessions, s)
}

func (srv *Server) each(f func(*session)) {
	srv.mu.Lock()
	all := make([]*session, 0, len(srv.sessions))
	for s := range srv.sessions {
		all = append(all, s)
	}
	srv.mu.Unlock()
	for _, s := range all {
		f(s)
	}
}

func (srv *Server) closeAll() {
	srv.hedges.close()
	srv.each(func(s *session) {
		s.mu.Lock()
		s.abort()
		s.mu.Unlock()
	})
}

// Drain makes every answer from now on the last of its connection, and closes
// the connections that are idle. It does not wait.
func (srv *Server) Drain() {
	srv.draining.Store(true)
	srv.each(func(s *session) {
		s.mu.Lock()
		if s.state == stHead && len(s.down.in) == 0 && len(s.down.out) == 0 {
			s.closeDown()
		}
		s.mu.Unlock()
	})
}

// Active counts the connections that are open.
func (srv *Server) Active() int {
	srv.mu.Lock()
	defer srv.mu.Unlock()
	return len(srv.sessions)
}

// Wait returns when all goroutines of the server have ended; after ctx has.
func (srv *Server) Wait() { srv.work.Wait() }

// NewPool makes the Attachment of an endpoint: its connection pools.
func NewPool(maxConns uint32) *pool.Pair {
	return &pool.Pair{Exclusive: &pool.Pool[*upstream]{MaxConns: int(maxConns)}}
}

func poolOf(ep *endpoint.Endpoint) *pool.Pool[*upstream] {
	return ep.Attachment.(*pool.Pair).Exclusive.(*pool.Pool[*upstream])
}

// PoolStats are the numbers of an endpoint's pool.
func PoolStats(ep *endpoint.Endpoint) pool.Stats { return poolOf(ep).Stats() }

// Retire closes the idle connections to an endpoint that has left its
// cluster; those in use close when their call ends.
func Retire(ep *endpoint.Endpoint) { closeIdle(ep, poolOf(ep).Close()) }

// Sweep closes the idle connections of an endpoint that have been idle for
// longer than limit, or that their peer has closed: a FIN that came along with
// the end of an answer has had no edge of its own.
func (srv *Server) Sweep(ep *endpoint.Endpoint, limit time.Duration) {
	dead := func(u *upstream) bool { return !u.Quiet() }
	closeIdle(ep, poolOf(ep).Expired(srv.now()-int64(limit), dead))
}

func closeIdle(ep *endpoint.Endpoint, idle []*upstream) {
	for _, u := range idle {
		u.close()
		poolOf(ep).Lost()
	}
}
