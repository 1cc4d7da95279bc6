package h1

import (
	"bytes"
	"net/netip"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/xds/resource"
)

// startCall begins on the request whose head lies in in.
func (s *session) startCall() {
	r := &s.req
	s.seq++
	s.method, s.http10 = r.method, r.http10
	s.keep = r.keep()
	s.upgrade = r.upgradeTo(s.down.in) != nil
	s.reqBody = r.body()
	s.reqDone = s.reqBody.done() && s.method != mConnect
	s.resp = respState{}
	s.deadline = 0
	if len(r.authority) == 0 && !s.original.IsValid() {
		s.refuse(errHost)
		return
	}
	if !s.elsewhere {
		if a := s.srv.Lookup(r.authority); a != nil {
			s.begin(a, s.srv.now())
			return
		}
	}
	s.state = stRoute
	seq := s.seq
	s.srv.Resolve(string(r.authority), s.original, func(a *call.Authority, e stats.ErrorType) {
		defer s.recover()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.seq != seq || s.state != stRoute {
			return
		}
		if a == nil {
			s.noRoute(e)
		} else {
			s.begin(a, s.srv.now())
		}
		s.advance()
	})
}

// noRoute answers a call to what is not known and may not pass.
func (s *session) noRoute(e stats.ErrorType) {
	status, detail := NoRoute(string(s.req.authority), e)
	s.down.used(s.headLen)
	s.reply(status, e, detail, false)
}

// begin starts the call on its route, with the head still in in.
func (s *session) begin(a *call.Authority, now int64) {
	r, in := &s.req, s.down.in
	route := a.Match(r.path, asked{s})
	if route == nil {
		name := a.Name
		s.down.used(s.headLen)
		s.reply(404, stats.ErrDestinationNotFound, "no route of "+name+" matches the path", false)
		return
	}
	if s.srv.Translate != nil && s.method != mConnect && route.Speaks(resource.ProtocolHTTP2) {
		s.give(s.srv.Translate)
		return
	}
	parent, has := s.parent()
	said := call.Said{Parent: parent, HasParent: has}
	r.says(in, &said)
	said.Partial = route.Server && !s.whole()
	if route.Looks() || s.srv.Tracer.Looks() {
		said.Request = asked{s}
	}
	s.subject.set(r.name, r.path)
	step := s.call.Begin(s.srv.Tracer, route, &said, s, now)
	s.inCall = true
	s.state = stCall
	h := hop{via: route.Via, forwarded: route.Forwarded}
	if s.call.Told() {
		h.traced, h.trace, h.propagate = true, s.call.Context, s.propagate()
		h.newTrace = !has && h.propagate.TraceContext
	}
	if s.call.Sampled() {
		var state []byte
		if has {
			state = r.traceState(in)
		}
		s.call.Describe(r.name, r.path, []byte(s.peerAddr()), state)
		s.call.DescribeProtocol(s.version(), false)
	}
	if h.forwarded != resource.ForwardedNone {
		h.peer = s.peerAddr()
	}
	if h.tells = route.Tells(); h.tells {
		h.tell, s.toldNs = s.call.Tell(now), now
	}
	if s.sentBuf == nil {
		s.sentBuf = buffers.Get().(*buffer)
	}
	s.sent, s.traceAt, s.toldAt = r.appendRequest(s.sentBuf[:0], in, &h)
	s.down.used(s.headLen)
	s.overflow, s.offered, s.lastErr = false, false, stats.ErrNone
	s.hedge.asked, s.copied = false, len(route.Mirrors) == 0 || route.Mirror == nil
	s.replay = route.Retry.Attempts > 0 && s.method.idempotent() || !s.copied
	s.absorb()
	if s.reqDone {
		s.down.settle()
	}
	s.callEnd = s.call.Until()
	if route.Timeout > 0 && !s.upgrade && s.method != mConnect {
		if end := now + int64(route.Timeout); s.callEnd == 0 || end < s.callEnd {
			s.callEnd = end
		}
	}
	s.step(step, now)
}

// whole reports whether the request whose head lies in in is there to its end.
func (s *session) whole() bool {
	b := s.reqBody
	if b.done() {
		return true
	}
	_, err := take(&b, s.down.in[s.headLen:], s.srv.Limits)
	return err == nil && b.done()
}

// step goes on as the call has it.
func (s *session) step(step call.Step, now int64) {
	switch step {
	case call.Go:
		s.nextAttempt(now)
	case call.Wait:
		s.armCall(now)
	case call.Refused:
		s.refused(now)
	}
}

// refused answers a call that may not go on.
func (s *session) refused(now int64) {
	status, e, detail, after := Refused(&s.call, "HTTP/1.1")
	s.retryIn = after
	s.reply(plainStatus(status), e, detail, false)
	s.retryIn = 0
}

// Resume implements call.Owner.
func (s *session) Resume(w *call.Waiter) {
	defer s.recover()
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.srv.now()
	if step := s.call.Resumed(w, now); step != call.Stale {
		s.step(step, now)
		s.advance()
	}
}

// Subject implements call.Owner.
func (s *session) Subject() call.Subject {
	method, path := s.subject.strings()
	return call.Subject{Method: method, Path: path, Peer: s.peerAddr(), Version: s.version()}
}

// version is that of HTTP, as the client speaks it.
func (s *session) version() string {
	if s.http10 {
		return "1.0"
	}
	return "1.1"
}

// subject is the method and the path, without its query, of the call under
// way: as much of them as fits.
type subject struct {
	of        [128]byte
	name, end uint8
}

func (t *subject) set(method, path []byte) {
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	n := copy(t.of[:], method)
	t.name, t.end = uint8(n), uint8(n+copy(t.of[n:], path))
}

func (t *subject) strings() (method, path string) {
	return string(t.of[:t.name]), string(t.of[t.name:t.end])
}

// asked is the request at hand as call.Request sees it.
type asked struct{ s *session }

// Method implements call.Request.
func (h asked) Method() []byte { return h.s.req.name }

// Header implements call.Request.
func (h asked) Header(name string) (value []byte) {
	sep := ", "
	if name == "cookie" {
		sep = "; "
	}
	for i := range h.s.req.fields {
		f := &h.s.req.fields[i]
		switch v := f.value(h.s.down.in); {
		case !equalFold(f.name(h.s.down.in), name):
		case value == nil:
			value = v
		default:
			value = append(append(value[:len(value):len(value)], sep...), v...)
		}
	}
	return value
}

// Target implements call.Request.
func (h asked) Target() []byte { return h.s.req.path }

// Source implements call.Request.
func (h asked) Source() netip.Addr {
	a, _ := netip.ParseAddr(h.s.peerAddr())
	return a
}

// absorb appends body bytes that are at hand to the head, so that a small
// request is one write.
func (s *session) absorb() {
	if s.reqDone || len(s.down.in) == 0 || s.method == mConnect {
		return
	}
	if len(s.sent)+len(s.down.in) > cap(s.sent) {
		return
	}
	n, err := take(&s.reqBody, s.down.in, s.srv.Limits)
	if err != nil {
		return // pumpRequest meets it again: take stops before what is wrong
	}
	s.sent = append(s.sent, s.down.in[:n]...)
	s.down.used(n)
	s.reqDone = s.reqBody.done()
}
