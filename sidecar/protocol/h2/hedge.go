package h2

import (
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/protocol/grpc"
	"github.com/meshd/meshd/sidecar/protocol/h1"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
	"github.com/meshd/meshd/xds/resource"
)

// A hedge (call/hedge.go) is a second leg to an endpoint beside the attempt's.
// It has got the whole request, and until its head comes nothing else: then it
// is the attempt's, or is gone. It takes a connection that is there, and dials
// none.

// hedgeLater asks, once the request was sent as a whole for the first time,
// whether and when it is to be sent to another endpoint too. What methods of
// gRPC do twice nobody knows: they are hedged where the policy names a delay.
func (s *stream) hedgeLater() {
	if s.req.grpc && s.call.Route.Hedge.Delay <= 0 || !s.req.grpc && !h1.Idempotent(s.req.method) {
		return
	}
	if after, late := s.call.HedgeAfter(s.srv.now); after > 0 {
		s.hedgeAt = s.srv.now + int64(after)
		s.srv.hedgeSoon(s, late)
	}
}

// A hedgeDue is a stream whose hedge is due at a time, unless it has got
// another or none meanwhile.
type hedgeDue struct {
	s  *stream
	at int64
	by int64 // when the timer is to look for it
}

const maxHedges = 8192 // streams that are looked after; others are not hedged

// hedgeSoon has a stream looked after. All are in one list, in the order in which
// they came, which mostly is that in which they are due: each event looks at the
// first ones, and a timer at all where there are none. A timer for each would
// be reset with every call, and wake a thread for it.
func (srv *Server) hedgeSoon(s *stream, late time.Duration) {
	if len(srv.hedges)-srv.hedgeFirst >= maxHedges {
		return
	}
	if n := len(srv.hedges); n == cap(srv.hedges) && srv.hedgeFirst > n/2 {
		n = copy(srv.hedges, srv.hedges[srv.hedgeFirst:])
		clear(srv.hedges[n:])
		srv.hedges, srv.hedgeFirst = srv.hedges[:n], 0
	}
	by := max(s.hedgeAt, srv.now+int64(srv.hedgePace.Came(srv.now, late)))
	srv.hedges = append(srv.hedges, hedgeDue{s, s.hedgeAt, by})
	if srv.hedgeArmed == 0 || srv.hedgeArmed > by+int64(call.HedgeTick) {
		srv.armHedges(by)
	}
}

func (srv *Server) armHedges(at int64) {
	srv.hedgeArmed = at
	d := max(time.Duration(at-srv.now), call.HedgeTick)
	if srv.hedgeTimer == nil {
		srv.hedgeTimer = time.AfterFunc(d, func() { srv.event(nil, srv.hedgesDue) })
	} else {
		srv.hedgeTimer.Reset(d)
	}
}

// firstHedges forgets the first streams that have their answer, and makes the
// hedges of those for which it is due. It looks once in a millisecond.
func (srv *Server) firstHedges() {
	srv.hedgeLook = srv.now + int64(time.Millisecond)
	for srv.hedgeFirst < len(srv.hedges) {
		d := srv.hedges[srv.hedgeFirst]
		if d.s.hedgeAt == d.at && d.at > srv.now {
			return
		}
		srv.hedges[srv.hedgeFirst] = hedgeDue{}
		srv.hedgeFirst++
		if d.s.hedgeAt == d.at {
			d.s.hedge()
		}
	}
	srv.hedges, srv.hedgeFirst = srv.hedges[:0], 0
}

// hedgesDue does the same for all.
func (srv *Server) hedgesDue() {
	srv.hedgeArmed = 0
	all := srv.hedges[srv.hedgeFirst:]
	srv.hedges, srv.hedgeFirst = nil, 0
	keep, next := all[:0], int64(0)
	for _, d := range all {
		switch {
		case d.s.hedgeAt != d.at:
		case d.at <= srv.now:
			d.s.hedge()
		default:
			keep = append(keep, d)
			if next == 0 || d.by < next {
				next = d.by
			}
		}
	}
	clear(all[len(keep):])
	srv.hedges = keep
	if next != 0 && !srv.closed {
		srv.armHedges(next)
	}
}

// hedge makes the hedge, now that it is due.
func (s *stream) hedge() {
	s.hedgeAt = 0
	if !s.in || s.gone || s.committed || s.overflow || s.wait != nil || s.up.s == nil || s.up.closed || s.up.keptAt < len(s.kept) || len(s.down.in) > 0 {
		return
	}
	ep := s.call.Hedge(s.srv.now)
	if ep == nil {
		return
	}
	p := sharedOf(ep)
	l := &s.ups[0]
	if l == s.up {
		l = &s.ups[1]
	}
	one := s.call.Protocol() == resource.ProtocolHTTP1 ||
		s.call.Protocol() == resource.ProtocolAuto && (s.down.c == nil || p.translates(s))
	if one {
		for len(p.one.idle) > 0 {
			c := p.one.idle[len(p.one.idle)-1]
			p.one.idle = p.one.idle[:len(p.one.idle)-1]
			if !c.Quiet() {
				c.bury(stats.ErrNone)
				continue
			}
			s.beside = l
			s.give1(c, l)
			return
		}
	} else if c := p.live(); c != nil && !c.congested() {
		s.beside = l
		s.give(c, l)
		return
	}
	s.call.Unhedge(s.srv.now)
}

// contextOf is what a leg's request says in traceparent.
func (s *stream) contextOf(l *leg) tracing.SpanContext {
	if l == s.beside {
		return s.call.HedgeContext()
	}
	return s.call.Context
}

// interim reports whether a head is one before the answer's: of a hedge, they
// go to nobody.
func interim(b *block) bool {
	return !b.end && len(b.fields) > 0 && b.fields[0].Name == ":status" && len(b.fields[0].Value) == 3 && b.fields[0].Value[0] == '1'
}

// chosen decides between the attempt and its hedge when one has a head, and
// reports whether that is the answer. One that failed is not, while the other
// may do better.
func (s *stream) chosen(l *leg, end bool) bool {
	now := s.srv.now
	if s.failed(end) {
		if l == s.beside {
			s.call.HedgeAnswered(now, s.outcome, func() { s.hear(&s.resp) })
			s.dropBeside()
		} else {
			s.hear(&s.resp)
			s.call.Done(now, s.outcome, stats.ErrNone, now-s.call.Began())
			s.failover()
		}
		s.status, s.outcome = 0, 0 // there is no answer yet
		return false
	}
	if l == s.beside {
		s.call.HedgeWon(now)
		s.up, s.beside = s.beside, s.up
	} else {
		s.call.Unhedge(now)
	}
	s.dropBeside()
	return true
}

// failed reports whether the head in resp is one for which a call is tried again.
func (s *stream) failed(end bool) bool {
	if code, rpc := stats.GRPCCode(s.outcome); rpc {
		_, ok := grpc.RetryReason(code)
		return ok && end
	}
	_, ok := stats.RetryStatus(s.status)
	return ok
}

// failover puts the hedge in the place of the attempt, which is over.
func (s *stream) failover() {
	s.call.Failover(s.srv.now, stats.ErrNone)
	s.up, s.beside = s.beside, s.up
	s.dropBeside()
	if d := s.call.Route.AttemptTimeout; d > 0 {
		s.attemptEnd = s.call.Began() + int64(d)
	}
	s.armCall()
}

// hedgeLost follows the end of the hedge without an answer. spare: it says
// nothing about the endpoint.
func (s *stream) hedgeLost(e stats.ErrorType, spare bool) {
	if spare {
		s.call.Unhedge(s.srv.now)
	} else {
		s.call.HedgeFailed(s.srv.now, e)
	}
	s.dropBeside()
}

// unhedge gives the hedge up.
func (s *stream) unhedge() {
	s.hedgeAt = 0
	if s.beside != nil {
		s.call.Unhedge(s.srv.now)
		s.dropBeside()
	}
}

// dropBeside ends the leg beside the attempt's.
func (s *stream) dropBeside() {
	l := s.beside
	s.beside = nil
	switch {
	case l.s == nil || l.closed:
	case l.inEnd && l.outEnd:
		l.p.done(l)
	default:
		l.p.reset(l, codeCancel)
	}
	s.drop(l)
}
