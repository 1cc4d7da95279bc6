package h2

import (
	"encoding/binary"

	"github.com/meshd/meshd/sidecar/stats"
)

// resetFrame is RST_STREAM (RFC 9113 section 6.4).
func (c *conn) resetFrame(id uint32, p []byte) problem {
	switch {
	case id == 0:
		return problem{0, codeProtocol, "RST_STREAM of stream 0"}
	case len(p) != 4:
		return problem{0, codeFrameSize, "RST_STREAM is not 4 bytes"}
	}
	l := c.streams[id]
	if l == nil {
		if p := c.strayFrame(id, true); p.stream == 0 && p.code == codeProtocol {
			return p
		}
		return c.spend(2)
	}
	why := code(binary.BigEndian.Uint32(p))
	c.remove(l, closedByPeer)
	l.s.wasReset(l, why)
	if c.client {
		return problem{}
	}
	return c.spend(2)
}

// settings is SETTINGS (RFC 9113 section 6.5).
func (c *conn) settings(flags byte, id uint32, p []byte) problem {
	switch {
	case id != 0:
		return problem{0, codeProtocol, "SETTINGS of a stream"}
	case flags&flagAck != 0 && len(p) > 0:
		return problem{0, codeFrameSize, "SETTINGS acknowledgement with content"}
	case flags&flagAck != 0:
		return c.spend(1)
	case len(p)%6 != 0:
		return problem{0, codeFrameSize, "SETTINGS is not a multiple of 6 bytes"}
	case len(p) > settingsPerFrame*6:
		return problem{0, codeCalm, "too many settings"}
	}
	window := c.window
	c.writable() // before what the new window lets go
	c.out = appendFrame(c.out, 0, frameSettings, flagAck, 0)
	for ; len(p) > 0; p = p[6:] {
		id, v := binary.BigEndian.Uint16(p), binary.BigEndian.Uint32(p[2:])
		if p := c.setting(id, v); p.code != codeNone {
			return p
		}
		if id == settingWindow {
			window = int64(v)
		}
	}
	if p := c.reopen(window); p.code != codeNone {
		return p
	}
	if !c.settled {
		c.settled = true
		if c.client {
			c.pool.ready(c)
		}
		return problem{}
	}
	if c.client {
		c.pool.serve()
	}
	return c.spend(5 + len(c.streams)/32)
}

func (c *conn) setting(id uint16, v uint32) problem {
	switch id {
	case settingTableSize:
		c.encoder.SetMaxDynamicTableSizeLimit(min(v, defaultTable))
	case settingPush:
		if v > 1 || v == 1 && c.client {
			return problem{0, codeProtocol, "SETTINGS_ENABLE_PUSH is not 0 or 1"}
		}
	case settingStreams:
		c.streamsMax = int(min(v, streamsUnsaid))
	case settingWindow:
		if v > maxWindow {
			return problem{0, codeFlowControl, "SETTINGS_INITIAL_WINDOW_SIZE is larger than a window may be"}
		}
	case settingFrameSize:
		if v < frameSize || v > 1<<24-1 {
			return problem{0, codeProtocol, "SETTINGS_MAX_FRAME_SIZE is out of range"}
		}
	case settingConnect:
		if v > 1 || v == 0 && c.connect {
			return problem{0, codeProtocol, "SETTINGS_ENABLE_CONNECT_PROTOCOL is not 0 or 1, or was taken back"}
		}
		c.connect = v == 1
	}
	return problem{}
}

// reopen changes the windows of all streams (RFC 9113 section 6.9.2), once a
// frame: it is the one thing that a few bytes make us do for every stream.
func (c *conn) reopen(v int64) problem {
	more := v - c.window
	if more == 0 {
		return problem{}
	}
	c.window = v
	for _, l := range c.streams {
		if l.sendWindow += more; l.sendWindow > maxWindow {
			return problem{0, codeFlowControl, "SETTINGS_INITIAL_WINDOW_SIZE makes a window too large"}
		}
	}
	if more > 0 {
		for _, l := range c.streams {
			l.s.move(l)
		}
	}
	return problem{}
}

// ping is PING (RFC 9113 section 6.7).
func (c *conn) ping(flags byte, id uint32, p []byte) problem {
	switch {
	case id != 0:
		return problem{0, codeProtocol, "PING of a stream"}
	case len(p) != 8:
		return problem{0, codeFrameSize, "PING is not 8 bytes"}
	}
	data := binary.BigEndian.Uint64(p)
	if flags&flagAck == 0 {
		c.writable()
		c.out = appendPing(c.out, true, data)
		return c.spend(1)
	}
	switch data {
	case pingAlive:
		c.pinged, c.answered = 0, c.srv.now
	case pingDrain:
		if c.left == 1 {
			c.lastGoAway()
		}
	}
	return c.spend(1)
}

// What our PINGs carry, to tell their answers apart.
const (
	pingAlive = 0x6d65736864000001
	pingDrain = 0x6d65736864000002
)

// goAway is GOAWAY (RFC 9113 section 6.8).
func (c *conn) goAway(id uint32, p []byte) problem {
	switch {
	case id != 0:
		return problem{0, codeProtocol, "GOAWAY of a stream"}
	case len(p) < 8:
		return problem{0, codeFrameSize, "GOAWAY is less than 8 bytes"}
	}
	c.goingAway = true
	c.calmed = c.calmed || code(binary.BigEndian.Uint32(p[4:])) == codeCalm
	if !c.client {
		if len(c.streams) == 0 {
			c.fail(problem{0, codeNone, ""})
		}
		return c.spend(1)
	}
	c.pool.leaving(c, stats.ErrConnectionTerminated)
	last := binary.BigEndian.Uint32(p) & maxWindow
	var refused []*leg
	for id, l := range c.streams {
		if id > last {
			refused = append(refused, l)
		}
	}
	for _, l := range refused {
		c.remove(l, closedByPeer)
		l.s.wasReset(l, codeRefused)
	}
	if len(c.streams) == 0 {
		c.fail(problem{0, codeNone, ""})
	}
	return problem{}
}

// windowFrame is WINDOW_UPDATE (RFC 9113 section 6.9).
func (c *conn) windowFrame(id uint32, p []byte) problem {
	if len(p) != 4 {
		return problem{0, codeFrameSize, "WINDOW_UPDATE is not 4 bytes"}
	}
	n := int64(binary.BigEndian.Uint32(p) & maxWindow)
	if id == 0 {
		if n == 0 {
			return problem{0, codeProtocol, "WINDOW_UPDATE of 0"}
		}
		if c.sendWindow += n; c.sendWindow > maxWindow {
			return problem{0, codeFlowControl, "window larger than it may be"}
		}
		c.pump()
		return c.spend(1)
	}
	l := c.streams[id]
	if l == nil {
		if p := c.strayFrame(id, true); p.stream == 0 && p.code == codeProtocol {
			return p
		}
		return c.spend(1)
	}
	if n == 0 {
		return problem{id, codeProtocol, "WINDOW_UPDATE of 0"}
	}
	if l.sendWindow += n; l.sendWindow > maxWindow {
		return problem{id, codeFlowControl, "window larger than it may be"}
	}
	l.s.move(l)
	return c.spend(1)
}

// calmMax and calmRate are how much a peer may do that is of no use to
// anybody: frames that ask for an answer, change nothing, or take back what
// was asked (CVE-2023-44487 and its kin). What is of use earns more. A client
// whose streams all end at once may say four things about each.
const (
	calmMax       = 2000
	calmPerStream = 4
	calmRate      = 200 // a second
)

// calm is a token bucket.
type calm struct {
	tokens, most int
	since        int64
}

func newCalm(l *Limits) calm {
	most := max(calmMax, calmPerStream*l.Streams)
	return calm{tokens: most, most: most}
}

func (t *calm) earn(n int) { t.tokens = min(t.tokens+n, t.most) }

// spend takes tokens, and says that the connection has to end when there are none.
func (c *conn) spend(n int) problem {
	if c.client {
		return problem{} // an endpoint of ours; its breaker judges it
	}
	t := &c.calm
	if t.tokens -= n; t.tokens >= 0 {
		return problem{}
	}
	if t.since == 0 {
		t.since = c.idleSince
	}
	if more := int((c.srv.now - t.since) * calmRate / 1e9); more > 0 {
		t.tokens = min(t.tokens+more, t.most)
		t.since = c.srv.now
		if t.tokens >= 0 {
			return problem{}
		}
	}
	return problem{0, codeCalm, "too many frames that are of no use"}
}
