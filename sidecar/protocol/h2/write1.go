package h2

import (
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"

	"github.com/meshd/meshd/sidecar/protocol/h1"
)

// A wire1 is an HTTP/1.1 connection, on either side: it carries one call at a time.
type wire1 struct {
	link
	message1

	l       *leg    // of the call under way; nil between two
	body    h1.Body // of what comes
	fields  []hpack.HeaderField
	holding bool // reading waits for the other side to take what there is
}

// part ends the call's stay on the connection.
func (c *wire1) part(l *leg) { c.l, l.closed, l.waits = nil, true, false }

func (c *wire1) gave(l *leg, n int) {
	if c.holding && len(l.in)-n < c.srv.Limits.Window/2 {
		c.holding = false
		c.resume()
	}
}

func (c *wire1) drained() { c.written(&c.link, c.l) }

// A message1 is a message on its way out over HTTP/1.1: how its content is
// framed.
type message1 struct {
	chunked bool
	raw     bool // the bytes belong to another protocol now
	fin     bool // their end is the end of the connection's direction
}

// content appends as much of p as room allows, and the end after the last byte.
func (m *message1) content(c *link, l *leg, p []byte, end bool) int {
	n := min(len(p), outRoom-len(c.out))
	if n <= 0 && len(p) > 0 {
		l.waits = true
		return 0
	}
	c.roomFor(n + 16)
	if n > 0 {
		if m.chunked {
			c.out = append(strconv.AppendInt(c.out, int64(n), 16), "\r\n"...)
		}
		c.out = append(c.out, p[:n]...)
		if m.chunked {
			c.out = append(c.out, "\r\n"...)
		}
	}
	switch {
	case n < len(p):
		l.waits = true
	case end:
		m.end(c, l, nil)
	}
	return n
}

// end ends the content, with trailers where the framing has room for them.
func (m *message1) end(c *link, l *leg, trailers []hpack.HeaderField) {
	c.writable()
	if m.chunked {
		c.out = append(c.out, "0\r\n"...)
		for _, f := range trailers {
			c.out = appendField(c.out, f.Name, f.Value)
		}
		c.out = append(c.out, "\r\n"...)
	}
	m.fin = m.raw
	l.outEnd = true
}

// written follows the writing of everything there was.
func (m *message1) written(c *link, l *leg) {
	if m.fin {
		m.fin = false
		_ = c.Conn.CloseWrite()
	}
	if l != nil && l.waits {
		l.waits = false
		l.s.move(l)
	}
}

func appendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// lowered is a field name as HTTP/2 has it.
func lowered(name []byte) string { return strings.ToLower(string(name)) }

// fields1 appends the fields that tell tells, as HTTP/2 has them.
func fields1(dst []hpack.HeaderField, tell func(func(name, value []byte))) []hpack.HeaderField {
	tell(func(name, value []byte) {
		dst = append(dst, hpack.HeaderField{Name: lowered(name), Value: string(value)})
	})
	return dst
}

// runs gives the content at hand to the leg and returns what is left of b;
// ok is false when the message is not well formed.
func runs(l *leg, body *h1.Body, b []byte, more func() bool) (rest []byte, ok bool) {
	for len(b) > 0 && !body.Done() && more() {
		var trailers []hpack.HeaderField
		n, data, err := body.Next(b, h1.DefaultLimits, func(name, value []byte) {
			trailers = append(trailers, hpack.HeaderField{Name: lowered(name), Value: string(value)})
		})
		if err != nil {
			return b, false
		}
		if n == 0 {
			return b, true
		}
		p := b[:n]
		if !data {
			p = nil
		}
		b = b[n:]
		switch {
		case body.Done() && len(trailers) > 0:
			l.s.trailed(l, trailers)
		case data || body.Done():
			l.s.received(l, p, body.Done())
		}
	}
	return b, true
}
