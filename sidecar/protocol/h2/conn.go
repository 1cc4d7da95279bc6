package h2

import (
	"net"
	"net/netip"

	"golang.org/x/net/http2/hpack"

	"github.com/meshd/meshd/sidecar/protocol/socket"
)

// A conn is one HTTP/2 connection: from a client, or to an endpoint. Its
// goroutine lives in the poller's callback; all but what reading needs is
// guarded by the server's lock.
type conn struct {
	link
	client    bool    // we are the client: it goes to an endpoint
	pool      *shared // of its endpoint
	original  netip.AddrPort
	elsewhere bool
	peer      string // the client's address

	// Reading.
	preface  bool // has been read
	decoder  *hpack.Decoder
	block    block
	dataID   uint32 // of the DATA frame at hand
	dataLeft int    // bytes of it to come
	padLeft  int
	dataEnd  bool

	// Writing.
	encoder *hpack.Encoder
	waiting []*leg // have DATA, and this connection is what they wait for
	pumping bool

	// What the peer allows.
	settled    bool // its SETTINGS came
	sendWindow int64
	window     int64 // initial one of streams
	frameMax   int
	streamsMax int
	connect    bool // SETTINGS_ENABLE_CONNECT_PROTOCOL

	// What we allow.
	recvWindow int64
	uncredited int
	held       int // bytes that its streams have waiting in us
	tight      bool

	streams   map[uint32]*leg
	lastID    uint32 // of the peer's streams, or of ours where we are the client
	closedIDs closedIDs

	settleBy  int64  // of an endpoint: its SETTINGS are to come until then
	goingAway bool   // no new streams: we or the peer have said so
	lastSaid  uint32 // by the second
	calmed    bool   // an endpoint has had too much of it, for which no single call is to blame
	left      uint8  // draining: 1 after the first GOAWAY, 2 after the second
	calm      calm

	born      int64
	headSince int64 // a head is incomplete since
	partSince int64 // a frame other than DATA is incomplete since; 0: none is
	muted     int64 // nothing more is read since, for abuse; 0: it is
	idleSince int64
	pinged    int64 // an unanswered PING went out at; 0: none
	answered  int64 // the last PING's answer came at
	quiet     bool  // was pinged since anything else came
}

func newConn(srv *Server, c *net.TCPConn) (*conn, error) {
	k := &conn{
		sendWindow: defaultWindow, window: defaultWindow, frameMax: frameSize,
		streamsMax: streamsUnsaid, recvWindow: defaultWindow, streams: map[uint32]*leg{},
	}
	if err := k.init(srv, k, c); err != nil {
		return nil, err
	}
	k.encoder = hpack.NewEncoder((*outWriter)(k))
	k.decoder = hpack.NewDecoder(defaultTable, k.block.emit)
	k.decoder.SetMaxStringLength(srv.Limits.HeaderList)
	k.block.limits = &srv.Limits
	k.calm = newCalm(&srv.Limits)
	k.peer = socket.PeerOf(c)
	return k, nil
}

// outWriter lets the header encoder write to out.
type outWriter conn

func (w *outWriter) Write(p []byte) (int, error) {
	w.out = append(w.out, p...)
	return len(p), nil
}

// begin says what opens a connection, with the lock held.
func (c *conn) begin() {
	l := &c.srv.Limits
	c.born, c.idleSince = c.srv.now, c.srv.now
	c.writable()
	if c.client {
		c.out = append(c.out, preface...)
		c.out = appendSettings(c.out, settingPush, 0, settingWindow, uint32(l.Window), settingHeaderList, uint32(l.HeaderList))
	} else {
		c.out = appendSettings(c.out, settingStreams, uint32(l.Streams), settingWindow, uint32(l.Window),
			settingHeaderList, uint32(l.HeaderList), settingConnect, 1, settingNoPriority, 1)
		if c.srv.draining {
			c.drain()
		}
	}
	c.out = appendWindow(c.out, 0, connWindow-defaultWindow)
	c.recvWindow = connWindow
}

// turn is after how many frames the lock is given to others who wait for it: a
// peer may send thousands in one go, and each may be a call.
const turn = 128

// handle works on the frames at hand and keeps what is not complete.
func (c *conn) handle() {
	b := c.in
	for frames := 1; !c.Dead() && c.muted == 0; frames++ {
		n := c.step(b)
		if n == 0 {
			break
		}
		if b = b[n:]; frames%turn == 0 {
			c.srv.flush()
			c.srv.mu.Unlock()
			c.srv.enter()
		}
	}
	if c.Dead() || c.muted != 0 {
		b = nil
	}
	switch {
	case len(b) == 0 || c.dataLeft > 0:
		c.partSince = 0
	case c.partSince == 0 || len(b) < len(c.in):
		c.partSince = c.srv.now
	}
	c.rest(b)
}

func (c *conn) paused() bool { return len(c.out) >= outStop || c.muted != 0 }

func (c *conn) eof() { c.lost() }

// drained lets the streams that wait for this connection go on.
func (c *conn) drained() {
	if c.client && len(c.pool.queue) > 0 {
		c.pool.serve()
	}
	if len(c.waiting) > 0 {
		c.pump()
	}
}

// pump sends DATA of the streams that wait for this connection, a frame's
// worth of each in turn, while it takes more.
func (c *conn) pump() {
	if c.pumping {
		return
	}
	c.pumping = true
	for len(c.waiting) > 0 && c.sendWindow > 0 && len(c.out) < outRoom && !c.Dead() {
		l := c.waiting[0]
		c.waiting = c.waiting[1:]
		l.waits = false
		l.s.move(l)
	}
	if len(c.waiting) == 0 {
		c.waiting = nil
	}
	c.pumping = false
}
