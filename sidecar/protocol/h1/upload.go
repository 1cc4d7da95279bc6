package h1

import (
	"github.com/meshd/meshd/sidecar/stats"
)

// take reads as much of in as belongs to the body and is well formed. An error
// says what is wrong with what follows those n bytes.
func take(b *body, in []byte, lim Limits) (n int, err error) {
	for n < len(in) && !b.done() {
		k, _, err := b.next(in[n:], lim)
		if err != nil {
			return n, err
		}
		if k == 0 {
			break
		}
		n += k
	}
	return n, nil
}

// pumpRequest passes on what the client sends of its request, as far as the
// endpoint takes it.
func (s *session) pumpRequest() {
	if s.reqDone {
		s.readAhead()
		return
	}
	for s.state == stCall && !s.reqDone {
		u := s.up
		if u == nil && s.call.Waiting() {
			s.awaitPlace()
			return
		}
		if u == nil || len(u.out) > 0 || s.method == mConnect {
			return // dialling, or the endpoint is slow: the client waits in its kernel
		}
		n, err := take(&s.reqBody, s.down.in, s.srv.Limits)
		if n > 0 {
			s.pass(u, s.down.in[:n])
			s.down.used(n)
			if s.reqBody.done() {
				s.requestRead()
			}
			continue
		}
		if err != nil {
			s.badRequestBody(err.(Problem))
			return
		}
		more, err := s.readRequest(u)
		switch {
		case more:
		case err != nil:
			s.abort()
			return
		case s.down.EOF:
			s.badRequestBody(errTruncated)
			return
		case s.down.full():
			s.badRequestBody(errTrailer)
			return
		default:
			return
		}
	}
}

// readRequest reads more of the request; long content goes on at once.
func (s *session) readRequest(u *upstream) (bool, error) {
	if len(s.down.in) > 0 || s.reqBody.bulk() <= readSize {
		return s.down.fill()
	}
	more, err := s.down.bulk(&s.reqBody, s.srv.Limits, func(p []byte) { s.pass(u, p) })
	if more && s.reqBody.done() {
		s.requestRead()
	}
	return more, err
}

// readResponse reads more of the answer; long content goes on at once.
func (s *session) readResponse(u *upstream) (bool, error) {
	if len(u.in) > 0 || s.resp.phase != rsBody || s.resp.body.bulk() <= readSize {
		return u.fill()
	}
	return u.bulk(&s.resp.body, s.srv.Limits, func(p []byte) { s.send(p) })
}

// pass sends body bytes upstream and keeps them for another attempt while they fit.
func (s *session) pass(u *upstream, p []byte) {
	if s.replay && !s.overflow && s.sent != nil && len(s.sent)+len(p) <= bufferSize+s.call.Route.Retry.BufferBytes {
		s.sent = append(s.sent, p...)
	} else {
		s.overflow = true
	}
	s.progress()
	if u.send(p) != nil {
		u.out, u.Readable = nil, true
	}
	s.watchUp(u)
}

// readAhead takes note of what a client sends after its request: the next one,
// which waits for its turn, or the end.
func (s *session) readAhead() {
	for {
		more, err := s.down.fill()
		if err != nil {
			s.abort() // a reset: nobody waits for the answer
			return
		}
		if !more {
			if s.down.EOF && s.call.Waiting() {
				s.abort() // a place is not kept for who has hung up
			}
			return
		}
	}
}

// awaitPlace reads as much of a request's content as its buffer takes while
// the call waits, so that a client's end is noticed.
func (s *session) awaitPlace() {
	for {
		more, err := s.down.fill()
		if err != nil {
			s.abort()
			return
		}
		if more {
			continue
		}
		if s.down.EOF {
			b := s.reqBody
			if _, err := take(&b, s.down.in, s.srv.Limits); err != nil || !b.done() {
				s.badRequestBody(errTruncated)
			} else {
				s.abort()
			}
		}
		return
	}
}

// starved reports whether the endpoint waits for the client's content: what
// takes too long then is not the endpoint.
func (s *session) starved() bool { return s.up != nil && !s.reqDone && len(s.up.out) == 0 }

// badRequestBody ends a call whose request turned out to be malformed or cut.
func (s *session) badRequestBody(p Problem) {
	s.srv.Stats.Malformed.Inc()
	if s.resp.committed {
		s.cutAnswer(stats.ErrHTTPRequestError)
		return
	}
	s.reply(p.Status(), stats.ErrHTTPRequestError, p.Error(), true)
}
