package h2

import (
	"time"

	"github.com/meshd/meshd/sidecar/stats"
)

// fail ends the connection at once: with a GOAWAY that says why, and an end of
// every stream. It is called with the lock held.
func (c *conn) fail(p problem) {
	if c.Dead() {
		return
	}
	if p.code == codeCalm && !c.client && len(c.streams) > 0 {
		c.mute(p)
		return
	}
	if !c.flushing && len(c.out) < outStop {
		out := appendGoAway(c.out, c.lastPeer(), p.code, p.text)
		_, _ = c.Write(out) // what does not go is lost: nobody waits for it
		_ = c.Conn.CloseWrite()
	}
	if p.code != codeNone && p.text != "" && !c.client {
		c.srv.Stats.Malformed.Inc()
	}
	e := stats.ErrHTTPProtocolError
	if c.client && p.code == codeTimeout {
		e = stats.ErrConnectionTimeout // an endpoint that says nothing
	}
	c.bury(e)
}

// muteTime is how long the calls of a client that misbehaves may still take.
const muteTime = 3 * time.Second

// mute ends a connection on which too much of no use came: nothing more is
// read, and what was asked before is answered. Behind the connection may be a
// sidecar, whose other clients have done nothing.
func (c *conn) mute(p problem) {
	if c.muted != 0 {
		return
	}
	c.muted = c.srv.now
	c.srv.Stats.Malformed.Inc()
	c.goingAway = true
	if c.left != 2 {
		c.left, c.lastSaid = 2, c.lastID
	}
	c.writable()
	c.out = appendGoAway(c.out, c.lastSaid, p.code, p.text)
}

// lost follows the loss of the connection.
func (c *conn) lost() {
	if !c.Dead() {
		c.bury(stats.ErrConnectionTerminated)
	}
}

// bury ends all streams and makes the goroutine leave.
func (c *conn) bury(e stats.ErrorType) {
	c.Shut()
	c.out = nil
	if c.client {
		c.pool.gone(c, e)
	}
	legs := make([]*leg, 0, len(c.streams))
	for _, l := range c.streams {
		if legs = append(legs, l); l == &l.s.down && l.s.wait != nil {
			l.s.dropAttempt(codeCancel) // or it would get the place of one that ends before it
		}
	}
	for _, l := range legs {
		c.remove(l, closedByPeer)
		l.s.spare = c.client && c.calmed
		l.s.legLost(l, e)
	}
	c.waiting = nil
}

// lastPeer is the highest stream that we have begun to work on.
func (c *conn) lastPeer() uint32 {
	switch {
	case c.client:
		return 0
	case c.left == 2:
		return c.lastSaid // what came later was ignored, and may be under way elsewhere
	}
	return c.lastID
}

// drain says, in two steps (RFC 9113 section 6.8), that no more streams are
// taken: the first GOAWAY names no stream, so that those under way to us are
// not lost; the second comes after a round trip.
func (c *conn) drain() {
	if c.client || c.left != 0 || c.Dead() {
		return
	}
	c.left, c.goingAway = 1, true
	c.writable()
	c.out = appendGoAway(c.out, maxWindow, codeNone, "")
	c.out = appendPing(c.out, false, pingDrain)
}

func (c *conn) lastGoAway() {
	c.left, c.lastSaid = 2, c.lastID
	c.writable()
	c.out = appendGoAway(c.out, c.lastID, codeNone, "")
	if len(c.streams) == 0 {
		c.closeAfter()
	}
}

// pingPeace is how long a silent connection is left alone after a PING: gRPC's
// servers end one that is sent more than one in 5 minutes (gRFC A8).
const pingPeace = int64(6 * time.Minute)

// sweep closes the connection if something about it takes too long, once a second.
func (c *conn) sweep() {
	if c.Dead() {
		return
	}
	now, l := c.srv.now, &c.srv.Limits
	switch {
	case c.stuck != 0 && now-c.stuck > int64(l.WriteStuck):
		c.lost()
	case c.muted != 0:
		if now-c.muted > int64(muteTime) {
			c.bury(stats.ErrHTTPProtocolError)
		}
		return
	case c.block.stream != 0 && now-c.headSince > int64(l.HeadTimeout):
		c.fail(problem{0, codeCalm, "a header block was not complete in time"})
	case c.client && !c.settled && now > c.settleBy:
		c.fail(problem{0, codeTimeout, "no SETTINGS in time"})
	case !c.settled && now-c.born > int64(l.HeadTimeout):
		c.fail(problem{0, codeTimeout, "no SETTINGS in time"})
	case c.partSince != 0 && now-c.partSince > int64(l.HeadTimeout):
		c.fail(problem{0, codeCalm, "a frame was not complete in time"})
	case c.pinged != 0 && now-c.pinged > int64(l.PingTimeout):
		c.lost()
	case len(c.streams) == 0 && c.client && c.goingAway:
		c.fail(problem{0, codeNone, ""}) // out of its pool, where nobody else looks after it
	case len(c.streams) == 0 && !c.client && now-c.idleSince > int64(l.Idle):
		c.fail(problem{0, codeNone, "idle"})
	case c.left == 1 && now-c.lastRead > int64(l.PingTimeout):
		c.lastGoAway()
	case len(c.streams) > 0 && c.pinged == 0 && now-c.lastRead > int64(l.Quiet) && !c.quiet:
		// One PING a silence, but for a long one: servers count more as abuse.
		c.pinged, c.quiet = now, true
		c.writable()
		c.out = appendPing(c.out, false, pingAlive)
	}
	if c.pinged == 0 && (c.lastRead > c.answered || now-c.answered > pingPeace) {
		c.quiet = false
	}
	c.probe()
}
