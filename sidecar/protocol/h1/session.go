package h1

import (
	"net/netip"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/protocol/detect"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
)

// state is where a session's client side stands. docs/design/001-relay.md has
// the diagram.
type state uint8

const (
	stSniff  state = iota // redirected, nothing read: the protocol is not known
	stHead                // between requests, or within a head
	stRoute               // head parsed, waiting for what its authority stands for
	stCall                // a call is under way
	stFlush               // the last answer is on its way out; then close
	stLinger              // the last answer is out; the rest of a request is thrown away
	stTunnel              // the bytes belong to another protocol; see tunnel.go
	stClosed
)

// lingerBytes and lingerTime bound what is read and thrown away after a last
// answer, so that closing does not destroy it (RFC 9112 section 9.6).
const (
	lingerBytes = 256 << 10
	lingerTime  = 2 * time.Second
	// peekAfter is when an idle client connection is read once more: a FIN
	// that came along with the last request has had no edge of its own.
	peekAfter = 2 * time.Second
)

// A session is one client connection and the call on it. Every event (client
// readable or writable, upstream readable or writable, dialled, resolved,
// timer) takes mu and calls advance, which goes as far as it can without
// waiting. No event needs a goroutine of its own while nothing is slow.
type session struct {
	srv  *Server
	mu   sync.Mutex
	down socket

	state     state
	original  netip.AddrPort // where a redirected connection was going
	elsewhere bool           // Config.Elsewhere
	seq       uint32         // counts what asynchronous work was started for; a late answer is recognised by it

	// The request.
	req     request
	headLen int  // bytes of in that the head takes, until it is rewritten
	reqBody body // what is still to be read
	reqDone bool // read and passed on completely
	method  method
	keep    bool // the client wants the connection to stay
	http10  bool
	upgrade bool
	peer    string
	subject subject

	// What was sent upstream, for another attempt: head, and body while it fits.
	sentBuf  *buffer
	sent     []byte
	traceAt  int
	toldAt   span            // what retell replaces
	toldNs   int64           // when that was written
	overflow bool            // body bytes were passed on that sent does not hold
	replay   bool            // keep body bytes in sent
	offered  bool            // something of the request was given to an attempt's connection
	retryIn  time.Duration   // what an answer of ours says in Retry-After; 0: nothing
	lastErr  stats.ErrorType // of the attempt before, if it had one

	res     response // the head at hand; its fields' storage is used again
	call    call.Call
	inCall  bool // call began and has not ended
	up      *upstream
	resp    respState
	cancelW func() bool // takes us out of a pool's queue
	hedge   hedge
	copied  bool // the call's mirrors have had their chance

	timer    *time.Timer
	armed    int64 // when timer fires; 0: it does not
	deadline int64 // what is due, in ns of the engine's clock; 0: nothing
	due      due
	callEnd  int64 // deadline of the call; 0: none
	peeked   bool
	thrown   int // bytes thrown away while lingering
	tunnel   tunnel
}

// due says what the deadline is for.
type due uint8

const (
	dueIdle due = iota
	dueHead
	dueCall
	dueAttempt
	dueRetry
	dueLinger
	dueSniff
)

// run is the goroutine of the client connection.
func (s *session) run() {
	s.mu.Lock()
	s.state = stHead
	if s.srv.Original != nil {
		if to, ok := s.srv.Original(s.down.Conn); ok {
			s.original = to
			s.elsewhere = s.srv.Elsewhere != nil && s.srv.Elsewhere(to)
		}
	}
	if s.srv.HTTP2 != nil || s.mayBeOpaque() {
		s.state = stSniff
	}
	now := s.srv.now()
	if s.state == stSniff && s.peek(false) {
		s.opaque()
	} else if s.state == stSniff {
		s.arm(dueSniff, now+int64(s.srv.SniffTimeout), now)
	} else {
		s.arm(dueIdle, now+int64(s.srv.IdleTimeout), now)
	}
	s.mu.Unlock()
	_ = s.down.Raw.Read(s.onReadable)
	s.leave()
}

// onReadable is called when the client's socket may have something to read,
// and returns true when the goroutine shall leave the poller.
func (s *session) onReadable(uintptr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down.Readable = true
	s.advance()
	return s.state == stClosed || s.state == stTunnel
}

// leave follows the client goroutine's return from the poller: the connection
// was closed, or has become a tunnel.
func (s *session) leave() {
	s.mu.Lock()
	tun := s.state == stTunnel
	if !tun {
		s.abort()
	}
	if s.timer != nil {
		s.timer.Stop()
	}
	s.mu.Unlock()
	if tun {
		s.runTunnel()
		return
	}
	_ = s.down.Conn.Close()
}

// recover keeps a panic inside its connection.
func (s *session) recover() {
	if p := recover(); p != nil {
		s.srv.panicked(p)
		s.wreck()
	}
}

// wreck ends a session that a panic left in an unknown state.
func (s *session) wreck() {
	defer func() { _ = recover() }()
	defer func() { _ = s.down.Conn.Close() }()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.abort()
}

func (srv *Server) panicked(p any) {
	srv.Stats.Panics.Add(1)
	srv.Logger.Error("panic in a connection, which is closed", "panic", p, "stack", string(debug.Stack()),
		"next", "report it with the stack; other connections go on")
}

// advance does everything that can be done now, with mu held.
func (s *session) advance() {
	for {
		switch s.state {
		case stSniff:
			if !s.sniff() {
				return
			}
		case stHead:
			if !s.readHead() {
				return
			}
		case stCall:
			s.pumpRequest()
			s.pumpResponse()
			if s.state == stCall {
				return
			}
		case stFlush:
			if len(s.down.out) > 0 {
				if s.due != dueLinger { // a client that never takes its answer is not kept for ever
					now := s.srv.now()
					s.arm(dueLinger, now+int64(s.srv.StreamIdle), now)
				}
				return
			}
			s.linger()
		case stLinger:
			s.throwAway()
			return
		default:
			return
		}
	}
}

// mayBeOpaque reports whether what is not HTTP is somebody's all the same.
func (s *session) mayBeOpaque() bool {
	return s.srv.Opaque != nil && (s.original.IsValid() || s.srv.Server)
}

// peek asks whether the connection is one that nobody looks into.
func (s *session) peek(silent bool) bool {
	return s.srv.Peek != nil && s.mayBeOpaque() && s.srv.Peek(s.original, silent, s.toldOpaque)
}

// toldOpaque is the answer that came later.
func (s *session) toldOpaque() {
	defer s.recover()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == stSniff {
		s.opaque()
	}
}

// sniff looks at the first bytes of a connection.
func (s *session) sniff() bool {
	for {
		more, err := s.down.fill()
		if err != nil || !more && s.down.EOF && len(s.down.in) == 0 {
			s.closeDown()
			return false
		}
		switch detect.Detect(s.down.in) {
		case detect.HTTP1:
			s.state = stHead
			return true
		case detect.NeedMore:
			if s.down.EOF {
				return s.notHTTP()
			}
			if !more {
				if len(s.down.in) > 0 && s.due == dueIdle {
					now := s.srv.now()
					s.arm(dueHead, now+int64(s.srv.HeadTimeout), now)
				}
				return false
			}
		case detect.HTTP2Preface:
			if s.srv.HTTP2 == nil {
				return s.notHTTP()
			}
			s.give(s.srv.HTTP2)
			return false
		default:
			return s.notHTTP()
		}
	}
}

// notHTTP gives a connection away on which neither kind of HTTP is spoken, or
// closes it: an answer in HTTP would not be understood.
func (s *session) notHTTP() bool {
	if s.mayBeOpaque() {
		s.opaque()
		return false
	}
	s.srv.Stats.Malformed.Inc()
	s.closeDown()
	return false
}

// readHead reads until a request head is there, and starts on it. It reports
// whether there is more to do now.
func (s *session) readHead() bool {
	if len(s.down.out) > 0 {
		return false // the last answer first: that is the client's back-pressure
	}
	for {
		if len(s.down.in) > 0 {
			n, err := s.req.parse(s.down.in, s.srv.Limits)
			if err != nil {
				s.refuse(err.(Problem))
				return true
			}
			if n > 0 {
				s.headLen = n
				s.startCall()
				return true
			}
		}
		more, err := s.down.fill()
		if more {
			continue
		}
		if err != nil || s.down.EOF {
			s.closeDown()
			return false
		}
		if s.down.full() {
			s.refuse(errHeadTooLarge)
			return true
		}
		if len(s.down.in) > 0 && s.due != dueHead {
			now := s.srv.now()
			s.arm(dueHead, now+int64(s.srv.HeadTimeout), now)
		}
		return false
	}
}

// idle makes the session ready for the next request.
func (s *session) idle(now int64) {
	s.state = stHead
	s.peeked = false
	s.arm(dueIdle, now+int64(peekAfter), now)
}

// linger ends the connection after the last answer is out: at once when the
// client has nothing more to say, else after what it still sends was read
// (closing on unread bytes is a reset, which may overtake the answer).
func (s *session) linger() {
	if s.reqDone && len(s.down.in) == 0 && !s.down.Pending() || s.down.EOF {
		s.closeDown()
		return
	}
	s.state = stLinger
	s.thrown = 0
	_ = s.down.Conn.CloseWrite()
	now := s.srv.now()
	s.arm(dueLinger, now+int64(lingerTime), now)
}

func (s *session) throwAway() {
	for {
		s.thrown += len(s.down.in)
		s.down.used(len(s.down.in))
		if s.thrown > lingerBytes {
			s.closeDown()
			return
		}
		more, err := s.down.fill()
		if err != nil || s.down.EOF {
			s.closeDown()
			return
		}
		if !more {
			return
		}
	}
}

// closeDown closes the client connection in an orderly state: no call is under way.
func (s *session) closeDown() {
	s.state = stClosed
	s.dropSent()
	s.down.close()
}

// abort ends the session whatever it does: the client has gone, or the server stops.
func (s *session) abort() {
	if s.state == stClosed || s.state == stTunnel {
		s.tunnel.cut()
		return
	}
	status := s.resp.status
	if status == 0 {
		status = statusClientClosed
	}
	s.endCall(status, stats.ErrClientClosed)
	s.closeDown()
}

// statusClientClosed is what a call counts as whose client went away before an
// answer: nginx's 499, which the field knows.
const statusClientClosed = 499

// send writes to the client. False: the client is gone and the session over.
func (s *session) send(p []byte) bool {
	if err := s.down.send(p); err != nil {
		s.abort()
		return false
	}
	s.watchDown()
	return true
}

// watchDown waits for the client's socket to take more, when something is kept.
func (s *session) watchDown() {
	if len(s.down.out) == 0 || s.down.flushing {
		return
	}
	s.down.flushing = true
	s.srv.work.Go(func() {
		defer s.recover()
		_ = s.down.Raw.Write(func(uintptr) bool {
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.down.Dead() {
				return true
			}
			if s.down.flush() != nil {
				s.down.flushing = false
				s.abort()
				return true
			}
			if len(s.down.out) > 0 {
				return false
			}
			s.down.flushing = false
			if s.state == stTunnel {
				return true
			}
			s.advance()
			// advance may have filled out again: then another goroutine waits.
			return true
		})
	})
}

// parent is the trace context of the request in in.
func (s *session) parent() (sc tracing.SpanContext, ok bool) {
	p := s.propagate()
	if p.TraceContext && s.req.traceparents == 1 {
		sc, ok = tracing.ParseTraceparent(s.req.fields[s.req.traceAt].value(s.down.in))
	}
	if ok || !p.AnyB3() {
		return sc, ok
	}
	var c tracing.Carried
	for i := range s.req.fields {
		if f := &s.req.fields[i]; f.known == hB3 {
			c.Take(strings.ToLower(string(f.name(s.down.in))), f.value(s.down.in))
		}
	}
	return p.ParseB3(&c)
}

// propagate are the fields that say a trace.
func (s *session) propagate() tracing.Propagators { return s.srv.Tracer.Propagators() }
