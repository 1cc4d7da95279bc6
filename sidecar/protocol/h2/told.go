package h2

import (
	"strconv"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/protocol/grpc"
	"github.com/meshd/meshd/sidecar/protocol/h1"
	"github.com/meshd/meshd/sidecar/stats"
)

// What sidecars tell each other in a call's heads (docs/reference/wire.md), and
// what gRPC's clients and servers say of retries (gRFC A6). A head that has any
// of it is marked as it is checked; others cost nothing.

// The fields of gRFC A6.
const (
	previousField = "grpc-previous-rpc-attempts"
	pushbackField = "grpc-retry-pushback-ms"
)

// says puts what the request's head has of all that into said. A gRPC call's
// deadline is grpc-timeout, and nothing else.
func (s *stream) says(said *call.Said) {
	h := &s.req
	if h.grpc && h.timeoutAt >= 0 {
		if d, ok := grpc.ParseTimeout(h.fields[h.timeoutAt].Value); ok {
			// A deadline that has passed is one; the clock is not to run over.
			said.Timeout = min(max(d, 1), maxTimeout)
		}
	}
	if !h.told {
		return
	}
	for i := h.pseudo; i < len(h.fields); i++ {
		v := bytesOf(h.fields[i].Value)
		switch h.fields[i].Name {
		case breaker.PriorityHeader:
			said.Priority = v
			if v == nil {
				said.Priority = []byte{}
			}
		case call.AttemptHeader:
			said.Attempt = max(said.Attempt, h1.SaidAttempts(v))
		case previousField:
			if n := h1.SaidAttempts(v); n > 0 {
				said.Attempt = max(said.Attempt, n+1)
			}
		case call.TimeoutHeader:
			if !h.grpc {
				said.Timeout = h1.SaidTimeout(v)
			}
		}
	}
}

// maxTimeout is how long a deadline counts at most: ten years.
const maxTimeout = 10 * 365 * 24 * time.Hour

// retold reports whether a field of the request is told anew to each attempt.
func retold(name string) bool { return name == call.AttemptHeader || name == call.TimeoutHeader }

// tell tells the next hop what the attempt has to tell. A gRPC call's deadline
// is in grpc-timeout already: there a route's timeout bounds the wait for the
// answer's head only, and is no deadline.
func (s *stream) tell(tell func(hpack.HeaderField)) {
	t := s.call.Tell(s.srv.now)
	if t.Priority != "" {
		tell(hpack.HeaderField{Name: breaker.PriorityHeader, Value: t.Priority})
	}
	if t.Attempt > 0 {
		tell(hpack.HeaderField{Name: call.AttemptHeader, Value: strconv.Itoa(t.Attempt)})
	}
	if t.Timeout > 0 && !s.req.grpc {
		// What is new with each call would push others out of the peer's table.
		v, usual := s.call.Route.UsualTimeout(t.Timeout)
		if !usual {
			v = strconv.FormatInt(t.Timeout, 10)
		}
		tell(hpack.HeaderField{Name: call.TimeoutHeader, Value: v, Sensitive: !usual})
	}
}

// hear takes in what an endpoint says, in a head or in trailers, beside what
// the caller gets. It comes before Retry and Done. turned: a sidecar has shed the call.
func (s *stream) hear(h *head) (turned, never bool) {
	if h.loadAt >= 0 {
		f := &h.fields[h.loadAt]
		if s.call.TakeLoad(bytesOf(f.Value), f.Name == grpc.LoadBinField, s.srv.now) {
			h.remove(h.loadAt)
			h.loadAt = -1
		}
	}
	if !h.told || s.call.Route.Server {
		return false, false // the application's words are for the caller
	}
	rpc := s.outcome != s.status
	refused := s.status == 503 || rpc && s.outcome == unavailable
	for i := h.pseudo; i < len(h.fields); i++ {
		v := bytesOf(h.fields[i].Value)
		switch h.fields[i].Name {
		case "retry-after":
			if n, err := strconv.ParseInt(h.fields[i].Value, 10, 64); err == nil && n >= 0 && (s.status == 429 || s.status == 503) {
				s.call.Shed(call.RetryAfter(n))
			}
		case pushbackField:
			if ms, err := strconv.ParseInt(h.fields[i].Value, 10, 32); err != nil || ms < 0 {
				never = rpc // unparseable is negative, says gRFC A6
			} else if rpc {
				s.call.Shed(min(time.Duration(ms)*time.Millisecond, call.RetryAfter(1<<30)))
			}
		case call.AttemptHeader:
			if h1.SaidAttempts(v) >= 2 && (rpc && s.outcome != rpcOK || s.status >= 500) {
				s.call.Final()
			}
		case call.TraceResponse:
			s.call.Responded(v)
		case "proxy-status":
			turned = turned || refused && h1.SaysShed(v)
		}
	}
	if turned {
		s.call.Turned()
	}
	return turned, never
}

// addSaid adds what the call has to say in the head of its answer.
func (s *stream) addSaid(h *head, end bool) {
	if v := s.call.SetCookie(); v != "" {
		h.fields = append(h.fields, hpack.HeaderField{Name: "set-cookie", Value: v, Sensitive: true})
	}
	if !s.call.Route.Server {
		s.call.Head(s.srv.now, s.outcome)
		return
	}
	if h.loadAt < 0 {
		var b [96]byte
		if v, ok := s.call.AppendLoad(b[:0]); ok {
			if string(v) != s.srv.lastLoad { // it mostly says what the last one said
				s.srv.lastLoad = string(v)
			}
			h.fields = append(h.fields, hpack.HeaderField{Name: grpc.LoadField, Value: s.srv.lastLoad, Sensitive: true})
		}
	}
	if end || !s.req.grpc {
		s.addTried(h)
	} else {
		s.call.Head(s.srv.now, s.status)
	}
}

// addTried says, where the outcome is known, whether the call is kept, and on a
// failed answer of the application how often it was tried below.
func (s *stream) addTried(h *head) {
	if sc, ok := s.call.Head(s.srv.now, s.outcome); ok {
		h.fields = append(h.fields, hpack.HeaderField{Name: call.TraceResponse, Value: sc.String(), Sensitive: true})
	}
	if n := s.call.TriedBelow(s.outcome); n > 0 {
		h.fields = append(h.fields, hpack.HeaderField{Name: call.AttemptHeader, Value: strconv.Itoa(n)})
	}
}

// streams looks at the answers that have begun in the event at hand: those that
// have not ended with it are streams, or more than the client takes at once.
func (srv *Server) streams() {
	for _, a := range srv.begun {
		if s := a.s; s.seq == a.seq && s.in && !s.gone && !s.up.inEnd {
			s.call.Streaming(srv.now)
		}
	}
	clear(srv.begun)
	srv.begun = srv.begun[:0]
}

// What an RPC's outcome is compared with.
var (
	unavailable = stats.GRPC(grpc.Unavailable)
	rpcOK       = stats.GRPC(grpc.OK)
)
