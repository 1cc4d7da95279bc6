package h2

import (
	"net"
	"net/netip"
	"runtime"
	"sync"

	"golang.org/x/net/http2/hpack"

	"github.com/meshd/meshd/sidecar/protocol/socket"
	"github.com/meshd/meshd/sidecar/stats"
)

const (
	readSize  = 64 << 10
	writeSize = 16 << 10
	// outRoom is how much DATA may wait for the kernel on a connection; what
	// is more waits in its stream, whose sender then waits.
	outRoom = 64 << 10
	// outStop is when no more is read of a peer that takes nothing: what we
	// must say to it all the same (acknowledgements, heads) is bounded so.
	outStop = 256 << 10
)

var (
	readBuffers  = sync.Pool{New: func() any { return new([readSize]byte) }}
	writeBuffers = sync.Pool{New: func() any { return new([writeSize]byte) }}
)

// A conn is one HTTP/2 connection: from a client, or to an endpoint. Its
// goroutine lives in the poller's callback; all but what reading needs is
// guarded by the server's lock.
type conn struct {
	socket.Socket
	srv       *Server
	client    bool    // we are the client: it goes to an endpoint
	pool      *shared // of its endpoint
	original  netip.AddrPort
	elsewhere bool
	peer      string // the client's address

	// Reading. in and buf belong to whoever has reading set.
	reading  bool
	again    bool // readable once more while somebody read
	unsure   bool // the last read was short: an end that came with it has had no edge
	first    []byte
	buf      *[readSize]byte
	in       []byte
	preface  bool // has been read
	decoder  *hpack.Decoder
	block    block
	dataID   uint32 // of the DATA frame at hand
	dataLeft int    // bytes of it to come
	padLeft  int
	dataEnd  bool

	// Writing.
	out      []byte
	isDirty  bool
	flushing bool // somebody writes, outside the lock
	stuck    int64
	encoder  *hpack.Encoder
	waiting  []*leg // have DATA, and this connection is what they wait for
	pumping  bool

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

	streams   map[uint32]*leg
	lastID    uint32 // of the peer's streams, or of ours where we are the client
	closedIDs closedIDs

	closing   bool   // closes when out is written
	settleBy  int64  // of an endpoint: its SETTINGS are to come until then
	goingAway bool   // no new streams: we or the peer have said so
	drained   uint64 // draining: 1 after the first GOAWAY, 2 after the second
	calm      calm

	lastRead  int64
	headSince int64 // a head is incomplete since
	idleSince int64
	pinged    int64 // an unanswered PING went out at; 0: none
	quiet     bool  // was pinged since anything else came
}

func newConn(srv *Server, c *net.TCPConn) (*conn, error) {
	k := &conn{
		srv: srv, sendWindow: defaultWindow, window: defaultWindow, frameMax: frameSize,
		streamsMax: streamsBeforeAllowed, recvWindow: defaultWindow, streams: map[uint32]*leg{},
	}
	if err := k.Init(c); err != nil {
		return nil, err
	}
	k.encoder = hpack.NewEncoder((*outWriter)(k))
	k.decoder = hpack.NewDecoder(defaultTable, k.block.emit)
	k.decoder.SetMaxStringLength(srv.Limits.HeaderList)
	k.block.limits = &srv.Limits
	k.calm.tokens = calmMax
	if a, err := netip.ParseAddrPort(c.RemoteAddr().String()); err == nil {
		k.peer = a.Addr().Unmap().String()
	}
	return k, nil
}

// outWriter lets the header encoder write to out.
type outWriter conn

func (w *outWriter) Write(p []byte) (int, error) {
	w.out = append(w.out, p...)
	return len(p), nil
}

// run is the connection's goroutine, from its start to its close.
func (c *conn) run() {
	srv := c.srv
	srv.event(c, func() {
		if srv.closed {
			c.Shut()
			return
		}
		srv.conns[c] = struct{}{}
		if !c.client {
			srv.down++
		}
		c.begin()
	})
	if !c.Dead() {
		_ = c.Raw.Read(c.onReadable)
	}
	c.finish()
}

// begin says what opens a connection, with the lock held.
func (c *conn) begin() {
	l := &c.srv.Limits
	c.lastRead, c.idleSince = c.srv.now, c.srv.now
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

// finish closes the descriptor, when nobody reads or writes any more.
func (c *conn) finish() {
	srv := c.srv
	srv.event(c, func() {
		if !c.Dead() {
			c.fail(problem{0, codeInternal, "the poller has given up"})
		}
		if _, there := srv.conns[c]; there {
			delete(srv.conns, c)
			if !c.client {
				srv.down--
			}
		}
	})
	srv.mu.Lock()
	for c.reading || c.flushing {
		srv.mu.Unlock()
		runtime.Gosched()
		srv.mu.Lock()
	}
	c.release()
	srv.mu.Unlock()
	_ = c.Conn.Close()
}

// release gives the buffers back.
func (c *conn) release() {
	if c.buf != nil {
		readBuffers.Put(c.buf)
		c.buf, c.in = nil, nil
	}
	c.out = nil
}

// onReadable is called when the socket may have something to read, and
// returns true when the goroutine shall leave the poller.
func (c *conn) onReadable(uintptr) bool {
	c.read()
	return c.Dead()
}

// read reads and handles what there is. It never blocks.
func (c *conn) read() {
	srv := c.srv
	srv.enter()
	defer srv.exit(c)
	if c.reading || c.Dead() {
		c.again = true
		return
	}
	c.reading, c.again = true, true
	defer c.doneReading()
	if len(c.first) > 0 { // read before we were
		c.hold()
		c.in = append(c.in, c.first...)
		c.first = nil
		c.handle()
	}
	for c.again && !c.Dead() && len(c.out) < outStop {
		c.again = false
		c.hold()
		room := c.buf[len(c.in):]
		srv.flush()
		srv.mu.Unlock()
		n, err := c.Read(room)
		srv.enter()
		switch {
		case c.Dead():
		case n > 0:
			c.in = c.buf[:len(c.in)+n]
			c.again = c.again || n == len(room)
			c.unsure = !c.again
			c.lastRead = srv.now
			c.handle()
		case err != nil || c.EOF:
			c.lost()
		}
	}
	srv.flush()
}

// doneReading ends read. It runs before the lock is given back.
func (c *conn) doneReading() {
	if len(c.in) == 0 && c.buf != nil {
		readBuffers.Put(c.buf)
		c.buf, c.in = nil, nil
	}
	c.reading = false
}

// hold makes sure that there is a buffer to read into.
func (c *conn) hold() {
	if c.buf == nil {
		c.buf = readBuffers.Get().(*[readSize]byte)
		c.in = c.buf[:0]
	}
}

// handle works on the frames at hand and keeps what is not complete.
func (c *conn) handle() {
	b := c.in
	for !c.Dead() {
		n := c.step(b)
		if n == 0 {
			break
		}
		b = b[n:]
	}
	if c.Dead() {
		b = nil
	}
	c.in = c.buf[:copy(c.buf[:], b)]
}

// writable gets the storage of out.
func (c *conn) writable() {
	if c.out == nil {
		c.out = writeBuffers.Get().(*[writeSize]byte)[:0]
	}
	if !c.isDirty {
		c.isDirty = true
		c.srv.dirty = append(c.srv.dirty, c)
	}
}

// flush writes what there is for every connection that has something, with the
// lock held; it is given back during the system calls.
func (srv *Server) flush() {
	for srv.recycle(); len(srv.dirty) > 0; srv.recycle() {
		c := srv.dirty[len(srv.dirty)-1]
		srv.dirty = srv.dirty[:len(srv.dirty)-1]
		c.isDirty = false
		if !c.flushing {
			c.flush()
		}
	}
}

// flush writes out as far as the kernel takes it, with the lock held.
func (c *conn) flush() {
	srv := c.srv
	c.flushing = true
	for len(c.out) > 0 && !c.Dead() {
		p := c.out
		c.out = nil
		srv.mu.Unlock()
		n, err := c.Write(p)
		srv.mu.Lock()
		switch {
		case c.Dead():
		case err != nil:
			c.lost()
		case n < len(p):
			// What was added in the meantime comes after it.
			c.out = append(append([]byte(nil), p[n:]...), c.out...)
			c.stuck = srv.now
			srv.work.Go(c.await)
			recycle(p)
			return // flushing stays set until await is done
		}
		recycle(p)
	}
	c.flushing = false
	c.unstuck()
}

// recycle gives a write buffer back, unless it has grown.
func recycle(p []byte) {
	if cap(p) == writeSize {
		writeBuffers.Put((*[writeSize]byte)(p[:writeSize]))
	}
}

// await is the goroutine that waits until the kernel takes more.
func (c *conn) await() {
	srv := c.srv
	_ = c.Raw.Write(func(uintptr) (done bool) {
		srv.event(c, func() { done = c.writeMore() })
		return done
	})
	resume := false
	srv.event(c, func() {
		c.flushing = false
		if !c.Dead() {
			c.unstuck()
			resume = !c.reading
		}
	})
	if resume {
		c.read() // it may have been stopped by outStop
	}
}

// writeMore writes what the kernel takes of out, and reports whether there is
// nothing left to wait for.
func (c *conn) writeMore() bool {
	if c.Dead() {
		return true
	}
	n, err := c.Write(c.out)
	if err != nil {
		c.lost()
		return true
	}
	if n > 0 {
		c.stuck = c.srv.now
	}
	c.out = c.out[n:]
	return len(c.out) == 0
}

// unstuck lets the streams that wait for this connection go on.
func (c *conn) unstuck() {
	c.stuck = 0
	if c.closing && !c.Dead() {
		c.bury(stats.ErrNone)
		return
	}
	if len(c.out) == 0 {
		c.out = nil
	}
	if len(c.waiting) > 0 && !c.Dead() {
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
