package h1

import (
	"context"
	"errors"
	"net"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/stats"
)

// An upstream is one connection to an endpoint: idle in its pool, or the
// owner's. Its goroutine lives in the poller from the dial to the close.
type upstream struct {
	socket
	srv    *Server
	ep     *endpoint.Endpoint
	owner  atomic.Pointer[session] // nil while idle
	reused bool                    // has carried a call before; guarded by the owner's lock
}

// dial opens a connection for the attempt that seq names, gives it to the
// session if that still wants it, else to the pool, and then serves it. It is
// the connection's goroutine.
func (srv *Server) dial(s *session, seq uint32, ep *endpoint.Endpoint, timeout time.Duration, hedge bool) {
	d := srv.Dialer
	d.Timeout = timeout
	c, err := d.DialContext(srv.ctx, "tcp", ep.Address)
	u := &upstream{srv: srv, ep: ep}
	if err == nil {
		if err = u.Init(c.(*net.TCPConn)); err != nil {
			_ = c.Close()
		}
	}
	defer u.recover()
	if err != nil {
		poolOf(ep).Lost()
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case hedge && s.hedge.wants(seq):
			s.hedgeBroken(srv.now(), DialError(err))
		case !hedge && s.wants(seq):
			s.attemptFailed(srv.now(), DialError(err), stats.RetryConnectFailure, true)
			s.advance()
		}
		return
	}
	srv.Stats.Upstream.Add(1)
	defer srv.Stats.Upstream.Add(-1)
	if !u.handOver(s, seq, hedge) {
		return
	}
	u.serve()
}

// handOver gives a new connection to the session or the pool, and reports
// whether it is to be served.
func (u *upstream) handOver(s *session, seq uint32, hedge bool) bool {
	if taken, tunnel := u.offer(s, seq, hedge); taken {
		return !tunnel
	}
	if !poolOf(u.ep).Put(u, u.srv.now()) {
		_ = u.Conn.Close()
		return false
	}
	return true
}

func (u *upstream) offer(s *session, seq uint32, hedge bool) (taken, tunnel bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if hedge {
		if s.hedge.wants(seq) {
			s.attachHedge(u, u.srv.now())
			return true, false
		}
		return false, false
	}
	if !s.wants(seq) {
		return false, false
	}
	s.attach(u, u.srv.now())
	s.advance()
	tunnel = s.state == stTunnel && s.tunnel.up == u
	if tunnel {
		close(s.tunnel.left)
	}
	return true, tunnel
}

// serve is in the poller until the connection is closed or becomes a tunnel.
func (u *upstream) serve() {
	_ = u.Raw.Read(u.onReadable)
	if !u.left() {
		_ = u.Conn.Close()
	}
}

// left follows the return from the poller, and reports whether the connection
// belongs to a tunnel now.
func (u *upstream) left() bool {
	s := u.owner.Load()
	if s == nil {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.state == stTunnel && s.tunnel.up == u:
		close(s.tunnel.left)
		return true
	case s.up == u: // the poller failed: not seen, but not lost either
		s.upBroken()
		s.advance()
	case s.hedge.up == u:
		s.hedgeBroken(u.srv.now(), stats.ErrConnectionTerminated)
	}
	return false
}

// onReadable is called when the endpoint's socket may have something to read,
// and returns true when the goroutine shall leave the poller.
func (u *upstream) onReadable(uintptr) bool {
	for {
		if u.Dead() {
			return true
		}
		if s := u.owner.Load(); s != nil {
			if done, leave := u.tell(s); done {
				return leave
			}
			continue // given back in the meantime
		}
		if poolOf(u.ep).Take(u) {
			return !u.stillIdle()
		}
		// Taken out of the pool a moment ago: the owner is about to be known.
		runtime.Gosched()
	}
}

// tell lets the owner go on. done is false when it is not the owner any more.
func (u *upstream) tell(s *session) (done, leave bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.up == u {
		u.Readable = true
		s.advance()
		done = true
	} else if s.hedge.up == u {
		u.Readable = true
		s.readHedge()
		s.advance()
		done = true
	}
	leave = s.state == stTunnel && s.tunnel.up == u || u.Dead()
	return done || leave, leave
}

// stillIdle looks at a connection, taken out of the pool, on which something
// happened while no call was on it: mostly that the peer closed it.
func (u *upstream) stillIdle() bool {
	if !u.Quiet() {
		u.close()
		poolOf(u.ep).Lost()
		return false
	}
	if !poolOf(u.ep).Put(u, u.srv.now()) {
		u.close()
		return false
	}
	return true
}

// recover keeps a panic inside its connection.
func (u *upstream) recover() {
	p := recover()
	if p == nil {
		return
	}
	u.srv.panicked(p)
	if u.Conn != nil {
		_ = u.Conn.Close()
	}
	if s := u.owner.Load(); s != nil {
		s.wreck()
	}
}

// DialError gives the reason that RFC 9209 has for a failed dial.
func DialError(err error) stats.ErrorType {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return stats.ErrDNSError
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return stats.ErrConnectionTimeout
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH):
		return stats.ErrDestinationIPUnroutable
	}
	return stats.ErrConnectionRefused
}
