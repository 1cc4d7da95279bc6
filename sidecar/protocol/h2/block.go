package h2

import (
	"encoding/binary"

	"golang.org/x/net/http2/hpack"
)

// A block is the header block at hand: a HEADERS frame and its CONTINUATIONs,
// decoded as they come. A peer can make us decode much for few bytes (indexed
// fields) or send fragments for ever; both end at the limits.
type block struct {
	limits   *Limits
	stream   uint32 // not complete yet; 0: none is at hand
	end      bool   // END_STREAM
	discard  bool   // decoded for the table's sake only
	opens    bool   // a stream
	frames   int
	raw      int // bytes of fragments
	size     int // as RFC 9113 section 6.5.2 counts
	tooLarge bool
	fields   []hpack.HeaderField
}

// maxFragments bounds the frames of one block (CVE-2024-27316).
const maxFragments = 64

// answerBlock is the largest block that is decoded of an endpoint. It is more
// than is taken: one answer that is too large shall not end the others, of other
// callers, that come over its connection.
const answerBlock = 256 << 10

func (b *block) emit(f hpack.HeaderField) {
	b.size += len(f.Name) + len(f.Value) + 32
	if b.size > b.limits.HeaderList || len(b.fields) >= b.limits.Fields {
		b.tooLarge = true
		return
	}
	b.fields = append(b.fields, f)
}

func (b *block) begin(id uint32, end, discard bool) {
	clear(b.fields)
	*b = block{limits: b.limits, stream: id, end: end, discard: discard, fields: b.fields[:0]}
}

// headers is HEADERS (RFC 9113 section 6.2).
func (c *conn) headers(flags byte, id uint32, p []byte) problem {
	if id == 0 || !c.client && id%2 == 0 {
		return problem{0, codeProtocol, "HEADERS of a stream that a client may not open"}
	}
	if flags&flagPadded != 0 {
		if len(p) == 0 {
			return problem{0, codeFrameSize, "padded HEADERS without a pad length"}
		}
		pad := int(p[0])
		if p = p[1:]; pad > len(p) {
			return problem{0, codeProtocol, "padding is longer than the frame"}
		}
		p = p[:len(p)-pad]
	}
	var late problem // after the block was decoded
	if flags&flagPriority != 0 {
		if len(p) < 5 {
			return problem{0, codeFrameSize, "HEADERS with priority is too short"}
		}
		if binary.BigEndian.Uint32(p)&maxWindow == id {
			late = problem{id, codeProtocol, "a stream depends on itself"}
		}
		p = p[5:]
	}
	if late.code == codeNone {
		late = c.openable(id, flags&flagEndStream != 0)
	}
	if late.code != codeNone && late.stream == 0 {
		return late
	}
	c.block.begin(id, flags&flagEndStream != 0, late.code != codeNone || c.ignored(id))
	if c.streams[id] == nil && !c.client && id > c.lastID {
		c.lastID, c.block.opens = id, true
		if c.block.discard {
			c.closedIDs.add(id, closedByUs)
		}
	}
	if late.code != codeNone && !c.problem(late) {
		return problem{}
	}
	c.headSince = c.srv.now
	return c.fragment(flags, p)
}

// ignored reports whether a new stream came after we said that we would take
// no more, or belongs to one that we have reset.
func (c *conn) ignored(id uint32) bool {
	if c.streams[id] != nil {
		return false
	}
	if c.client || id <= c.lastID {
		return true
	}
	return c.left == 2
}

// openable says what is wrong with a HEADERS frame on this stream now.
func (c *conn) openable(id uint32, end bool) problem {
	l := c.streams[id]
	switch {
	case l != nil && l.inEnd:
		return problem{id, codeStreamClosed, "HEADERS after END_STREAM"}
	case l != nil && l.gotHead && !end:
		return problem{id, codeProtocol, "trailers without END_STREAM"}
	case l != nil:
		return problem{}
	case c.client || id <= c.lastID:
		if p := c.strayFrame(id, false); p.code != codeNone {
			return p
		}
	case len(c.streams) >= c.srv.Limits.Streams:
		return problem{id, codeRefused, "more streams than SETTINGS_MAX_CONCURRENT_STREAMS"}
	}
	return problem{}
}

// continuation is CONTINUATION (RFC 9113 section 6.10).
func (c *conn) continuation(flags byte, id uint32, p []byte) problem {
	b := &c.block
	if b.stream == 0 {
		return problem{0, codeProtocol, "CONTINUATION without HEADERS"}
	}
	if b.frames++; b.frames > maxFragments {
		return problem{0, codeCalm, "a header block in too many frames"}
	}
	if q := c.spend(1); q.code != codeNone {
		return q
	}
	return c.fragment(flags, p)
}

// fragment decodes a part of the block at hand.
func (c *conn) fragment(flags byte, p []byte) problem {
	b := &c.block
	most := b.limits.HeaderList + frameSize
	if c.client {
		most = answerBlock
	}
	if b.raw += len(p); b.raw > most {
		return problem{0, codeCalm, "a header block larger than any that is taken"}
	}
	if _, err := c.decoder.Write(p); err != nil {
		return problem{0, codeCompression, "header block: " + err.Error()}
	}
	if flags&flagEndHeaders == 0 {
		return problem{}
	}
	if err := c.decoder.Close(); err != nil {
		return problem{0, codeCompression, "header block: " + err.Error()}
	}
	id := b.stream
	b.stream = 0
	if b.discard {
		return problem{}
	}
	l := c.streams[id]
	switch {
	case b.opens:
		return c.open(id)
	case l == nil: // it has ended since its trailers began
		return problem{}
	case l.gotHead:
		return l.s.gotTrailers(l, b)
	}
	return l.s.gotAnswer(l, b)
}
