package h2

import (
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/net/http2/hpack"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/protocol/grpc"
	"github.com/meshd/meshd/sidecar/protocol/h1"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
	"github.com/meshd/meshd/xds/resource"
)

// begin starts on a request whose head is in req.
func (s *stream) begin() {
	s.seq++
	if s.req.method == "CONNECT" && s.req.protocol == "" {
		s.refuse(501, "CONNECT over HTTP/2 is supported with :protocol only (RFC 8441)")
		return
	}
	if s.req.authority == "" && !s.original.IsValid() {
		s.refuse(400, "the request names no authority")
		return
	}
	if !s.elsewhere {
		if a := s.srv.Lookup(bytesOf(s.req.authority)); a != nil {
			s.route(a)
			return
		}
	}
	seq, srv, link := s.seq, s.srv, s.down.link
	srv.Resolve(s.req.authority, s.original, func(a *call.Authority, e stats.ErrorType) {
		srv.event(link, func() {
			switch {
			case s.seq != seq:
			case a == nil:
				s.noRoute(e)
			default:
				s.route(a)
			}
		})
	})
}

// route begins the call.
func (s *stream) route(a *call.Authority) {
	s.seq++
	now := s.srv.now
	route := a.Match(bytesOf(s.req.path), subject{s})
	if route == nil {
		s.reply(404, stats.ErrDestinationNotFound, "no route of "+a.Name+" matches the path")
		return
	}
	parent, has := s.parent()
	said := call.Said{Parent: parent, HasParent: has}
	s.says(&said)
	said.Partial = route.Server && !s.down.inEnd
	if route.Looks() || s.srv.Tracer.Looks() {
		said.Request = subject{s}
	}
	step := s.call.Begin(s.srv.Tracer, route, &said, s, now)
	s.in = true
	if s.call.Sampled() {
		var state []byte
		if has && s.req.stateAt >= 0 {
			state = bytesOf(s.req.fields[s.req.stateAt].Value)
		}
		s.describe(state)
	}
	s.deadlines(now)
	// Whatever the method: an endpoint may refuse a request without having
	// looked at it.
	s.replay = route.Retry.BufferBytes > 0
	s.step(step)
}

// step goes on as the call has it.
func (s *stream) step(step call.Step) {
	switch step {
	case call.Go:
		s.nextAttempt()
	case call.Wait:
		s.armCall()
	case call.Refused:
		s.refusedCall()
	}
}

// refusedCall answers a call that may not go on.
func (s *stream) refusedCall() {
	status, e, detail, after := h1.Refused(&s.call, "HTTP/2")
	s.retryIn = after
	if code, ok := stats.GRPCCode(s.call.Refusal().Status); ok {
		s.replyAs(grpc.ToHTTP(code), code, e, detail)
		return
	}
	s.reply(status, e, detail)
}

// Resume implements call.Owner. Which call the stream is by now, the call knows.
func (s *stream) Resume(w *call.Waiter) {
	srv := s.srv
	srv.enter()
	defer srv.exit(s.down.link)
	if step := s.call.Resumed(w, srv.now); step != call.Stale {
		s.step(step)
	}
	srv.flush()
}

// Subject implements call.Owner.
func (s *stream) Subject() call.Subject {
	return call.Subject{Method: s.req.method, Path: s.req.path, Peer: s.peer, Version: s.version(), RPC: s.req.grpc}
}

// version is that of HTTP, as the client speaks it.
func (s *stream) version() string {
	if s.down.c == nil {
		return "1.1"
	}
	return "2"
}

// subject is a stream's request as call.Request sees it.
type subject struct{ s *stream }

// Method implements call.Request.
func (h subject) Method() []byte { return bytesOf(h.s.req.method) }

// Header implements call.Request.
func (h subject) Header(name string) []byte {
	sep := ", "
	if name == "cookie" {
		sep = "; "
	}
	if v, ok := h.s.req.joined(name, sep); ok {
		return []byte(v)
	}
	return nil
}

// Target implements call.Request.
func (h subject) Target() []byte { return bytesOf(h.s.req.path) }

// Source implements call.Request.
func (h subject) Source() netip.Addr {
	a, _ := netip.ParseAddr(h.s.peer)
	return a
}

func (s *stream) describe(state []byte) {
	s.call.Describe(bytesOf(s.req.method), bytesOf(s.req.path), bytesOf(s.peer), state)
	s.call.DescribeProtocol(s.version(), s.req.grpc)
}

// deadlines sets when the call has to be over.
func (s *stream) deadlines(now int64) {
	s.rpcEnd = 0
	if s.req.grpc {
		s.rpcEnd = s.call.Until()
	}
	s.bound(now)
}

// bound sets the call's end: the caller's grpc-timeout counts like the route's
// timeout, whichever is sooner. The route's bounds the wait for an RPC's answer,
// and so begins when all was said.
func (s *stream) bound(now int64) {
	s.callEnd = s.rpcEnd
	if end := s.call.Until(); end != 0 && (s.callEnd == 0 || end < s.callEnd) {
		s.callEnd = end
	}
	if d := s.call.Route.Timeout; d > 0 && s.req.protocol == "" && (!s.req.grpc || s.down.inEnd) {
		if end := now + int64(d); s.callEnd == 0 || end < s.callEnd {
			s.callEnd = end
		}
	}
}

// allSaid follows the end of a request.
func (s *stream) allSaid() {
	if s.in && s.req.grpc && !s.committed && s.call.Route.Timeout > 0 && s.due != dueRetry {
		s.bound(s.srv.now)
		if d := s.call.Route.AttemptTimeout; d > 0 {
			s.attemptEnd = s.srv.now + int64(d)
		}
		s.armCall()
	}
}

func (s *stream) parent() (sc tracing.SpanContext, ok bool) {
	p := s.srv.Tracer.Propagators()
	if p.TraceContext && s.req.traces == 1 {
		sc, ok = tracing.ParseTraceparent(bytesOf(s.req.fields[s.req.traceAt].Value))
	}
	if ok || !p.AnyB3() {
		return sc, ok
	}
	var c tracing.Carried
	for i := range s.req.fields {
		c.Take(s.req.fields[i].Name, bytesOf(s.req.fields[i].Value))
	}
	return p.ParseB3(&c)
}

// nextAttempt picks an endpoint and gets a connection to it.
func (s *stream) nextAttempt() {
	s.seq++
	now := s.srv.now
	if s.callEnd != 0 && now+1 >= s.callEnd { // a grpc-timeout of 0 is told as the least that there is
		s.failCall(stats.ErrHTTPResponseTimeout)
		return
	}
	ep := s.call.Pick(now)
	if ep == nil {
		step := s.call.NoEndpoint(now)
		if step == call.Refused && s.lastErr != stats.ErrNone {
			s.failCall(s.lastErr) // nobody is left to try: what went wrong says more
			return
		}
		s.step(step)
		return
	}
	s.hedgeAt, s.attemptEnd = 0, 0
	if d := s.call.Route.AttemptTimeout; d > 0 {
		s.attemptEnd = now + int64(d)
	}
	s.armCall()
	s.connect(ep)
}

// connect gets a connection to ep of the protocol that it speaks: by the
// cluster's configuration, or else the client's own.
func (s *stream) connect(ep *endpoint.Endpoint) {
	join := sharedOf(ep).join
	switch s.call.Protocol() {
	case resource.ProtocolHTTP1:
		join = sharedOf(ep).join1
	case resource.ProtocolAuto:
		if s.down.c == nil || sharedOf(ep).translates(s) {
			join = sharedOf(ep).join1
		}
	}
	if !join(s) {
		s.attemptFailed(stats.ErrConnectionLimitReached, stats.RetryConnectFailure, false)
	}
}

// attach sends what there is of the request on a connection.
func (s *stream) attach(c *conn) {
	if s.req.protocol != "" && !c.connect {
		s.noConnect()
		return
	}
	s.give(c, s.up)
	s.said()
}

// give sends what there is of the request on a leg.
func (s *stream) give(c *conn, l *leg) {
	c.lastID += 2
	id := c.lastID - 1
	if id > maxWindow-1000 {
		c.goingAway = true
		c.pool.drop(c)
	}
	*l = leg{s: s, p: c, link: &c.link, c: c, id: id, in: l.in[:0], sendWindow: c.window,
		recvWindow: int64(c.srv.Limits.Window), length: -1}
	c.streams[id] = l
	s.sending(l)
	end := s.down.inEnd && len(s.kept) == 0 && len(s.down.in) == 0 && s.down.trailers == nil && !s.overflow
	at := c.startHead(id, end)
	s.requestFields(s.contextOf(l), c.field)
	c.endHead(at)
	if end {
		c.ended(l)
		s.settle(&s.down)
	} else {
		s.move(l)
	}
}

// sending notes that a leg's request begins to go out.
func (s *stream) sending(l *leg) {
	s.offered = true
	if l != s.beside {
		s.call.Sending(s.srv.now)
	}
}

// noConnect follows an endpoint that takes no extended CONNECT. Where nothing
// says that it speaks HTTP/2 only, it may take an Upgrade.
func (s *stream) noConnect() {
	if s.call.Protocol() == resource.ProtocolAuto && sharedOf(s.call.Endpoint()).join1(s) {
		return
	}
	s.attemptFailed(stats.ErrHTTPUpgradeFailed, stats.RetryReset, false)
}

// requestFields tells the request's fields as the next hop gets them. The value
// of traceparent is valid until tell returns.
func (s *stream) requestFields(context tracing.SpanContext, tell func(hpack.HeaderField)) {
	r := &s.req
	var p tracing.Propagators // none: as the client has it
	if s.call.Told() {
		p = s.srv.Tracer.Propagators()
	}
	traced, b3 := p.TraceContext, p.AnyB3()
	route := s.call.Route
	tells := route.Tells() && !route.Server
	for i := range r.fields {
		switch {
		case route.Forwarded != 0 && forwards(route.Forwarded, r.fields[i].Name):
			continue // told below, with us
		case i == r.traceAt && traced, i == r.timeoutAt && s.rpcEnd != 0:
			continue
		case r.told && tells && retold(r.fields[i].Name):
			continue
		case i == r.stateAt && traced && r.traces != 1:
			continue // it belongs to no trace
		case traced && r.traces > 1 && r.fields[i].Name == "traceparent", b3 && tracing.IsB3(r.fields[i].Name):
			continue
		}
		tell(r.fields[i])
	}
	// Never indexed: they are new with each call and would only push others out
	// of the peer's table.
	if traced {
		b := context.AppendTraceparent(s.srv.traceparent[:0])
		tell(hpack.HeaderField{Name: "traceparent", Value: unsafe.String(unsafe.SliceData(b), len(b)), Sensitive: true})
	}
	if b3 {
		p.B3Fields(context, func(name, value string) { tell(hpack.HeaderField{Name: name, Value: value, Sensitive: true}) })
	}
	if s.rpcEnd != 0 && (tells || r.timeoutAt >= 0) {
		var b [16]byte
		left := grpc.AppendTimeout(b[:0], time.Duration(s.rpcEnd-s.srv.now))
		tell(hpack.HeaderField{Name: "grpc-timeout", Value: string(left), Sensitive: true})
	}
	if tells {
		s.tell(tell)
	}
	if route.Via {
		tell(hpack.HeaderField{Name: "via", Value: "2 meshd"})
	}
	switch route.Forwarded {
	case resource.ForwardedX:
		tell(hpack.HeaderField{Name: "x-forwarded-for", Value: r.with("x-forwarded-for", s.peer)})
		tell(hpack.HeaderField{Name: "x-forwarded-proto", Value: "http"})
	case resource.ForwardedRFC7239:
		tell(hpack.HeaderField{Name: "forwarded", Value: r.with("forwarded", forwarded(s.peer, r.authority))})
	}
}

// dropAttempt gives the attempt's connection up.
func (s *stream) dropAttempt(why code) {
	if s.wait != nil {
		sharedOf(s.call.Endpoint()).leave(s)
	}
	s.unhedge()
	s.dropUp(why)
}

// dropUp gives up the leg of the attempt.
func (s *stream) dropUp(why code) {
	if s.up.s != nil && !s.up.closed {
		s.up.p.reset(s.up, why)
	}
	s.drop(s.up)
}

// attemptFailed ends the attempt without an answer, and tries again or gives up.
func (s *stream) attemptFailed(e stats.ErrorType, reason stats.RetryReason, again bool) {
	now := s.srv.now
	ours := e == stats.ErrConnectionLimitReached || e == stats.ErrHTTPUpgradeFailed || reason == stats.RetryRefused ||
		e == stats.ErrHTTPResponseTimeout && s.starved() || s.spare
	s.spare = false
	hedge := s.beside
	if hedge == nil {
		s.dropAttempt(codeCancel)
	}
	s.seq++
	if ours {
		s.call.Cancel(now) // says nothing about the endpoint
	} else {
		s.call.Done(now, 0, e, now-s.call.Began())
	}
	if hedge != nil {
		s.failover()
		return
	}
	if again {
		s.lastErr = e
		// Of an RPC the policy knows: one that is to be tried again when it is
		// UNAVAILABLE is when its connection is lost, which is what that means.
		asRPC := s.req.grpc && s.call.Route.Retry.On&resource.RetryUnavailable != 0
		may := !s.overflow && !s.committed && (h1.Idempotent(s.req.method) || asRPC || !s.offered || reason == stats.RetryRefused)
		if d, ok := s.call.Retry(now, reason, may); ok {
			s.retryAfter(d)
			return
		}
	}
	s.failCall(e)
}

// starved reports whether the endpoint waits for the client's content, with
// which a client could otherwise open the breakers of others. An RPC may be
// answered before its end.
func (s *stream) starved() bool {
	return !s.req.grpc && s.up.s != nil && !s.up.closed && !s.down.inEnd && len(s.down.in) == 0 && s.up.keptAt == len(s.kept)
}

func (s *stream) retryAfter(d time.Duration) {
	s.seq++
	if d <= 0 {
		s.nextAttempt()
		return
	}
	at := s.srv.now + int64(d)
	if s.callEnd != 0 && s.callEnd < at {
		s.arm(dueCall, s.callEnd)
		return
	}
	s.arm(dueRetry, at)
}

// wasRefused moves a call on that the endpoint has not looked at (RFC 9113
// section 8.7): once without asking the budget, as gRFC A6 has it.
func (s *stream) wasRefused() {
	if s.refused || s.overflow || s.committed || s.beside != nil {
		s.attemptFailed(stats.ErrConnectionTerminated, stats.RetryRefused, true)
		return
	}
	s.refused = true
	s.call.Route.Service.Retry(stats.RetryIdleReset)
	s.drop(s.up)
	s.seq++
	s.connect(s.call.Endpoint())
}
