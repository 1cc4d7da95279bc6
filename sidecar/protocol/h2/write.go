package h2

import (
	"golang.org/x/net/http2/hpack"
)

// startHead begins a header block in out and returns where.
func (c *conn) startHead(id uint32, end bool) int {
	c.writable()
	flags := byte(flagEndHeaders)
	if end {
		flags |= flagEndStream
	}
	at := len(c.out)
	c.out = appendFrame(c.out, 0, frameHeaders, flags, id)
	return at
}

// field adds a field to the block that was begun.
func (c *conn) field(f hpack.HeaderField) { _ = c.encoder.WriteField(f) }

// endHead completes the block that began at at, in several frames if it is
// larger than the peer takes.
func (c *conn) endHead(at int) {
	n := len(c.out) - at - frameHeader
	if n > c.frameMax {
		c.splitHead(at, n)
		return
	}
	c.out[at], c.out[at+1], c.out[at+2] = byte(n>>16), byte(n>>8), byte(n)
}

func (c *conn) splitHead(at, n int) {
	block := append([]byte(nil), c.out[at+frameHeader:]...)
	flags, id := c.out[at+4]&^flagEndHeaders, uint32(c.out[at+5])<<24|uint32(c.out[at+6])<<16|uint32(c.out[at+7])<<8|uint32(c.out[at+8])
	typ := byte(frameHeaders)
	c.out = c.out[:at]
	for len(block) > 0 {
		k := min(len(block), c.frameMax)
		if k == len(block) {
			flags |= flagEndHeaders
		}
		c.out = append(appendFrame(c.out, k, typ, flags, id), block[:k]...)
		block, typ, flags = block[k:], frameContinuation, 0
	}
}

// sendHead sends a head as it is.
func (c *conn) sendHead(l *leg, fields []hpack.HeaderField, end bool) {
	at := c.startHead(l.id, end)
	for _, f := range fields {
		c.field(f)
	}
	c.endHead(at)
	if end {
		c.ended(l)
	}
}

// sendTrailers sends trailers, which end the message.
func (c *conn) sendTrailers(l *leg, fields []hpack.HeaderField) {
	if len(fields) == 0 {
		c.sendData(l, nil, true)
		return
	}
	c.sendHead(l, fields, true)
}

// ended follows an END_STREAM of ours.
func (c *conn) ended(l *leg) {
	l.outEnd = true
	if l.inEnd {
		c.done(l)
	}
}

func (c *conn) done(l *leg) { c.remove(l, closedInOrder) }

// updating is after how much content clients give its window back at the
// earliest, the stream's and the connection's; Go's do, at every read.
const updating = 4 << 10

// littleAtATime is what a window is opened by that is a game: it buys frames of
// ours, and pays for none of the client's.
const littleAtATime = 256

// sendData sends as much of p as windows and kernel allow, and returns how
// much. end goes with the last byte.
func (c *conn) sendData(l *leg, p []byte, end bool) int {
	room := min(int64(len(p)), l.sendWindow, c.sendWindow, int64(outRoom-len(c.out)))
	if len(c.waiting) > 0 || c.pumping {
		room = min(room, frameSize) // others wait for their turn
	}
	switch {
	case len(p) == 0:
		room = 0 // an end alone needs no window
	case room <= 0:
		c.wait(l)
		return 0
	}
	c.roomFor(int(room) + (int(room)/c.frameMax+1)*frameHeader)
	sent := 0
	for {
		n := min(int(room)-sent, c.frameMax)
		last := end && sent+n == len(p)
		flags := byte(0)
		if last {
			flags = flagEndStream
		}
		c.out = append(appendFrame(c.out, n, frameData, flags, l.id), p[sent:sent+n]...)
		sent += n
		if last {
			l.sendWindow -= int64(sent)
			c.sendWindow -= int64(sent)
			c.calm.earn(sent/updating*2 + 2)
			c.ended(l)
			return sent
		}
		if sent == int(room) {
			break
		}
	}
	l.sendWindow -= int64(sent)
	c.sendWindow -= int64(sent)
	c.calm.earn(sent / updating * 2)
	if sent == len(p) || sent >= littleAtATime {
		c.calm.earn(2)
	}
	if sent < len(p) {
		c.wait(l)
	}
	return sent
}

// wait puts a leg among those that this connection holds up. One whose own
// window is used up waits for its own WINDOW_UPDATE instead.
func (c *conn) wait(l *leg) {
	if l.waits || l.sendWindow <= 0 {
		return
	}
	l.waits = true
	c.waiting = append(c.waiting, l)
}

// gave follows n bytes of a leg that went on to the other side: the sender may
// send as many more.
func (c *conn) gave(l *leg, n int) {
	l.owed += n
	window := c.srv.Limits.Window
	if c.tight {
		window = tightWindow
	}
	if !l.closed && !l.inEnd && l.owed >= window/2 {
		c.writable()
		c.out = appendWindow(c.out, l.id, l.owed)
		l.recvWindow += int64(l.owed)
		l.owed = 0
	}
}

// credit gives the connection's window back, while not too much waits in us.
func (c *conn) credit() {
	if c.Dead() {
		return
	}
	limit := c.srv.Limits.Held
	if c.client {
		c.tighten()
		limit *= tightRoom
	}
	if c.uncredited >= connWindow/4 && c.held <= limit {
		c.writable()
		c.out = appendWindow(c.out, 0, c.uncredited)
		c.recvWindow += int64(c.uncredited)
		c.uncredited = 0
	}
}

const (
	// tightWindow is the initial window of streams on a tight connection.
	tightWindow = 8 << 10
	// tightRoom is how many times Limits.Held waits at most on a connection
	// to an endpoint: a stream of each of many slow clients.
	tightRoom = 4
)

// tighten makes what clients are slow to take wait in the endpoint, stream by
// stream, before so much waits in us that the connection, which other clients
// share, would have to. Who takes what comes gets on with a small window.
func (c *conn) tighten() {
	l := &c.srv.Limits
	window := l.Window
	switch {
	case !c.tight && c.held > l.Held/2 && window > tightWindow:
		c.tight, window = true, tightWindow
	case c.tight && c.held < l.Held/8:
		c.tight = false
	default:
		return
	}
	c.writable()
	c.out = appendSettings(c.out, settingWindow, uint32(window))
	for _, l := range c.streams {
		c.gave(l, 0) // it may have used up all of a small window
	}
}

// reset ends a leg before its time.
func (c *conn) reset(l *leg, why code) {
	c.writeReset(l.id, why)
	c.remove(l, closedByUs)
}

func (c *conn) writeReset(id uint32, why code) {
	c.writable()
	c.out = appendReset(c.out, id, why)
}

// remove forgets a leg. What it has brought stays until it has gone on.
func (c *conn) remove(l *leg, how uint64) {
	if l.closed {
		return
	}
	l.closed = true
	delete(c.streams, l.id)
	c.closedIDs.add(l.id, how)
	if l.waits {
		for i, w := range c.waiting {
			if w == l {
				c.waiting = append(c.waiting[:i], c.waiting[i+1:]...)
				break
			}
		}
		l.waits = false
	}
	if len(c.streams) > 0 {
		if c.client {
			c.pool.serve()
		}
		return
	}
	c.idleSince = c.srv.now
	if c.client {
		c.pool.serve()
	}
	if c.goingAway && (c.client || c.left != 1) {
		c.retire()
	}
}

// retire closes a connection after its last stream, when what was said on it
// is out.
func (c *conn) retire() {
	if c.client {
		c.fail(problem{0, codeNone, ""})
		return
	}
	c.closeAfter()
}

// open begins a stream that a client has opened.
func (c *conn) open(id uint32) problem {
	s := c.srv.newStream()
	l := &s.down
	*l = leg{s: s, p: c, link: &c.link, c: c, id: id, gotHead: true, inEnd: c.block.end, in: l.in[:0],
		sendWindow: c.window, recvWindow: int64(c.srv.Limits.Window), length: -1}
	c.streams[id] = l
	s.peer, s.original, s.elsewhere = c.peer, c.original, c.elsewhere
	if c.block.tooLarge {
		s.refuse(431, "the head is larger than the limit")
		return c.spend(4)
	}
	if wrong := s.req.take(c.block.fields, kindRequest); wrong != "" {
		s.malformed()
		return c.spend(4)
	}
	if l.length = s.req.length; l.inEnd && l.length > 0 {
		s.malformed()
		return c.spend(4)
	}
	c.srv.asked = append(c.srv.asked, asked{s, s.seq})
	return problem{}
}

// asked is a stream whose call begins when what was read along with its head
// has been looked at: what a client takes back in the same breath has cost
// nobody else anything, and a head goes out together with its content.
type asked struct {
	s   *stream
	seq uint64
}

// begin begins the calls that were asked for.
func (srv *Server) begin() {
	for i := 0; i < len(srv.asked); i++ {
		if a := srv.asked[i]; a.s.seq == a.seq && !a.s.gone {
			a.s.begin()
		}
	}
	clear(srv.asked)
	srv.asked = srv.asked[:0]
}
