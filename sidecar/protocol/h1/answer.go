package h1

import (
	"github.com/meshd/meshd/sidecar/stats"
)

// phase is where the answer stands.
type phase uint8

const (
	rsHead phase = iota // waiting for a response head
	rsBody
	rsDone // complete; the request is not
)

type respState struct {
	phase     phase
	committed bool // its head went to the client: no other attempt can take its place
	touched   bool // bytes came on this attempt
	status    int
	latency   int64 // attempt to head, ns
	body      body
	keep      bool // the endpoint keeps the connection
	decode    bool // content goes out without chunks, to an HTTP/1.0 client
	end       ending
}

// pumpResponse passes on what the endpoint answers, as far as the client takes it.
func (s *session) pumpResponse() {
	for s.state == stCall && s.up != nil && len(s.down.out) == 0 {
		u := s.up
		progress := false
		switch s.resp.phase {
		case rsHead:
			progress = s.responseHead(u)
		case rsBody:
			progress = s.responseBody(u)
		case rsDone:
			if s.reqDone {
				s.finish(s.srv.now(), true)
				return
			}
			// Watch for the end of the connection that the request still goes to.
			if len(u.in) > 0 {
				s.upBroken()
				return
			}
		}
		if progress || s.state != stCall || s.up != u {
			continue
		}
		more, err := s.readResponse(u)
		if more {
			s.resp.touched = true
			s.progress()
			continue
		}
		switch {
		case err != nil:
			s.upBroken()
		case u.EOF && s.resp.phase == rsBody && s.resp.body.kind == bodyUntilClose:
			s.resp.keep = false
			s.answered()
		case u.EOF:
			s.upBroken()
		case u.full():
			s.badResponse()
		default:
			return
		}
	}
}

// responseHead works on a response head, if a whole one is at hand.
func (s *session) responseHead(u *upstream) bool {
	if len(u.in) == 0 {
		return false
	}
	r := &s.res
	n, err := r.parse(u.in, s.srv.Limits)
	if err != nil {
		s.badResponse()
		return true
	}
	if n == 0 {
		return false
	}
	if r.status < 200 && r.status != 101 {
		if !s.http10 {
			b := buffers.Get().(*buffer)
			ok := s.send(r.appendResponse(b[:0], u.in, endKeep, false, false, nil, 0))
			buffers.Put(b)
			if !ok {
				return true
			}
		}
		u.used(n)
		return true
	}
	if r.status == 101 && !s.upgrade {
		s.badResponse()
		return true
	}
	now := s.srv.now()
	latency := now - s.call.Began()
	s.call.Answered()
	final := false
	if r.told {
		_, final = s.hear(r, u.in, now)
	}
	reason, ok := stats.RetryStatus(r.status)
	if ok && s.hedge.up != nil {
		s.call.Done(now, r.status, stats.ErrNone, latency)
		s.discard(u, r, n, now)
		s.failOver(now, stats.ErrNone)
		return true
	}
	s.unhedge(now)
	if final {
		s.call.Final()
	}
	if ok {
		if d, again := s.call.Retry(now, reason, s.replayable()); again {
			s.call.Done(now, r.status, stats.ErrNone, latency)
			s.discard(u, r, n, now)
			s.retryAfter(d, now)
			return true
		}
	}
	s.commit(u, r, n, now, latency)
	return true
}

// discard ends an attempt whose answer is not wanted. The connection survives
// when the whole answer is at hand.
func (s *session) discard(u *upstream, r *response, n int, now int64) {
	b := r.body(s.method)
	keep := r.keep() && s.reqDone
	u.used(n)
	k, err := take(&b, u.in, s.srv.Limits)
	u.used(k)
	s.release(keep && err == nil && b.done(), now)
}

// commit sends the head to the client, with what is at hand of the body.
func (s *session) commit(u *upstream, r *response, n int, now, latency int64) {
	s.resp.committed, s.resp.phase = true, rsBody
	s.resp.status, s.resp.latency = r.status, latency
	s.resp.keep = r.keep()
	s.resp.body = r.body(s.method)
	if s.due == dueAttempt {
		s.armCall(now)
	}
	if s.reqDone {
		s.dropSent()
	} else {
		s.replay = false
	}
	if r.status == 101 {
		s.switched(u, r, n)
		return
	}
	chunked := r.chunked && s.resp.body.kind == bodyChunked
	if r.chunked && s.method == mHead {
		chunked = true
	}
	if s.http10 && chunked {
		s.resp.decode, chunked = true, false
	}
	s.resp.end = s.ending()
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	out := r.appendResponse(buf[:0], u.in, s.resp.end, chunked, s.call.Route.Via, &s.call, now)
	u.used(n)
	if !s.resp.decode && !s.resp.body.done() && len(u.in) > 0 && len(out)+len(u.in) <= cap(out) {
		k, err := take(&s.resp.body, u.in, s.srv.Limits)
		out = append(out, u.in[:k]...)
		u.used(k)
		if err != nil {
			if s.send(out) {
				s.cutAnswer(stats.ErrHTTPProtocolError)
			}
			return
		}
	}
	if !s.resp.body.done() {
		s.call.Streaming(now)
	}
	if s.send(out) && s.resp.body.done() {
		s.answered()
	}
}

// ending decides whether the client's connection outlives this answer.
func (s *session) ending() ending {
	switch {
	case !s.keep, s.down.EOF && len(s.down.in) == 0, s.srv.draining.Load(),
		s.resp.body.kind == bodyUntilClose, s.resp.decode:
		return endClose
	case s.http10:
		return endKeep10
	}
	return endKeep
}

// responseBody passes on body bytes that are at hand.
func (s *session) responseBody(u *upstream) bool {
	if s.resp.body.done() {
		s.answered()
		return true
	}
	if len(u.in) == 0 {
		return false
	}
	var n int
	var err error
	if s.resp.decode {
		n, err = s.decodeRun(u)
	} else if n, err = take(&s.resp.body, u.in, s.srv.Limits); n > 0 && !s.send(u.in[:n]) {
		return true
	}
	if s.state != stCall {
		return true
	}
	u.used(n)
	if err != nil {
		s.cutAnswer(stats.ErrHTTPProtocolError)
		return true
	}
	if s.resp.body.done() {
		s.answered()
		return true
	}
	return n > 0
}

// decodeRun passes on one run of chunked content without its framing.
func (s *session) decodeRun(u *upstream) (int, error) {
	n, data, err := s.resp.body.next(u.in, s.srv.Limits)
	if err == nil && data && n > 0 {
		s.send(u.in[:n])
	}
	return n, err
}

// answered follows the last byte of the answer.
func (s *session) answered() {
	s.resp.phase = rsDone
	if s.reqDone {
		s.finish(s.srv.now(), true)
	}
}

// requestRead follows the last byte of the request.
func (s *session) requestRead() {
	s.reqDone = true
	s.down.settle()
	s.mirror()
	if s.resp.phase == rsDone {
		s.finish(s.srv.now(), true)
	}
}

// finish ends a call whose answer was complete, and goes on with the next.
func (s *session) finish(now int64, reusable bool) {
	s.call.Done(now, s.resp.status, stats.ErrNone, s.resp.latency)
	s.call.End(now, s.resp.status, stats.ErrNone)
	s.inCall = false
	s.release(reusable && s.resp.keep && s.reqDone, now)
	s.closeUp()
	s.dropSent()
	s.seq++
	if s.resp.end == endClose || !s.reqDone {
		s.state = stFlush
		return
	}
	s.idle(now)
}

// badResponse ends an attempt whose answer is not HTTP/1.1 as we take it. It
// is not tried again: another endpoint of the service says the same.
func (s *session) badResponse() {
	if s.resp.committed {
		s.cutAnswer(stats.ErrHTTPProtocolError)
		return
	}
	s.attemptFailed(s.srv.now(), stats.ErrHTTPProtocolError, stats.RetryReset, false)
}

// cutAnswer breaks off an answer that the client has in part. The reset makes
// sure that it is not taken for a whole one.
func (s *session) cutAnswer(e stats.ErrorType) {
	now := s.srv.now()
	status := s.resp.status
	s.call.Done(now, status, e, s.resp.latency)
	s.endCall(status, e)
	_ = s.down.Conn.SetLinger(0)
	s.closeDown()
}
