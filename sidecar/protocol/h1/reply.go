package h1

import (
	"net/http"
	"strconv"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/stats"
)

// refuse answers a request whose head is malformed. Nothing of it went on.
func (s *session) refuse(p Problem) {
	s.srv.Stats.Malformed.Inc()
	s.method, s.http10, s.reqDone = mOther, false, false
	s.reply(p.Status(), stats.ErrHTTPRequestError, p.Error(), true)
}

// reply answers by ourselves, and says why in Proxy-Status (RFC 9209) and in
// one line of text. It ends the call if one is under way. With last, or when
// the request has not been read to its end, the connection closes after it.
func (s *session) reply(status int, e stats.ErrorType, detail string, last bool) {
	s.endCall(status, e)
	s.dropSent()
	if last || !s.reqDone || !s.keep || s.srv.draining.Load() || s.down.EOF && len(s.down.in) == 0 {
		s.state = stFlush
		s.reqDone = s.reqDone && !last
	} else {
		s.idle(s.srv.now())
	}
	buf := buffers.Get().(*buffer)
	defer buffers.Put(buf)
	b := buf[:0]
	b = append(b, "HTTP/1.1 "...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, ' ')
	b = append(b, http.StatusText(status)...)
	line := Sanitize(detail)
	b = append(b, "\r\nContent-Type: text/plain; charset=utf-8\r\nProxy-Status: "...)
	b = append(b, ProxyStatus(e, line)...)
	if s.retryIn > 0 {
		b = append(b, "\r\nRetry-After: "...)
		b = strconv.AppendInt(b, int64(breaker.RetryAfterSeconds(s.retryIn)), 10)
	}
	b = append(b, "\r\nContent-Length: "...)
	b = strconv.AppendInt(b, int64(len("meshd: ")+len(line)+1), 10)
	if s.state == stFlush {
		b = append(b, "\r\nConnection: close"...)
	} else if s.http10 {
		b = append(b, "\r\nConnection: keep-alive"...)
	}
	b = append(b, "\r\n\r\n"...)
	if s.method != mHead {
		b = append(b, "meshd: "...)
		b = append(b, line...)
		b = append(b, '\n')
	}
	s.send(b)
}
