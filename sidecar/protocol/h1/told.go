package h1

import (
	"bytes"
	"strconv"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/protocol/grpc"
	"github.com/meshd/meshd/sidecar/stats"
)

// What sidecars tell each other in a call's heads (docs/reference/wire.md). The
// parser marks a head that has any of it; others cost nothing.

// What is said in numbers is believed up to here.
const (
	maxSaidAttempts = 1000
	maxSaidTimeout  = 30 * 24 * time.Hour
)

// SaidAttempts is the value of call.AttemptHeader; 0: it is no number that counts.
func SaidAttempts(v []byte) int {
	n, ok := parseLength(v)
	if !ok {
		return 0
	}
	return int(min(n, maxSaidAttempts))
}

// SaidTimeout is the value of call.TimeoutHeader; 0: it says nothing.
func SaidTimeout(v []byte) time.Duration {
	n, ok := parseLength(v)
	if !ok {
		return 0
	}
	return time.Duration(min(n, maxSaidTimeout.Milliseconds())) * time.Millisecond
}

// SaysShed reports whether the Proxy-Status of an answer is that of a sidecar
// which has shed the call.
func SaysShed(proxyStatus []byte) bool {
	return bytes.HasPrefix(proxyStatus, []byte("meshd;")) && bytes.Contains(proxyStatus, []byte(`details="shed: `))
}

// says puts what the request's head has of all that into said.
func (r *request) says(b []byte, said *call.Said) {
	if !r.told {
		return
	}
	for i := range r.fields {
		switch f := &r.fields[i]; f.known {
		case hPriority:
			said.Priority = f.value(b)
		case hAttempt:
			said.Attempt = SaidAttempts(f.value(b))
		case hTimeout:
			said.Timeout = SaidTimeout(f.value(b))
		}
	}
}

// A span is a part of a head.
type span struct{ from, to int }

// appendTell appends the fields that say t.
func appendTell(dst []byte, t *call.Tell) []byte {
	if t.Priority != "" {
		dst = append(append(append(dst, breaker.PriorityHeader+": "...), t.Priority...), "\r\n"...)
	}
	if t.Attempt > 0 {
		dst = append(strconv.AppendInt(append(dst, call.AttemptHeader+": "...), int64(t.Attempt), 10), "\r\n"...)
	}
	if t.Timeout > 0 {
		dst = append(strconv.AppendInt(append(dst, call.TimeoutHeader+": "...), t.Timeout, 10), "\r\n"...)
	}
	return dst
}

// retell makes the request at hand say what the newest attempt has to tell. Where that
// does not fit, the old values stay.
func (s *session) retell(now int64) {
	if !s.call.Route.Tells() || s.call.Attempts() == 1 && now-s.toldNs < int64(time.Millisecond) {
		return
	}
	var b [192]byte
	t := s.call.Tell(now)
	p := appendTell(b[:0], &t)
	at, grows := s.toldAt, len(p)-(s.toldAt.to-s.toldAt.from)
	if len(s.sent)+grows > cap(s.sent) {
		return
	}
	if grows != 0 {
		old := len(s.sent)
		s.sent = s.sent[:max(old, old+grows)]
		copy(s.sent[at.to+grows:], s.sent[at.to:old])
		s.sent = s.sent[:old+grows]
		s.toldAt.to += grows
	}
	copy(s.sent[at.from:], p)
	s.toldNs = now
}

// hear takes in what an answer of an attempt's endpoint says beside what the
// caller gets. It comes before Retry and Done. turned: the answer is that of a
// sidecar which has shed the call; final: what failed was tried again below.
func (s *session) hear(r *response, in []byte, now int64) (turned, final bool) {
	for i := range r.fields {
		switch f := &r.fields[i]; f.known {
		case hLoad, hLoadBin:
			r.load = true
			if !s.call.Route.Server && s.call.TakeLoad(f.value(in), f.known == hLoadBin, now) {
				r.ownLoad = true
			}
		case hAttempt:
			final = final || r.status >= 500 && SaidAttempts(f.value(in)) >= 2
		case hRetryAfter:
			if n, ok := parseLength(f.value(in)); ok && (r.status == 429 || r.status == 503) {
				s.call.Shed(call.RetryAfter(n))
			}
		case hTraceResponse:
			s.call.Responded(f.value(in))
		case hProxyStatus:
			turned = turned || r.status == 503 && SaysShed(f.value(in))
		}
	}
	if s.call.Route.Server {
		return false, false // the application's words are for the caller
	}
	if turned {
		s.call.Turned()
	}
	return turned, final
}

// appendSaid appends what the call has to say in the head of its answer.
func (r *response) appendSaid(dst []byte, c *call.Call) []byte {
	if v := c.SetCookie(); v != "" {
		dst = append(append(append(dst, "Set-Cookie: "...), v...), "\r\n"...)
	}
	if !c.Route.Server {
		return dst
	}
	if !r.load {
		at := len(dst)
		var ok bool
		if dst, ok = c.AppendLoad(append(dst, grpc.LoadField+": "...)); ok {
			dst = append(dst, "\r\n"...)
		} else {
			dst = dst[:at]
		}
	}
	if n := c.TriedBelow(r.status); n > 0 {
		dst = append(strconv.AppendInt(append(dst, call.AttemptHeader+": "...), int64(n), 10), "\r\n"...)
	}
	return dst
}

// plainStatus is a Refusal's status in HTTP: a fault may be one of gRPC.
func plainStatus(status int) int {
	code, ok := stats.GRPCCode(status)
	if !ok {
		return status
	}
	// google.rpc.Code, for those that have a status of their own.
	switch code {
	case grpc.InvalidArgument, grpc.FailedPrecondition, grpc.OutOfRange:
		return 400
	case grpc.Unauthenticated:
		return 401
	case grpc.PermissionDenied:
		return 403
	case grpc.NotFound:
		return 404
	case grpc.AlreadyExists, grpc.Aborted:
		return 409
	case grpc.ResourceExhausted:
		return 429
	case grpc.Unknown, grpc.Internal, grpc.DataLoss:
		return 500
	case grpc.Unimplemented:
		return 501
	case grpc.DeadlineExceeded:
		return 504
	}
	return 503
}
