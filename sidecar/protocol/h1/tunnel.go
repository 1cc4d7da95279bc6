package h1

import (
	"context"
	"net"
	"net/netip"
	"time"

	raw "github.com/meshd/meshd/sidecar/protocol/socket"
	"github.com/meshd/meshd/sidecar/stats"
)

// A tunnel is a session whose bytes are no longer HTTP/1: CONNECT, an upgrade,
// or an opaque protocol from the start. Both goroutines leave the poller, and
// the client's copies until the end.
type tunnel struct {
	up      *upstream     // nil for an opaque connection
	left    chan struct{} // closed when the upstream's goroutine has left the poller
	fromA   []byte        // read of the client and not used
	fromB   []byte        // read of the endpoint
	toA     []byte        // the head that the client has not got yet
	stop    context.CancelFunc
	stopped bool
	taker   taker // who takes the client connection; nil: Config.Opaque
}

// A taker takes a connection over and returns when it has ended.
type taker = func(c *net.TCPConn, original netip.AddrPort, first []byte)

// cut ends a tunnel from outside, with the session's lock held.
func (t *tunnel) cut() {
	t.stopped = true
	if t.stop != nil {
		t.stop()
	}
}

// opaque gives the client connection away.
func (s *session) opaque() { s.give(nil) }

func (s *session) give(to taker) {
	s.tunnel.taker = to
	s.state = stTunnel
	s.takeLeftovers(nil)
	_ = s.down.Conn.SetReadDeadline(raw.Past)
}

func (s *session) takeLeftovers(u *upstream) {
	s.tunnel.fromA = append([]byte(nil), s.down.in...)
	s.down.used(len(s.down.in))
	s.tunnel.toA, s.down.out = s.down.out, nil
	if u != nil {
		s.tunnel.fromB = append([]byte(nil), u.in...)
		u.used(len(u.in))
	}
}

// open makes the session a tunnel to u.
func (s *session) open(u *upstream) {
	s.takeLeftovers(u)
	s.tunnel.up, s.tunnel.left = u, make(chan struct{})
	s.srv.Stats.Upstream.Add(1) // its goroutine, which counted it, ends
	s.up = nil
	s.state = stTunnel
	s.dropSent()
	_ = s.down.Conn.SetReadDeadline(raw.Past)
	_ = u.Conn.SetReadDeadline(raw.Past)
}

// connected follows the dial of a CONNECT (RFC 9110 section 9.3.6).
func (s *session) connected(u *upstream) {
	s.resp.status = 200
	s.resp.committed = true
	now := s.srv.now()
	s.resp.latency = now - s.call.Began()
	s.call.Streaming(now)
	if s.send([]byte("HTTP/1.1 200 OK\r\n\r\n")) {
		s.open(u)
	}
}

// switched follows a 101 that was asked for (RFC 9110 section 7.8).
func (s *session) switched(u *upstream, r *response, n int) {
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	out := r.appendResponse(buf[:0], u.in, endKeep, false, s.call.Route.Via, &s.call, s.srv.now())
	u.used(n)
	s.call.Streaming(s.srv.now())
	if s.send(out) {
		s.open(u)
	}
}

// runTunnel copies both ways until both are done. It runs in the client's
// goroutine, which has left the poller, and owns both connections.
func (s *session) runTunnel() {
	s.mu.Lock()
	t := &s.tunnel
	ctx, stop := context.WithCancel(s.srv.ctx)
	t.stop = stop
	if t.stopped {
		stop()
	}
	s.mu.Unlock()
	defer stop()
	if t.up == nil {
		_ = s.down.Conn.SetReadDeadline(time.Time{})
		if t.taker != nil {
			t.taker(s.down.Conn, s.original, t.fromA)
			return
		}
		s.srv.Opaque(ctx, s.down.Conn, s.original, t.fromA)
		return
	}
	<-t.left
	_ = s.down.Conn.SetReadDeadline(time.Time{})
	_ = t.up.Conn.SetReadDeadline(time.Time{})
	if len(t.toA) > 0 {
		_, _ = s.down.Conn.Write(t.toA)
	}
	s.srv.Relay(ctx, s.down.Conn, t.up.Conn, t.fromA, t.fromB)
	poolOf(t.up.ep).Lost()
	s.srv.Stats.Upstream.Add(-1)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.srv.now()
	s.call.Done(now, s.resp.status, stats.ErrNone, s.resp.latency)
	s.inCall = false
	s.call.End(now, s.resp.status, stats.ErrNone)
}
