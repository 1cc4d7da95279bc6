package h2

import (
	"crypto/rand"
	"encoding/base64"
	"net"
	"strconv"

	"golang.org/x/net/http2/hpack"

	"github.com/meshd/meshd/sidecar/protocol/h1"
	"github.com/meshd/meshd/sidecar/stats"
)

// A back is one HTTP/1.1 connection to an endpoint, for the calls of clients
// that speak HTTP/2 to a service that does not. It carries one at a time.
type back struct {
	wire1
	pool *shared

	res       h1.Response
	keep      bool
	reused    bool // has carried a call before
	touched   bool // bytes came for the call under way
	handling  bool // handle is under way
	free      bool // and has come to the end of the exchange
	idleSince int64
}

// attach1 sends what there is of the request on an HTTP/1.1 connection.
func (s *stream) attach1(c *back) {
	s.give1(c, s.up)
	s.said()
}

// give1 is give.
func (s *stream) give1(c *back, l *leg) {
	*l = leg{s: s, p: c, link: &c.link, in: l.in[:0], length: -1}
	c.l, c.touched, c.keep = l, false, false
	c.message1 = message1{raw: s.req.protocol != ""}
	s.sending(l)
	end := s.down.inEnd && len(s.kept) == 0 && len(s.down.in) == 0 && s.down.trailers == nil && !s.overflow
	c.request(s, l, end)
	if end {
		l.outEnd = true
		s.settle(&s.down)
	} else {
		s.move(l)
	}
}

// request writes the head.
func (c *back) request(s *stream, l *leg, end bool) {
	r := &s.req
	method := r.method
	if c.raw {
		method = "GET" // RFC 8441 section 5: CONNECT with :protocol is what GET with Upgrade was
	}
	c.writable()
	c.out = append(c.out, method...)
	c.out = append(c.out, ' ')
	c.out = append(c.out, r.path...)
	c.out = append(c.out, " HTTP/1.1\r\n"...)
	c.out = appendField(c.out, "Host", r.authority)
	cookies, chunks := false, !end && !c.raw && (r.length < 0 || announced(r.fields))
	s.requestFields(s.contextOf(l), func(f hpack.HeaderField) {
		switch {
		case f.Name[0] == ':' || f.Name == "host" || f.Name == "content-length" && chunks:
		case f.Name == "te":
			c.out = append(c.out, "Connection: TE\r\nTE: trailers\r\n"...)
		case f.Name == "cookie":
			cookies = true
		default:
			c.out = appendField(c.out, f.Name, f.Value)
		}
	})
	if cookies { // RFC 9113 section 8.2.3: split there, one field here
		c.out = appendField(c.out, "Cookie", r.named("cookie"))
	}
	switch {
	case c.raw:
		var key [16]byte
		_, _ = rand.Read(key[:])
		c.out = appendField(c.out, "Connection", "Upgrade")
		c.out = appendField(c.out, "Upgrade", r.protocol)
		c.out = appendField(c.out, "Sec-WebSocket-Key", base64.StdEncoding.EncodeToString(key[:]))
	case chunks:
		c.chunked = true
		c.out = append(c.out, "Transfer-Encoding: chunked\r\n"...)
	case r.length >= 0:
	case r.method == "POST" || r.method == "PUT" || r.method == "PATCH":
		c.out = append(c.out, "Content-Length: 0\r\n"...)
	}
	c.out = append(c.out, "\r\n"...)
}

func (c *back) sendHead(*leg, []hpack.HeaderField, bool) {
	panic("a request's head is sent by request")
}

func (c *back) sendData(l *leg, p []byte, end bool) int { return c.content(&c.link, l, p, end) }

func (c *back) sendTrailers(l *leg, fields []hpack.HeaderField) { c.end(&c.link, l, fields) }

func (c *back) paused() bool {
	c.holding = c.l != nil && len(c.l.in) >= c.srv.Limits.Window
	return c.holding
}

func (c *back) begin() { c.pool.free1(c) }

// handle works on the response.
func (c *back) handle() {
	c.handling = true
	b := c.in
	if c.l == nil && len(b) > 0 {
		c.bury(stats.ErrHTTPProtocolError) // nothing was asked
	}
	for l := c.l; l != nil && c.l == l && len(b) > 0; {
		c.touched = true
		if !l.gotHead {
			n := c.head(l, b)
			if n == 0 {
				break
			}
			b = b[n:]
			continue
		}
		rest, ok := runs(l, &c.body, b, func() bool { return c.l == l && !c.paused() })
		if !ok {
			l.s.badAnswer(l, stats.ErrHTTPProtocolError, problem{0, codeProtocol, ""})
			break
		}
		if len(rest) == len(b) || c.paused() {
			b = rest
			break
		}
		b = rest
	}
	if c.Dead() {
		b = nil
	}
	c.rest(b)
	if c.handling = false; c.free {
		c.release()
	}
}

// release gives the connection back after an exchange. What came beyond the
// answer is nobody's, least of all the next call's.
func (c *back) release() {
	c.free = false
	if len(c.in) > 0 {
		c.bury(stats.ErrHTTPProtocolError)
		return
	}
	if !c.Dead() {
		c.reused = true
		c.pool.free1(c)
	}
}

// head takes a response head, if a whole one is at hand, and returns its length.
func (c *back) head(l *leg, b []byte) int {
	s := l.s
	n, err := c.res.Parse(b, h1.DefaultLimits)
	if err != nil {
		s.badAnswer(l, stats.ErrHTTPProtocolError, problem{0, codeProtocol, err.Error()})
		return 0
	}
	if n == 0 {
		return 0
	}
	status := c.res.Status()
	c.body = c.res.Body(s.req.method)
	if status == 101 {
		if !c.raw || c.res.Upgrade(b) == nil {
			s.badAnswer(l, stats.ErrHTTPProtocolError, problem{0, codeProtocol, "101 that was not asked for"})
			return 0
		}
		status = 200
		c.body = h1.UntilClose()
	} else if status >= 200 {
		c.raw = false // refused: an answer like any other
	}
	c.keep = c.res.Keep() && !c.body.UntilClose()
	c.fields = append(c.fields[:0], hpack.HeaderField{Name: ":status", Value: strconv.Itoa(status)})
	c.fields = fields1(c.fields, func(tell func(name, value []byte)) {
		c.res.Fields(b, func(name, value []byte) {
			if !c.raw || !websocketOnly(lowered(name)) {
				tell(name, value)
			}
		})
	})
	if l == s.beside && status < 200 {
		return n
	}
	if wrong := s.resp.take(c.fields, kindResponse); wrong != "" {
		s.badAnswer(l, stats.ErrHTTPProtocolError, problem{0, codeProtocol, wrong})
		return 0
	}
	s.answered(l, c.body.Done() && status >= 200)
	return n
}

// websocketOnly names what stands in the handshake of HTTP/1.1 alone.
func websocketOnly(name string) bool {
	return name == "sec-websocket-accept" || name == "sec-websocket-key"
}

func (c *back) eof() {
	if l := c.l; l != nil && l.gotHead && c.body.UntilClose() {
		c.keep = false
		l.s.received(l, nil, true)
		if c.l == nil || c.raw && !l.outEnd {
			return // a half-closed tunnel goes on in the other direction
		}
	}
	c.lost()
}

func (c *back) lost() { c.bury(stats.ErrConnectionTerminated) }

// bury ends the connection, and the call on it.
func (c *back) bury(e stats.ErrorType) {
	if c.Dead() {
		return
	}
	c.Shut()
	c.out = nil
	c.pool.gone1(c)
	l := c.l
	if l == nil {
		return
	}
	c.part(l)
	if e == stats.ErrConnectionTerminated && c.reused && !c.touched && h1.Idempotent(l.s.req.method) {
		l.s.wasReset(l, codeRefused) // it was closed while idle, as our request crossed its FIN
		return
	}
	l.s.legLost(l, e)
}

// done follows a complete exchange.
func (c *back) done(l *leg) {
	c.part(l)
	if !c.keep || c.raw {
		c.bury(stats.ErrNone)
		return
	}
	if c.free = true; !c.handling {
		c.release()
	}
}

func (c *back) reset(l *leg, _ code) {
	c.part(l)
	c.bury(stats.ErrNone)
}

func (c *back) drain() {}

func (c *back) sweep() {
	if c.stuck != 0 && c.srv.now-c.stuck > int64(c.srv.Limits.WriteStuck) {
		c.lost()
	}
	c.probe()
}

// exclusive is the HTTP/1.1 connections to an endpoint.
type exclusive struct {
	idle  []*back // newest last
	open  int     // those being dialled included
	queue []*waiter
}

// join1 gives s an HTTP/1.1 connection, now or when there is one; false: too
// many wait.
func (p *shared) join1(s *stream) bool {
	x := &p.one
	for len(x.idle) > 0 {
		c := x.idle[len(x.idle)-1]
		x.idle = x.idle[:len(x.idle)-1]
		if !h1.Idempotent(s.req.method) && !c.Quiet() {
			c.bury(stats.ErrNone) // a request that cannot be sent twice does not go out on it
			continue
		}
		s.attach1(c)
		return true
	}
	if !s.call.Pending() {
		return false
	}
	s.wait = &waiter{s: s, one: true}
	x.queue = append(x.queue, s.wait)
	p.dial1(s)
	return true
}

// dial1 opens a connection, to the endpoint of s, where there is room.
func (p *shared) dial1(s *stream) {
	if p.max != 0 && p.one.open >= p.max {
		return
	}
	p.one.open++
	p.open(s, func(nc *net.TCPConn) (*link, error) {
		c := &back{pool: p}
		return &c.link, c.init(p.srv, c, nc)
	}, p.failed1)
}

// free1 gives a connection to who waits longest, or keeps it.
func (p *shared) free1(c *back) {
	x := &p.one
	switch {
	case len(x.queue) > 0:
		next(&x.queue).attach1(c)
	case p.closed || c.srv.closed:
		c.bury(stats.ErrNone)
	default:
		c.idleSince = c.srv.now
		x.idle = append(x.idle, c)
	}
}

// failed1 follows a dial that came to nothing.
func (p *shared) failed1(e stats.ErrorType) {
	x := &p.one
	x.open--
	if len(x.queue) == 0 {
		return
	}
	s := next(&x.queue)
	p.hurry1()
	s.attemptFailed(e, stats.RetryConnectFailure, true)
}

// gone1 follows the end of a connection; who waits may dial in its place.
func (p *shared) gone1(c *back) {
	x := &p.one
	for i, k := range x.idle {
		if k == c {
			x.idle = append(x.idle[:i], x.idle[i+1:]...)
			break
		}
	}
	x.open--
	p.hurry1()
}

// hurry1 dials for who waits, where there is room.
func (p *shared) hurry1() {
	x := &p.one
	if x.open < len(x.queue) {
		p.dial1(x.queue[0].s)
	}
}
