package h1

import (
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/pool"
	raw "github.com/meshd/meshd/sidecar/protocol/socket"
	"github.com/meshd/meshd/sidecar/stats"
)

// nextAttempt picks an endpoint and gets a connection to it.
func (s *session) nextAttempt(now int64) {
	s.seq++
	s.resp = respState{}
	ep := s.call.Pick(now)
	if ep == nil {
		step := s.call.NoEndpoint(now)
		if step == call.Refused && s.lastErr != stats.ErrNone {
			s.failCall(now, s.lastErr, "") // nobody is left to try: what went wrong says more
			return
		}
		s.step(step, now)
		return
	}
	s.armCall(now)
	s.connect(ep, now, false)
}

// connect gets a connection to ep: an idle one unless fresh is asked for, a
// new one, or a place in the queue for one.
func (s *session) connect(ep *endpoint.Endpoint, now int64, fresh bool) {
	p := poolOf(ep)
	if fresh || s.method == mConnect {
		if p.Fresh() {
			s.dial(ep)
			return
		}
		if s.method == mConnect {
			s.attemptFailed(now, stats.ErrConnectionLimitReached, stats.RetryConnectFailure, false)
			return
		}
	}
	for {
		u, verdict, cancel := p.Get(s.waiter, s.call.Pending)
		switch verdict {
		case pool.Idle:
			// A request that cannot be sent twice does not go out on a
			// connection that its server has just closed.
			if !s.method.idempotent() && !u.Quiet() {
				u.close()
				p.Lost()
				continue
			}
			s.attach(u, now)
		case pool.Dial:
			s.dial(ep)
		case pool.Queued:
			s.cancelW = cancel
		case pool.Full:
			s.attemptFailed(now, stats.ErrConnectionLimitReached, stats.RetryConnectFailure, false)
		}
		return
	}
}

func (s *session) dial(ep *endpoint.Endpoint) {
	seq, timeout := s.seq, s.call.ConnectTimeout()
	s.srv.work.Go(func() { s.srv.dial(s, seq, ep, timeout, false) })
}

// waiter makes what a pool calls when our turn has come.
func (s *session) waiter() pool.Waiter[*upstream] {
	seq, ep := s.seq, s.call.Endpoint()
	return func(u *upstream, ok bool) {
		// Another session calls this with its own lock held.
		s.srv.work.Go(func() {
			defer s.recover()
			s.mu.Lock()
			defer s.mu.Unlock()
			wanted := s.wants(seq) && s.cancelW != nil
			if wanted {
				s.cancelW = nil
				s.call.Unpend()
			}
			switch {
			case wanted && ok:
				s.attach(u, s.srv.now())
				s.advance()
			case wanted:
				s.dial(ep)
			case ok && poolOf(ep).Put(u, s.srv.now()):
			case ok:
				u.close()
			default:
				poolOf(ep).Lost()
			}
		})
	}
}

// wants reports whether asynchronous work for an attempt is still wanted.
func (s *session) wants(seq uint32) bool {
	return s.seq == seq && s.state == stCall && s.up == nil && s.inCall
}

// attach sends what there is of the request on a connection that is ours now.
func (s *session) attach(u *upstream, now int64) {
	s.up = u
	u.owner.Store(s)
	if s.method == mConnect {
		s.connected(u)
		return
	}
	if s.call.Retold() {
		s.propagate().AppendLines(s.sent[s.traceAt:s.traceAt], s.call.Context)
	}
	s.retell(now)
	s.call.Sending(now)
	s.offered = true
	if err := u.send(s.sent); err != nil {
		u.Readable = true // the reason, or an early answer, may be there to read
		u.out = nil
	}
	s.watchUp(u)
	if s.reqDone {
		s.down.settle()
		s.mirror()
		s.hedgeLater(now)
	}
}

// watchUp waits for the endpoint's socket to take more, when something is kept.
func (s *session) watchUp(u *upstream) {
	if len(u.out) == 0 || u.flushing {
		return
	}
	u.flushing = true
	s.srv.work.Go(func() {
		defer s.recover()
		_ = u.Raw.Write(func(uintptr) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.up != u && s.hedge.up != u || u.Dead() {
				return true
			}
			if u.flush() != nil {
				u.out, u.Readable = nil, true
			}
			if len(u.out) > 0 {
				return false
			}
			u.flushing = false
			s.advance()
			return true
		})
	})
}

// release gives the connection back after a complete exchange, or closes it.
func (s *session) release(reusable bool, now int64) {
	u := s.up
	if u == nil {
		return
	}
	if reusable && len(u.in) == 0 && len(u.out) == 0 && !u.EOF && !u.flushing {
		u.settle()
		if !u.Readable || u.Quiet() {
			u.Readable = false
			u.reused = true
			s.up = nil
			u.owner.Store(nil)
			if !poolOf(u.ep).Put(u, now) {
				u.close()
			}
			return
		}
	}
	s.closeUp()
}

// closeUp closes the attempt's connection, and leaves any queue for one.
func (s *session) closeUp() {
	if s.cancelW != nil {
		s.cancelW() // or the waiter's goroutine is on its way and finds cancelW nil
		s.cancelW = nil
		s.call.Unpend()
	}
	if u := s.up; u != nil {
		s.up = nil
		u.close()
		poolOf(u.ep).Lost()
	}
}

// replayable reports whether another attempt may send the request: nothing
// but what is at hand was sent, and it does no harm twice.
func (s *session) replayable() bool {
	return !s.overflow && !s.resp.committed && (s.method.idempotent() || !s.offered) && s.sent != nil
}

// upBroken follows the loss of the attempt's connection before the answer was complete.
func (s *session) upBroken() {
	u, now := s.up, s.srv.now()
	untouched := len(u.in) == 0 && !s.resp.touched
	switch {
	case s.resp.phase == rsDone:
		// An early answer was complete: only the rest of the request is lost.
		s.finish(now, false)
	case s.resp.committed:
		s.cutAnswer(stats.ErrHTTPResponseIncomplete)
	case u.reused && untouched && !s.overflow && s.method.idempotent():
		// It was closed while idle, as our request crossed its FIN. The
		// server has not failed; a fresh connection is no retry.
		s.closeUp()
		s.call.Route.Service.Retry(stats.RetryIdleReset)
		s.seq++
		s.connect(u.ep, now, true)
	default:
		e := stats.ErrConnectionTerminated
		if !untouched {
			e = stats.ErrHTTPResponseIncomplete
		}
		s.attemptFailed(now, e, stats.RetryReset, true)
	}
}

// attemptFailed ends the attempt without an answer, and tries again or gives up.
func (s *session) attemptFailed(now int64, e stats.ErrorType, reason stats.RetryReason, again bool) {
	ours := e == stats.ErrConnectionLimitReached || e == stats.ErrHTTPResponseTimeout && s.starved()
	s.closeUp()
	s.seq++
	if ours {
		s.call.Cancel(now) // it says nothing about the endpoint
	}
	if s.hedge.up != nil && (again || e != stats.ErrHTTPResponseTimeout) {
		s.failOver(now, e)
		return
	}
	s.unhedge(now)
	if !ours {
		s.call.Done(now, 0, e, now-s.call.Began())
	}
	if again {
		s.lastErr = e
		if d, ok := s.call.Retry(now, reason, s.replayable()); ok {
			s.retryAfter(d, now)
			return
		}
	}
	s.failCall(now, e, "")
}

func (s *session) retryAfter(d time.Duration, now int64) {
	s.seq++
	s.resp = respState{}
	if d <= 0 {
		s.nextAttempt(now)
		return
	}
	at := now + int64(d)
	if s.callEnd != 0 && s.callEnd < at {
		s.arm(dueCall, s.callEnd, now)
		return
	}
	s.arm(dueRetry, at, now)
}

// failCall answers the call by ourselves; no attempt is under way.
func (s *session) failCall(now int64, e stats.ErrorType, detail string) {
	if detail == "" {
		detail = s.detail(e)
	}
	s.reply(FailStatus(e), e, detail, false)
}

func (s *session) detail(e stats.ErrorType) string { return Detail(&s.call, e, "HTTP/1.1") }

// endCall records the call's outcome, if one is under way.
func (s *session) endCall(status int, e stats.ErrorType) {
	s.seq++
	now := s.srv.now()
	s.closeUp()
	s.unhedge(now)
	if !s.inCall {
		return
	}
	s.inCall = false
	s.call.Cancel(now)
	s.call.End(now, status, e)
}

// dropSent gives the request's record back.
func (s *session) dropSent() {
	if s.sentBuf != nil {
		buffers.Put(s.sentBuf)
		s.sentBuf = nil
	}
	s.sent = nil
}

func (s *session) peerAddr() string {
	if s.peer == "" {
		s.peer = raw.PeerOf(s.down.Conn)
	}
	return s.peer
}
