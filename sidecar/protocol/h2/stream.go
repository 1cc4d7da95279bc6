package h2

import (
	"net/netip"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/stats"
)

// A peer is what a leg's connection does for it, whatever its protocol. All of
// it is called with the server's lock held and never waits.
type peer interface {
	// sendHead sends a head; end says that nothing follows.
	sendHead(l *leg, fields []hpack.HeaderField, end bool)
	// sendData sends some of p and returns how much; end goes with the last
	// byte. What was not taken is asked for again by stream.move.
	sendData(l *leg, p []byte, end bool) int
	// sendTrailers ends the message.
	sendTrailers(l *leg, fields []hpack.HeaderField)
	// gave says that n bytes which came from the peer have gone on.
	gave(l *leg, n int)
	// reset ends the leg before its time.
	reset(l *leg, why code)
	// done says that both sides have said their last.
	done(l *leg)
}

// A leg is one side of a stream: the client's or the endpoint's.
type leg struct {
	s *stream
	p peer

	link *link
	c    *conn // of HTTP/2; nil else

	id         uint32
	gotHead    bool
	closed     bool // the peer knows nothing of us any more
	sendWindow int64
	recvWindow int64
	owed       int // bytes that went on and were not credited
	waits      bool

	in       []byte // came and has not gone on
	inEnd    bool   // the peer has said its last
	trailers []hpack.HeaderField
	outEnd   bool  // we have
	length   int64 // bytes that are to come by Content-Length; -1: as many as do
	got      int64
	keptAt   int // of stream.kept, what it has got: towards an endpoint
}

// credit is gave for bytes that are no content.
func (l *leg) credit(n int) {
	if l.p != nil {
		l.p.gave(l, n)
	}
}

// A stream is one call: a leg from the client, and one to the endpoint of the
// attempt under way.
type stream struct {
	srv *Server // never changes: Resume needs it to get the lock
	use
}

// A use is what one call makes of a stream.
type use struct {
	seq uint64 // counts what asynchronous work was started for; never goes back

	down   leg
	up     *leg   // of the attempt
	beside *leg   // of its hedge; nil: there is none
	ups    [2]leg // both

	peer      string
	original  netip.AddrPort
	elsewhere bool

	req  head
	call call.Call
	in   bool // call began and has not ended
	gone bool // over

	// The request, for another attempt.
	kept     []byte // content that was passed on
	replay   bool   // keep
	overflow bool   // content was passed on that kept does not hold
	offered  bool   // an attempt was given something of the request
	refused  bool   // was moved on once because an endpoint had not looked at it
	whole    bool   // what is to be done with a whole request was done
	spare    bool   // the attempt's loss says nothing about the endpoint
	lastErr  stats.ErrorType
	retryIn  time.Duration // what an answer of ours says of trying again; 0: nothing

	// The answer.
	resp      head
	tail      []hpack.HeaderField // the first trailers of an answer
	committed bool                // its head went to the client
	status    int                 // of HTTP
	outcome   int                 // what counts: a gRPC code, or status
	latency   int64

	wait       *waiter // for a connection
	timer      *time.Timer
	armed      int64
	deadline   int64
	due        due
	hedgeAt    int64 // when a hedge is due; 0: none is
	attemptEnd int64
	callEnd    int64
	rpcEnd     int64 // by grpc-timeout; 0: none
}

// newStream takes a stream, with the lock held.
func (srv *Server) newStream() *stream {
	srv.active.Add(1)
	if n := len(srv.free); n > 0 {
		s := srv.free[n-1]
		srv.free = srv.free[:n-1]
		return s
	}
	s := &stream{srv: srv}
	s.up = &s.ups[0]
	return s
}

// maxFree bounds the streams kept for use again.
const maxFree = 256

// over puts a stream among those to be used again, once nobody has to do with
// it any more. It stays what it is until the event at hand is over.
func (s *stream) over() {
	if s.gone || s.in || !s.down.closed || s.up.s != nil && !s.up.closed || s.wait != nil || s.beside != nil {
		return
	}
	s.gone = true
	s.seq++
	s.forget()
	s.drop(&s.down)
	s.drop(s.up)
	s.srv.retired = append(s.srv.retired, s)
}

// recycle empties the streams that are over.
func (srv *Server) recycle() {
	for _, s := range srv.retired {
		srv.active.Add(-1)
		if len(srv.free) >= maxFree || cap(s.kept)+cap(s.down.in)+cap(s.ups[0].in)+cap(s.ups[1].in) > 8<<10 {
			if s.timer != nil {
				s.timer.Stop()
			}
			continue
		}
		clear(s.req.fields)
		clear(s.resp.fields)
		clear(s.tail)
		s.use = use{
			seq: s.seq, timer: s.timer, armed: s.armed, kept: s.kept[:0],
			req: head{fields: s.req.fields[:0]}, resp: head{fields: s.resp.fields[:0]}, tail: s.tail[:0],
			down: leg{in: s.down.in[:0]}, ups: [2]leg{{in: s.ups[0].in[:0]}, {in: s.ups[1].in[:0]}},
		}
		s.up = &s.ups[0]
		srv.free = append(srv.free, s)
	}
	clear(srv.retired)
	srv.retired = srv.retired[:0]
}

// other is the other side.
func (s *stream) other(l *leg) *leg {
	if l == &s.down {
		return s.up
	}
	return &s.down
}

// received takes content, and the end of it, from a leg.
func (s *stream) received(l *leg, p []byte, end bool) {
	if l.length >= 0 {
		l.got += int64(len(p))
		if l.got > l.length || end && l.got != l.length {
			s.broken(l, problem{l.id, codeProtocol, "content-length and content differ"})
			return
		}
	}
	if end {
		l.inEnd = true
		if l == &s.down {
			s.allSaid()
		}
	}
	if l.trailers == nil && len(l.in) == 0 && s.ready(s.other(l)) {
		n := s.pass(l, p)
		p = p[n:]
	}
	if len(p) > 0 {
		l.in = append(l.in, p...)
		if l.c != nil {
			l.c.held += len(p)
		}
	}
	if end && l == &s.down {
		s.said()
	}
	s.settle(l)
}

// settle closes a leg of which both sides have said their last.
func (s *stream) settle(l *leg) {
	if l.inEnd && l.outEnd && !l.closed {
		l.p.done(l)
	}
	s.progress()
	s.ended()
}

// ready reports whether content can go out on a leg.
func (s *stream) ready(to *leg) bool {
	if to == &s.down {
		return s.committed && !to.closed && !to.outEnd
	}
	return to.p != nil && !to.closed && !to.outEnd && to.keptAt == len(s.kept)
}

// pass sends content of from on, keeps a copy for another attempt while that
// may be needed, and returns how much went.
func (s *stream) pass(from *leg, p []byte) int {
	to := s.other(from)
	n := 0
	if len(p) > 0 || from.inEnd && from.trailers == nil {
		n = to.p.sendData(to, p, from.inEnd && from.trailers == nil)
	}
	if n > 0 {
		if from == &s.down {
			s.keep(p[:n])
		}
		from.credit(n)
	}
	return n
}

// keep remembers content that went on.
func (s *stream) keep(p []byte) {
	of := s.down.link
	if s.replay && !s.overflow && len(s.kept)+len(p) <= s.call.Route.Retry.BufferBytes && of.kept+len(p) <= s.srv.Limits.Held {
		s.kept = append(s.kept, p...)
		s.up.keptAt = len(s.kept)
		of.kept += len(p)
		return
	}
	s.overflow = true
	s.forget()
}

// forget lets go of what was kept for another attempt.
func (s *stream) forget() {
	if s.up.keptAt = 0; len(s.kept) > 0 {
		s.down.link.kept -= len(s.kept)
		s.kept = s.kept[:0]
	}
	if cap(s.kept) > 4<<10 {
		s.kept = nil
	}
}

// move sends on what waits for leg to, as far as it goes.
func (s *stream) move(to *leg) {
	from := s.other(to)
	if to != &s.down && to.keptAt < len(s.kept) && to.p != nil && !to.closed {
		last := len(from.in) == 0 && from.inEnd && from.trailers == nil
		to.keptAt += to.p.sendData(to, s.kept[to.keptAt:], last)
		if to.keptAt < len(s.kept) || to.outEnd {
			s.settle(to)
			return
		}
	}
	if from.s == nil || !s.ready(to) {
		return
	}
	if len(from.in) > 0 {
		n := s.pass(from, from.in)
		if from.c != nil {
			from.c.held -= n
			from.c.credit()
		}
		switch {
		case n < len(from.in):
			from.in = from.in[n:]
		case cap(from.in) > 4<<10:
			from.in = nil
		default:
			from.in = from.in[:0] // for the next call
		}
		if len(from.in) > 0 || to.outEnd {
			s.settle(to)
			return
		}
	} else if from.inEnd && from.trailers == nil {
		s.pass(from, nil)
	}
	if from.inEnd && from.trailers != nil && !to.outEnd {
		to.p.sendTrailers(to, from.trailers)
	}
	s.settle(to)
}

// drop forgets what a leg has brought and nobody wants.
func (s *stream) drop(l *leg) {
	if l.c != nil {
		l.c.held -= len(l.in)
		l.c.credit()
	}
	l.in, l.trailers = l.in[:0], nil
}

// progress pushes the idle limit of a call that has no other.
func (s *stream) progress() {
	if s.callEnd == 0 && s.due == dueCall && s.in {
		s.deadline = s.srv.now + int64(s.srv.Limits.StreamIdle)
	}
}
