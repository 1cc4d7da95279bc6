package h1

import (
	"time"

	"github.com/meshd/meshd/sidecar/stats"
)

// arm sets what is due next and when. A timer that fires earlier is left
// alone and finds out then, so that a busy connection touches the runtime's
// timers a few times a second, not twice a call.
func (s *session) arm(what due, at, now int64) {
	s.due, s.deadline = what, at
	if s.armed != 0 && s.armed <= at {
		return
	}
	s.armed = at
	d := time.Duration(max(at-now, 0))
	if s.timer == nil {
		s.timer = time.AfterFunc(d, s.onTimer)
	} else {
		s.timer.Reset(d)
	}
}

func (s *session) onTimer() {
	defer s.recover()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.armed = 0
	if s.state == stClosed || s.state == stTunnel || s.deadline == 0 {
		return
	}
	now := s.srv.now()
	if now < s.deadline {
		s.arm(s.due, s.deadline, now)
		return
	}
	s.deadline = 0
	switch s.due {
	case dueIdle:
		s.idleDue(now)
	case dueHead:
		if s.state == stSniff {
			s.srv.Stats.Malformed.Inc() // the beginning of one protocol or another
			s.closeDown()
			return
		}
		s.reply(408, stats.ErrHTTPRequestError, "the request head was not complete in time", true)
		s.advance()
	case dueCall:
		s.timedOut(now, false)
	case dueAttempt:
		s.timedOut(now, true)
	case dueRetry:
		s.armCall(now)
		s.nextAttempt(now)
		s.advance()
	case dueLinger:
		s.closeDown()
	case dueSniff:
		if s.peek(true) || s.original.IsValid() {
			s.opaque()
		} else if len(s.down.in) > 0 {
			s.arm(dueHead, now+int64(s.srv.HeadTimeout), now)
		} else {
			// Not redirected: a client that has nothing to say yet.
			s.arm(dueIdle, now+int64(s.srv.IdleTimeout), now)
		}
	}
}

func (s *session) idleDue(now int64) {
	if s.peeked || s.state != stHead {
		s.closeDown()
		return
	}
	s.peeked = true
	s.arm(dueIdle, now+int64(s.srv.IdleTimeout-peekAfter), now)
	s.down.Readable = true
	s.advance()
}

// armCall sets the deadline of the call, or of its attempt when that is sooner.
func (s *session) armCall(now int64) {
	at, what := s.callEnd, dueCall
	if d := s.call.Route.AttemptTimeout; d > 0 && s.resp.phase == rsHead && !s.call.Waiting() {
		if t := now + int64(d); at == 0 || t < at {
			at, what = t, dueAttempt
		}
	}
	if at == 0 {
		at = now + int64(s.srv.StreamIdle)
	}
	s.arm(what, at, now)
}

// progress pushes the idle limit of a call that has no other.
func (s *session) progress() {
	if s.callEnd == 0 && s.due == dueCall && s.inCall {
		s.deadline = s.srv.now() + int64(s.srv.StreamIdle)
	}
}

// timedOut ends an attempt, or the whole call, that took too long.
func (s *session) timedOut(now int64, attempt bool) {
	if !s.inCall {
		return
	}
	if s.resp.phase == rsDone {
		s.finish(now, false) // answered; the rest of the request is nobody's
		s.advance()
		return
	}
	if s.resp.committed {
		s.cutAnswer(stats.ErrHTTPResponseTimeout)
		return
	}
	s.attemptFailed(now, stats.ErrHTTPResponseTimeout, stats.RetryTimeout, attempt)
	s.advance()
}
