package h2

import (
	"net/http"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/protocol/grpc"
	"github.com/meshd/meshd/sidecar/protocol/h1"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/xds/resource"
)

// malformed resets a stream whose request is not HTTP/2 as it is taken.
func (s *stream) malformed() {
	s.srv.Stats.Malformed.Inc()
	s.down.p.reset(&s.down, codeProtocol)
	s.over()
}

// malformedBody ends a call whose content turned out to be malformed.
func (s *stream) malformedBody() {
	if s.committed {
		s.cut(stats.ErrHTTPRequestError, codeProtocol)
		return
	}
	s.reply(400, stats.ErrHTTPRequestError, "the request's content is malformed")
}

// refuse answers a request that does not become a call.
func (s *stream) refuse(status int, detail string) {
	s.srv.Stats.Malformed.Inc()
	s.reply(status, stats.ErrHTTPRequestError, detail)
}

// noRoute answers a call to what is not known and may not pass.
func (s *stream) noRoute(e stats.ErrorType) {
	status, detail := h1.NoRoute(s.req.authority, e)
	s.reply(status, e, detail)
}

// failCall answers the call by ourselves; no attempt is under way.
func (s *stream) failCall(e stats.ErrorType) {
	s.reply(h1.FailStatus(e), e, s.detail(e))
}

func (s *stream) detail(e stats.ErrorType) string { return h1.Detail(&s.call, e, "HTTP/2") }

// reply answers by ourselves, and says why in Proxy-Status (RFC 9209) and in
// one line of text; to a gRPC client, in grpc-status and grpc-message.
func (s *stream) reply(status int, e stats.ErrorType, detail string) {
	s.replyAs(status, grpc.FromProxyError(e, status), e, detail)
}

// replyAs is reply with another grpc-status than what the error stands for.
func (s *stream) replyAs(status int, rpc uint32, e stats.ErrorType, detail string) {
	detail = h1.Sanitize(detail)
	outcome := status
	if s.req.grpc {
		outcome = stats.GRPC(rpc)
	}
	s.dropAttempt(codeCancel)
	s.endCall(outcome, e)
	if s.down.closed {
		s.over()
		return
	}
	s.committed = true
	s.status = status
	why := hpack.HeaderField{Name: "proxy-status", Value: h1.ProxyStatus(e, detail)}
	if s.req.grpc {
		fields := append([]hpack.HeaderField{{Name: ":status", Value: "200"}, {Name: "content-type", Value: "application/grpc"}, why},
			rpcTrailers(rpc, detail)...)
		if s.retryIn > 0 {
			fields = append(fields, s.retryAfterField(),
				hpack.HeaderField{Name: pushbackField, Value: strconv.FormatInt(s.retryIn.Milliseconds(), 10)})
		}
		s.down.p.sendHead(&s.down, fields, true)
		s.letGo()
		return
	}
	head := []hpack.HeaderField{
		{Name: ":status", Value: strconv.Itoa(status)},
		{Name: "content-type", Value: "text/plain; charset=utf-8"},
		why,
	}
	if s.retryIn > 0 {
		head = append(head, s.retryAfterField())
	}
	text := "meshd: " + detail + "\n"
	end := s.req.method == "HEAD" || http.StatusText(status) == ""
	s.down.p.sendHead(&s.down, append(head, hpack.HeaderField{Name: "content-length", Value: strconv.Itoa(len(text))}), end)
	if end {
		s.letGo()
		return
	}
	*s.up = leg{s: s, in: append(s.up.in[:0], text...), inEnd: true, closed: true, length: -1}
	s.drop(&s.down)
	s.arm(dueCall, s.srv.now+int64(s.srv.Limits.StreamIdle))
	s.move(&s.down)
}

// retryAfterField says when to try again.
func (s *stream) retryAfterField() hpack.HeaderField {
	return hpack.HeaderField{Name: "retry-after", Value: strconv.Itoa(breaker.RetryAfterSeconds(s.retryIn))}
}

// rpcTrailers say how a gRPC call ended that we ended.
func rpcTrailers(code uint32, detail string) []hpack.HeaderField {
	return []hpack.HeaderField{
		{Name: "grpc-status", Value: strconv.FormatUint(uint64(code), 10)},
		{Name: "grpc-message", Value: grpc.EncodeMessage("meshd: " + detail)},
	}
}

// forwards reports whether a field says what a policy has us say.
func forwards(f resource.Forwarded, name string) bool {
	if f == resource.ForwardedRFC7239 {
		return name == "forwarded"
	}
	return name == "x-forwarded-for" || name == "x-forwarded-proto"
}

// forwarded is this hop's part of RFC 7239.
func forwarded(peer, authority string) string {
	if strings.IndexByte(peer, ':') >= 0 {
		peer = `"[` + peer + `]"`
	}
	return "for=" + peer + ";host=\"" + authority + "\";proto=http"
}
