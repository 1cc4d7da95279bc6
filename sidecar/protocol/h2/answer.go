package h2

import (
	"golang.org/x/net/http2/hpack"

	"github.com/meshd/meshd/sidecar/protocol/grpc"
	"github.com/meshd/meshd/sidecar/protocol/h1"
	"github.com/meshd/meshd/sidecar/stats"
)

// gotAnswer takes a response head of the attempt's connection.
func (s *stream) gotAnswer(l *leg, b *block) problem {
	if b.tooLarge {
		s.badAnswer(l, stats.ErrHTTPResponseHeaderSectionSize, problem{l.id, codeProtocol, "the response's head is larger than the limit"})
		return problem{}
	}
	if l == s.beside && interim(b) {
		return problem{}
	}
	wrong := s.resp.take(b.fields, kindResponse)
	if wrong == "" && s.resp.status < 200 && (b.end || s.resp.status == 101) {
		wrong = "an interim response that ends, or 101"
	}
	if wrong != "" {
		s.badAnswer(l, stats.ErrHTTPProtocolError, problem{l.id, codeProtocol, wrong})
		return problem{}
	}
	s.answered(l, b.end)
	return problem{}
}

// answered goes on with the head in resp.
func (s *stream) answered(l *leg, end bool) {
	r := &s.resp
	if r.status < 200 {
		// Nothing holds an endpoint back in sending these: a client that takes
		// nothing does without.
		if !s.down.closed && len(s.down.link.out) < outStop {
			s.down.p.sendHead(&s.down, r.fields, false)
		}
		return
	}
	l.gotHead, l.inEnd = true, end
	if s.req.method == "HEAD" || r.status == 204 || r.status == 304 {
		l.length = 0 // HTTP/1.1 would take content for the next answer
	} else {
		l.length = r.length
		if end && l.length > 0 {
			s.badAnswer(l, stats.ErrHTTPProtocolError, problem{l.id, codeProtocol, "content-length without content"})
			return
		}
	}
	s.status, s.outcome = r.status, r.status
	if s.req.grpc {
		s.outcome = s.rpcOutcome(r, end)
	}
	if s.beside != nil && !s.chosen(l, end) {
		return
	}
	s.hedgeAt = 0
	s.latency = s.srv.now - s.call.Began()
	s.call.Answered()
	if turned, never := s.hear(r); !never && s.again(end, turned) {
		return
	}
	s.commit(l, end)
}

// rpcOutcome is the outcome of a gRPC call as far as a head or trailers tell it.
func (s *stream) rpcOutcome(h *head, end bool) int {
	switch {
	case h.grpcStatus >= 0:
		return grpc.Outcome(s.status, h.fields[h.grpcStatus].Value)
	case end:
		return grpc.Outcome(s.status, "")
	}
	return s.status
}

// again tries the call again if the answer says that another endpoint may do
// better.
func (s *stream) again(end, turned bool) bool {
	now := s.srv.now
	reason, ok := stats.RetryReason(0), false
	may := !s.overflow
	if code, rpc := stats.GRPCCode(s.outcome); rpc {
		reason, ok = grpc.RetryReason(code)
		ok = ok && end // else a message follows
	} else {
		reason, ok = stats.RetryStatus(s.status)
		may = may && (s.req.grpc || turned /* nobody has looked at it */ || h1.Idempotent(s.req.method))
	}
	if !ok {
		return false
	}
	d, ok := s.call.Retry(now, reason, may)
	if !ok {
		return false
	}
	s.call.Done(now, s.outcome, stats.ErrNone, s.latency)
	s.dropAttempt(codeCancel)
	s.retryAfter(d)
	return true
}

// commit sends the head on: from now on no other attempt can take its place.
func (s *stream) commit(l *leg, end bool) {
	s.committed = true
	s.replay = false
	if s.up.keptAt == len(s.kept) {
		s.forget()
	}
	s.afterHead()
	s.addSaid(&s.resp, end)
	if s.call.Route.Server && !end {
		s.srv.begun = append(s.srv.begun, asked{s, s.seq})
	}
	if s.call.Route.Via {
		s.resp.fields = append(s.resp.fields, hpack.HeaderField{Name: "via", Value: "2 meshd"})
	}
	if s.down.closed {
		return
	}
	s.down.p.sendHead(&s.down, s.resp.fields, end)
	if end && !l.closed && l.outEnd {
		l.p.done(l)
	}
	s.ended()
}

// afterHead sets until when the rest of the answer is waited for: an RPC's as
// long as the caller says, since the route's timeout bounded the wait for its
// head; another's for the route's timeout. What the call's cause has left may
// have been for an attempt, whose head is there.
func (s *stream) afterHead() {
	end := s.rpcEnd
	if !s.req.grpc {
		if d := s.call.Route.Timeout; d > 0 && s.req.protocol == "" {
			end = s.call.Start + int64(d)
		}
		if end == s.callEnd && s.due == dueCall && s.req.protocol == "" {
			return
		}
	}
	s.callEnd = end
	s.armCall()
}

// gotTrailers takes the end of a message.
func (s *stream) gotTrailers(l *leg, b *block) problem {
	var h head
	wrong := ""
	switch {
	case b.tooLarge:
		wrong = "trailers larger than the limit"
	case l.length >= 0 && l.got != l.length:
		wrong = "content-length and content differ"
	case l == s.up && len(s.tail) == 0:
		h.fields = s.tail
		wrong = h.take(b.fields, kindTrailers)
		s.tail = h.fields
	default:
		wrong = h.take(b.fields, kindTrailers)
	}
	if wrong != "" {
		return problem{l.id, codeProtocol, wrong}
	}
	s.trailing(l, &h)
	return problem{}
}

// trailed takes the trailers of a message that came over HTTP/1.1.
func (s *stream) trailed(l *leg, fields []hpack.HeaderField) {
	var h head
	if h.take(fields, kindTrailers) != "" {
		h = head{loadAt: -1, grpcStatus: -1} // they are of no use to HTTP/2
	}
	s.trailing(l, &h)
}

// trailing goes on with trailers.
func (s *stream) trailing(l *leg, h *head) {
	l.inEnd = true
	if l == &s.down {
		s.allSaid()
	} else if s.in {
		if s.req.grpc {
			s.outcome = s.rpcOutcome(h, true)
		}
		s.hear(h)
		if s.call.Route.Server && s.req.grpc {
			s.addTried(h)
		}
	}
	if l.trailers = h.fields; l.trailers == nil {
		l.trailers = []hpack.HeaderField{}
	}
	s.move(s.other(l))
	s.settle(l)
}

// ended follows the last byte of the answer.
func (s *stream) ended() {
	if !s.down.outEnd {
		return
	}
	if s.in {
		e := stats.ErrNone
		if s.req.grpc && s.outcome == s.status { // it ended without a grpc-status
			s.outcome = grpc.Outcome(s.status, "")
		}
		s.call.Done(s.srv.now, s.outcome, e, s.latency)
		s.call.End(s.srv.now, s.outcome, e)
		s.in = false
		s.seq++
	}
	s.letGo()
}

// letGo ends the legs of a stream whose answer is complete: what is left of
// the request is nobody's (RFC 9113 section 8.1).
func (s *stream) letGo() {
	if s.up.s != nil && !s.up.closed {
		s.up.p.reset(s.up, codeCancel)
	}
	if !s.down.closed {
		s.down.p.reset(&s.down, codeNone)
	}
	s.over()
}

// wasReset follows an RST_STREAM of a peer, whose leg is gone.
func (s *stream) wasReset(l *leg, why code) {
	switch {
	case l == &s.down:
		s.abandoned(why)
	case l == s.beside:
		s.hedgeLost(stats.ErrConnectionTerminated, why == codeRefused)
	case l.inEnd:
		s.settle(l) // the answer was complete
	case s.committed:
		s.cut(stats.ErrHTTPResponseIncomplete, why)
	case why == codeRefused:
		s.wasRefused()
	default:
		s.attemptFailed(stats.ErrConnectionTerminated, stats.RetryReset, true)
	}
}

// legLost follows the loss of a connection.
func (s *stream) legLost(l *leg, e stats.ErrorType) {
	if l == &s.down {
		s.abandoned(codeCancel)
		return
	}
	if e == stats.ErrNone {
		e = stats.ErrConnectionTerminated
	}
	if l == s.beside {
		s.hedgeLost(e, s.spare)
		s.spare = false
		return
	}
	switch {
	case l.inEnd:
		s.settle(l)
	case s.committed:
		s.cut(stats.ErrHTTPResponseIncomplete, codeInternal)
	default:
		// Also for a protocol error, which may have been another call's answer.
		s.attemptFailed(e, stats.RetryReset, e != stats.ErrProxyInternalError)
	}
}

// broken follows an error of a peer on one stream.
func (s *stream) broken(l *leg, p problem) {
	if l != &s.down {
		s.badAnswer(l, stats.ErrHTTPProtocolError, p)
		return
	}
	s.srv.Stats.Malformed.Inc()
	if !l.closed {
		l.p.reset(l, p.code)
	}
	s.abort(400, stats.ErrHTTPRequestError, codeCancel)
}

// badAnswer ends an attempt whose answer is not HTTP as we take it. It is not
// tried again: another endpoint of the service says the same.
func (s *stream) badAnswer(l *leg, e stats.ErrorType, p problem) {
	if !l.closed {
		l.p.reset(l, p.code)
	}
	if l == s.beside {
		s.hedgeLost(e, false)
		return
	}
	if s.committed {
		s.cut(e, codeInternal)
		return
	}
	s.attemptFailed(e, stats.RetryReset, false)
}

// abandoned follows the client's leave.
func (s *stream) abandoned(why code) {
	s.abort(statusClientClosed, stats.ErrClientClosed, why)
}

// statusClientClosed is what a call counts as whose client went away before an
// answer: nginx's 499.
const statusClientClosed = 499

// abort ends a stream of which the client takes nothing more.
func (s *stream) abort(status int, e stats.ErrorType, why code) {
	s.dropAttempt(why)
	switch {
	case s.req.grpc:
		status = stats.GRPC(grpc.FromProxyError(e, status))
	case s.status != 0:
		status = s.status
	}
	s.endCall(status, e)
	s.over()
}

// cut breaks off an answer that the client has in part. A gRPC client is told
// in trailers, others by a reset: so that it is not taken for a whole one.
func (s *stream) cut(e stats.ErrorType, why code) {
	s.dropAttempt(codeCancel)
	outcome := s.status
	rpc := s.req.grpc && s.resp.grpc
	if s.req.grpc {
		outcome = stats.GRPC(grpc.FromProxyError(e, e.Status()))
	}
	detail := ""
	if rpc {
		detail = s.detail(e)
	}
	if !s.spare {
		s.call.Done(s.srv.now, outcome, e, s.latency)
	}
	s.endCall(outcome, e)
	if rpc && !s.down.closed {
		s.down.p.sendTrailers(&s.down, rpcTrailers(grpc.FromProxyError(e, e.Status()), detail))
		s.letGo()
		return
	}
	if why == codeNone || why == codeRefused {
		why = codeInternal // it was neither whole nor is it safe to ask again
	}
	if !s.down.closed {
		s.down.p.reset(&s.down, why)
	}
	s.over()
}

// endCall records the call's outcome, if one is under way.
func (s *stream) endCall(status int, e stats.ErrorType) {
	s.seq++
	if !s.in {
		return
	}
	s.in = false
	s.call.Cancel(s.srv.now)
	s.call.End(s.srv.now, status, e)
}
