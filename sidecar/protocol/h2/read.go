package h2

import (
	"encoding/binary"
)

// step handles the frame at the head of b, or what there is of a DATA frame,
// and returns how many bytes that was; 0 when more is needed.
func (c *conn) step(b []byte) int {
	switch {
	case c.dataLeft > 0 || c.dataEnd:
		return c.stepData(b)
	case c.padLeft > 0:
		n := min(len(b), c.padLeft)
		c.padLeft -= n
		return n
	case !c.preface && !c.client:
		if len(b) < len(preface) {
			if string(b) != preface[:len(b)] {
				c.fail(problem{0, codeProtocol, "not the client preface"})
			}
			return 0
		}
		if string(b[:len(preface)]) != preface {
			c.fail(problem{0, codeProtocol, "not the client preface"})
			return 0
		}
		c.preface = true
		return len(preface)
	case len(b) < frameHeader:
		return 0
	case c.client && !c.settled && b[3] != frameSettings:
		// Whatever a server of HTTP/1 makes of our preface: some say "HTTP/1.1
		// 400", some show a page without a head.
		c.pool.old = c.srv.now + int64(oldFor)
		c.fail(problem{0, codeHTTP11, "the endpoint does not speak HTTP/2"})
		return 0
	}
	length := int(b[0])<<16 | int(b[1])<<8 | int(b[2])
	typ, flags := b[3], b[4]
	id := binary.BigEndian.Uint32(b[5:]) & maxWindow
	if p := c.admit(length, typ, id); p.code != codeNone {
		if c.problem(p) {
			c.padLeft = length // of one stream: the frame is passed over
			return frameHeader
		}
		return 0
	}
	if typ == frameData {
		return c.startData(b, length, flags, id)
	}
	if len(b) < frameHeader+length {
		return 0
	}
	if p := c.frame(typ, flags, id, b[frameHeader:frameHeader+length]); p.code != codeNone && !c.problem(p) {
		return 0
	}
	return frameHeader + length
}

// admit checks what can be said of a frame by its header.
func (c *conn) admit(length int, typ byte, id uint32) problem {
	switch {
	case length > frameSize:
		p := problem{0, codeFrameSize, "frame larger than SETTINGS_MAX_FRAME_SIZE"}
		return p
	case c.client && !c.settled && typ != frameSettings:
		return problem{0, codeProtocol, "the first frame is not SETTINGS"}
	case !c.client && !c.settled && typ != frameSettings:
		return problem{0, codeProtocol, "the first frame is not SETTINGS"}
	case c.block.stream != 0 && (typ != frameContinuation || id != c.block.stream):
		return problem{0, codeProtocol, "a header block is not complete"}
	}
	return problem{}
}

// frame handles a whole frame other than DATA.
func (c *conn) frame(typ, flags byte, id uint32, p []byte) problem {
	switch typ {
	case frameHeaders:
		return c.headers(flags, id, p)
	case frameContinuation:
		return c.continuation(flags, id, p)
	case framePriority:
		// RFC 9113 section 5.3.2: deprecated; only its form is looked at.
		switch {
		case id == 0:
			return problem{0, codeProtocol, "PRIORITY of stream 0"}
		case len(p) != 5:
			return problem{id, codeFrameSize, "PRIORITY is not 5 bytes"}
		case binary.BigEndian.Uint32(p)&maxWindow == id:
			return problem{id, codeProtocol, "a stream depends on itself"}
		}
		return c.spend(1)
	case frameReset:
		return c.resetFrame(id, p)
	case frameSettings:
		return c.settings(flags, id, p)
	case framePush:
		return problem{0, codeProtocol, "PUSH_PROMISE, which is switched off"}
	case framePing:
		return c.ping(flags, id, p)
	case frameGoAway:
		return c.goAway(id, p)
	case frameWindow:
		return c.windowFrame(id, p)
	}
	return c.spend(1) // RFC 9113 section 4.1: unknown types are ignored
}

// startData handles the head of a DATA frame.
func (c *conn) startData(b []byte, length int, flags byte, id uint32) int {
	n, pad := frameHeader, 0
	if flags&flagPadded != 0 {
		if length == 0 {
			c.fail(problem{0, codeFrameSize, "padded DATA without a pad length"})
			return 0
		}
		if len(b) < frameHeader+1 {
			return 0
		}
		pad = int(b[frameHeader])
		n++
		if pad >= length {
			c.fail(problem{0, codeProtocol, "padding is longer than the frame"})
			return 0
		}
	}
	if id == 0 {
		c.fail(problem{0, codeProtocol, "DATA of stream 0"})
		return 0
	}
	if c.recvWindow -= int64(length); c.recvWindow < 0 {
		c.fail(problem{0, codeFlowControl, "DATA beyond the connection's window"})
		return 0
	}
	c.uncredited += length
	l, p := c.dataLeg(id, length)
	if p.code == codeNone && length-(n-frameHeader)-pad == 0 && flags&flagEndStream == 0 {
		p = c.spend(1)
	}
	if p.code != codeNone {
		if !c.problem(p) {
			return 0
		}
		l = nil
	}
	c.padLeft = pad
	c.dataLeft = length - (n - frameHeader) - pad
	c.dataID = 0
	if l != nil {
		c.dataID = id
		c.dataEnd = flags&flagEndStream != 0
		l.recvWindow -= int64(length)
		if overhead := length - c.dataLeft; overhead > 0 {
			l.credit(overhead)
		}
	}
	c.credit()
	return n
}

// dataLeg finds the stream of a DATA frame; nil without a problem is one that
// we have reset.
func (c *conn) dataLeg(id uint32, length int) (*leg, problem) {
	l := c.streams[id]
	if l == nil {
		return nil, c.strayFrame(id, true)
	}
	switch {
	case l.inEnd:
		return l, problem{id, codeStreamClosed, "DATA after END_STREAM"}
	case !l.gotHead:
		return l, problem{id, codeProtocol, "DATA before the head"}
	case int64(length) > l.recvWindow:
		return l, problem{id, codeFlowControl, "DATA beyond the stream's window"}
	}
	return l, problem{}
}

// earning is how much content at a time is of use enough to make up for what is
// of none: a byte each would pay for any number of resets.
const earning = 1 << 10

// stepData handles what there is of a DATA frame's content.
func (c *conn) stepData(b []byte) int {
	n := min(len(b), c.dataLeft)
	if n == 0 && c.dataLeft > 0 {
		return 0
	}
	c.dataLeft -= n
	end := c.dataEnd && c.dataLeft == 0
	if c.dataLeft == 0 {
		c.dataEnd = false
	}
	if l := c.streams[c.dataID]; c.dataID != 0 && l != nil && !l.inEnd {
		if n >= earning {
			c.calm.earn(1)
		}
		l.s.received(l, b[:n], end)
	}
	if n == 0 {
		// An empty frame whose flag counted: the parser must see progress, and
		// there is none to see; step goes on with what follows.
		if len(b) == 0 {
			return 0
		}
		return c.step(b)
	}
	return n
}

// strayFrame judges a frame on a stream that is not open.
func (c *conn) strayFrame(id uint32, data bool) problem {
	ours := id%2 == 1 == c.client
	if !ours && c.client || ours && id >= c.lastID && c.client || !c.client && (id%2 == 0 || id > c.lastID) {
		return problem{0, codeProtocol, "frame on an idle stream"}
	}
	switch how, known := c.closedIDs.find(id); {
	case known && how == closedByUs:
		return c.spend(1) // it may have been on its way, but not for ever
	case known && how == closedInOrder && !data:
		return problem{0, codeStreamClosed, "frame on a closed stream"}
	case !known && !data && c.closedIDs.complete(id):
		return problem{0, codeProtocol, "stream identifier smaller than one that was used"}
	}
	return problem{id, codeStreamClosed, "frame on a closed stream"}
}

// problem acts on what a peer did wrong and reports whether the connection
// goes on.
func (c *conn) problem(p problem) bool {
	if p.stream == 0 {
		c.fail(p)
		return false
	}
	if l := c.streams[p.stream]; l != nil {
		l.s.broken(l, p)
	} else {
		c.writeReset(p.stream, p.code)
	}
	if q := c.spend(4); q.code != codeNone {
		c.fail(q)
	}
	return !c.Dead()
}
