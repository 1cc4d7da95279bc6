package h2

import (
	"time"

	"github.com/meshd/meshd/sidecar/stats"
)

// due says what a stream's deadline is for.
type due uint8

const (
	dueCall due = iota
	dueAttempt
	dueRetry
)

// arm sets what is due next and when. A timer that fires earlier is left alone
// and finds out then: a stream that is used again touches the runtime's timers
// now and then, not with each call.
func (s *stream) arm(what due, at int64) {
	s.due, s.deadline = what, at
	if s.armed != 0 && s.armed <= at {
		return
	}
	s.armed = at
	d := time.Duration(max(at-s.srv.now, 0))
	if s.timer == nil {
		srv := s.srv
		s.timer = time.AfterFunc(d, func() { srv.onTimer(s) })
	} else {
		s.timer.Reset(d)
	}
}

// onTimer is the timer's goroutine. What the stream is, another call's perhaps
// by now, is known once the lock is held.
func (srv *Server) onTimer(s *stream) {
	srv.enter()
	defer srv.exit(s.down.link)
	s.expire()
	srv.flush()
}

func (s *stream) expire() {
	s.armed = 0
	if s.gone || s.deadline == 0 {
		return
	}
	if s.srv.now < s.deadline {
		s.arm(s.due, s.deadline)
		return
	}
	s.deadline = 0
	switch {
	case !s.in:
		s.letGo() // an answer of ours that the client does not take
		return
	case s.due == dueRetry:
		s.nextAttempt()
		return
	case s.callEnd == 0 && s.due == dueCall && s.req.grpc && !s.down.inEnd && s.up.s != nil && !s.up.closed:
		return // an RPC that neither side has ended may be silent; PING looks after its peers
	}
	s.timedOut(s.due == dueAttempt)
}

// armCall sets the deadline of the call, or of its attempt when that is sooner.
func (s *stream) armCall() {
	now := s.srv.now
	at, what := s.callEnd, dueCall
	if t := s.attemptEnd; t > 0 && !s.committed && s.req.protocol == "" && !s.call.Waiting() && (at == 0 || t < at) {
		at, what = t, dueAttempt
	}
	if at == 0 {
		if s.committed && (s.req.grpc || s.req.protocol != "") {
			s.deadline = 0 // a stream may be silent; PING looks after its peers
			return
		}
		at = now + int64(s.srv.Limits.StreamIdle)
	}
	s.arm(what, at)
}

// timedOut ends an attempt, or the whole call, that took too long.
func (s *stream) timedOut(attempt bool) {
	switch {
	case s.committed:
		s.cut(stats.ErrHTTPResponseTimeout, codeCancel)
	default:
		if !attempt {
			s.unhedge() // there is no time left for either
		}
		s.attemptFailed(stats.ErrHTTPResponseTimeout, stats.RetryTimeout, attempt)
	}
}
