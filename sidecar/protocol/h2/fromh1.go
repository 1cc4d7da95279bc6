package h2

import (
	"crypto/sha1" // RFC 6455 section 1.3 has it so
	"encoding/base64"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/meshd/meshd/sidecar/protocol/h1"
	"github.com/meshd/meshd/sidecar/protocol/socket"
	"github.com/meshd/meshd/sidecar/stats"
)

// A front is one HTTP/1.1 connection from a client that has called a service
// which speaks HTTP/2: from then on, all its calls are made here.
type front struct {
	wire1
	original  netip.AddrPort
	elsewhere bool
	peer      string

	req    h1.Request
	key    string // of a WebSocket handshake
	method string
	keep   bool
	http10 bool
	half   bool // the client has nothing more to say

	linger    int64 // what comes is thrown away since
	headSince int64
	idleSince int64
}

// lingerTime is how long what a client still sends is read after a last
// answer, so that closing does not destroy it (RFC 9112 section 9.6).
const lingerTime = 2 * time.Second

// ServeHTTP1 relays an HTTP/1.1 connection whose next request, of which first
// was read already, is to a service that speaks HTTP/2. It is as Serve is.
func (srv *Server) ServeHTTP1(c *net.TCPConn, original netip.AddrPort, first []byte) {
	srv.work.Add(1)
	defer srv.work.Done()
	k := &front{original: original}
	if k.init(srv, k, c) != nil {
		_ = c.Close()
		return
	}
	k.elsewhere = srv.Elsewhere != nil && original.IsValid() && srv.Elsewhere(original)
	k.peer = socket.PeerOf(c)
	k.first = append(k.first, first...)
	k.run()
}

func (c *front) begin() { c.idleSince = c.srv.now }

func (c *front) paused() bool {
	c.holding = c.l != nil && (len(c.l.in) >= c.srv.Limits.Window || c.body.Done() && !c.raw && len(c.in) >= readSize/2)
	return c.holding
}

// handle works on the requests at hand.
func (c *front) handle() {
	b := c.in
	for len(b) > 0 && !c.Dead() {
		if c.closing || c.linger != 0 {
			b = nil
			break
		}
		if c.l == nil {
			n := c.request(b)
			if n == 0 {
				break
			}
			b = b[n:]
			continue
		}
		l := c.l
		if c.body.Done() || c.paused() {
			break // the next request waits for this one's answer
		}
		rest, ok := runs(l, &c.body, b, func() bool { return c.l == l && !c.paused() })
		if !ok {
			c.srv.Stats.Malformed.Inc()
			l.s.malformedBody()
			break
		}
		if len(rest) == len(b) {
			break
		}
		b = rest
	}
	if c.Dead() {
		b = nil
	}
	c.rest(b)
}

// request begins on a request, if a whole head is at hand, and returns its length.
func (c *front) request(b []byte) int {
	n, err := c.req.Parse(b, h1.DefaultLimits)
	if err != nil {
		p := err.(h1.Problem)
		c.refuse(p.Status(), p.Error())
		return 0
	}
	if n == 0 {
		if c.headSince == 0 {
			c.headSince = c.srv.now
		}
		return 0
	}
	r := &c.req
	c.headSince = 0
	c.keep, c.http10, c.body = r.Keep(), r.HTTP10(), r.Body()
	c.message1, c.key = message1{}, ""
	c.method = string(r.Method())
	method, protocol := c.method, ""
	if up := r.Upgrade(b); method == "GET" && strings.EqualFold(string(up), "websocket") {
		method, protocol = "CONNECT", "websocket"
		c.raw, c.body = true, h1.UntilClose()
	}
	c.fields = append(c.fields[:0],
		hpack.HeaderField{Name: ":method", Value: method}, hpack.HeaderField{Name: ":scheme", Value: "http"},
		hpack.HeaderField{Name: ":authority", Value: string(r.Authority())}, hpack.HeaderField{Name: ":path", Value: string(r.Path())})
	if protocol != "" {
		c.fields = append(c.fields, hpack.HeaderField{Name: ":protocol", Value: protocol})
	}
	c.fields = fields1(c.fields, func(tell func(name, value []byte)) {
		r.Fields(b, func(name, value []byte) {
			if c.raw && websocketOnly(lowered(name)) {
				c.key = string(value)
				return
			}
			tell(name, value)
		})
	})
	if r.WantsTrailers(b) {
		c.fields = append(c.fields, hpack.HeaderField{Name: "te", Value: "trailers"})
	}
	s := c.srv.newStream()
	s.down = leg{s: s, p: c, link: &c.link, gotHead: true, inEnd: c.body.Done(), in: s.down.in[:0], length: -1}
	c.l = &s.down
	s.peer, s.original, s.elsewhere = c.peer, c.original, c.elsewhere
	if wrong := s.req.take(c.fields, kindRequest); wrong != "" {
		s.refuse(400, wrong)
		return n
	}
	s.down.length = s.req.length
	s.begin()
	return n
}

// refuse answers what is not a request.
func (c *front) refuse(status int, detail string) {
	c.srv.Stats.Malformed.Inc()
	text := "meshd: " + h1.Sanitize(detail) + "\n"
	c.writable()
	c.out = append(c.out, "HTTP/1.1 "+strconv.Itoa(status)+" "+http.StatusText(status)+"\r\n"...)
	c.out = appendField(c.out, "Content-Type", "text/plain; charset=utf-8")
	c.out = appendField(c.out, "Proxy-Status", "meshd; error="+stats.ErrHTTPRequestError.String())
	c.out = appendField(c.out, "Content-Length", strconv.Itoa(len(text)))
	c.out = append(c.out, "Connection: close\r\n\r\n"+text...)
	c.lingering()
}

// sendHead sends a response head.
func (c *front) sendHead(l *leg, fields []hpack.HeaderField, end bool) {
	status, _ := strconv.Atoi(fields[0].Value)
	interim := status < 200
	if interim && c.http10 {
		return
	}
	if c.raw && status == 200 {
		status = 101
	} else if !interim && c.raw {
		c.raw, c.body = false, h1.Body{} // refused: what the client sends is no request's content
		c.keep = false
	}
	c.writable()
	c.out = append(c.out, "HTTP/1.1 "+strconv.Itoa(status)+" "+http.StatusText(status)+"\r\n"...)
	empty := interim || status == 204 || status == 304 || c.method == "HEAD"
	// Trailers that were announced need chunks, which go before a length.
	chunks := !empty && !end && !c.http10 && announced(fields)
	hasLength := false
	for _, f := range fields[1:] {
		if f.Name == "content-length" {
			if status == 101 || interim || status == 204 || chunks {
				continue
			}
			hasLength = true
		}
		c.out = appendField(c.out, f.Name, f.Value)
	}
	switch {
	case status == 101:
		c.out = append(c.out, "Connection: Upgrade\r\nUpgrade: websocket\r\n"...)
		c.out = appendField(c.out, "Sec-WebSocket-Accept", accept(c.key))
	case empty || hasLength:
	case end:
		c.out = append(c.out, "Content-Length: 0\r\n"...)
	case c.http10:
		c.keep = false
	default:
		c.chunked = true
		c.out = append(c.out, "Transfer-Encoding: chunked\r\n"...)
	}
	if !interim && status != 101 {
		if c.srv.draining || c.half {
			c.keep = false
		}
		switch {
		case !c.keep:
			c.out = append(c.out, "Connection: close\r\n"...)
		case c.http10:
			c.out = append(c.out, "Connection: keep-alive\r\n"...)
		}
	}
	c.out = append(c.out, "\r\n"...)
	if end {
		c.ended(l)
	}
}

// announced reports whether a head names trailers to come.
func announced(fields []hpack.HeaderField) bool {
	for i := range fields {
		if fields[i].Name == "trailer" {
			return true
		}
	}
	return false
}

// accept answers a WebSocket key (RFC 6455 section 4.2.2).
func accept(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

func (c *front) ended(l *leg) {
	l.outEnd = true
	if l.inEnd {
		c.done(l)
	}
}

func (c *front) sendData(l *leg, p []byte, end bool) int {
	n := c.content(&c.link, l, p, end)
	if l.outEnd {
		c.ended(l)
	}
	return n
}

func (c *front) sendTrailers(l *leg, fields []hpack.HeaderField) {
	c.end(&c.link, l, fields)
	c.ended(l)
}

// done makes the connection ready for the next request, or ends it.
func (c *front) done(l *leg) {
	c.part(l)
	if c.raw || !c.keep || c.half || c.srv.draining {
		c.lingering()
		return
	}
	c.idleSince, c.holding = c.srv.now, false
	if len(c.in) > 0 {
		c.resume()
	}
}

// reset ends the call before its time: after a complete answer in order,
// otherwise so that the answer is not taken for a whole one.
func (c *front) reset(l *leg, _ code) {
	complete := l.outEnd
	c.part(l)
	if complete {
		c.lingering()
		return
	}
	_ = c.Conn.SetLinger(0)
	c.bury(stats.ErrNone)
}

// lingering ends the connection after the last answer is out: at once when
// the client has nothing more to say.
func (c *front) lingering() {
	c.keep = false
	if c.half {
		c.closeAfter()
		return
	}
	c.linger = c.srv.now
	c.fin = true
	c.writable()
	c.resume()
}

func (c *front) eof() {
	c.half = true
	switch l := c.l; {
	case l == nil && len(c.out) == 0, c.linger != 0 && len(c.out) == 0:
		c.bury(stats.ErrNone)
	case l == nil:
		c.closeAfter()
	case c.raw:
		l.s.received(l, nil, true)
	case !c.body.Done():
		c.lost() // cut off in its request
	}
}

func (c *front) lost() { c.bury(stats.ErrConnectionTerminated) }

func (c *front) bury(e stats.ErrorType) {
	if c.Dead() {
		return
	}
	c.Shut()
	c.out = nil
	if l := c.l; l != nil {
		c.part(l)
		l.s.legLost(l, e)
	}
}

func (c *front) drain() {
	if c.l == nil {
		c.lingering()
	}
}

func (c *front) sweep() {
	now, l := c.srv.now, &c.srv.Limits
	switch {
	case c.Dead():
	case c.stuck != 0 && now-c.stuck > int64(l.WriteStuck):
		c.lost()
	case c.linger != 0:
		if now-c.linger > int64(lingerTime) {
			c.bury(stats.ErrNone)
		}
	case c.headSince != 0 && now-c.headSince > int64(l.HeadTimeout):
		c.refuse(408, "the request head was not complete in time")
	case c.l == nil && now-c.idleSince > int64(l.Idle):
		c.bury(stats.ErrNone)
	}
	c.probe()
}
