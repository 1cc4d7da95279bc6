package h2

import (
	"net"
	"runtime"
	"sync"

	"github.com/meshd/meshd/sidecar/protocol/socket"
	"github.com/meshd/meshd/sidecar/stats"
)

const (
	readSize  = 64 << 10
	writeSize = 16 << 10
	bulkSize  = outRoom + 2*frameSize // for more than that
	// outRoom is how much content may wait for the kernel on a connection;
	// what is more waits in its stream, whose sender then waits.
	outRoom = 64 << 10
	// outStop is when no more is read of a peer that takes nothing: what we
	// must say to it all the same (acknowledgements, heads) is bounded so.
	outStop = 256 << 10
)

var (
	readBuffers  = sync.Pool{New: func() any { return new([readSize]byte) }}
	writeBuffers = sync.Pool{New: func() any { return new([writeSize]byte) }}
	bulkBuffers  = sync.Pool{New: func() any { return new([bulkSize]byte) }}
)

// A codec is what a link's bytes mean. All of it is called with the server's
// lock held.
type codec interface {
	begin()               // the link is in service
	handle()              // there is more in in, which it shortens
	paused() bool         // no more is to be read for now; link.resume ends that
	eof()                 // the peer has nothing more to say
	lost()                // the connection is gone
	drained()             // the kernel takes more
	bury(stats.ErrorType) // end everything that goes over the link
	drain()               // take no more calls
	sweep()               // once a second: end what takes too long
}

// A link is a connection's bytes, in and out, whatever its protocol. Its
// goroutine lives in the poller's callback; all but what reading needs is
// guarded by the server's lock.
type link struct {
	socket.Socket
	srv *Server
	k   codec

	// Reading. in and buf belong to whoever has reading set.
	reading bool
	again   bool // readable once more while somebody read
	unsure  bool // the last read was short: an end that came with it has had no edge
	first   []byte
	buf     *[readSize]byte
	in      []byte

	// Writing.
	out      []byte
	isDirty  bool
	flushing bool  // somebody writes, outside the lock
	stuck    int64 // the kernel has taken nothing since
	closing  bool  // closes when out is written

	kept     int // bytes of requests that are kept for further attempts
	lastRead int64
}

func (c *link) init(srv *Server, k codec, nc *net.TCPConn) error {
	c.srv, c.k = srv, k
	return c.Init(nc)
}

// run is the connection's goroutine, from its start to its close.
func (c *link) run() {
	srv := c.srv
	srv.event(c, func() {
		if srv.closed {
			c.Shut()
			return
		}
		srv.links[c] = struct{}{}
		c.lastRead = srv.now
		c.k.begin()
	})
	if !c.Dead() {
		_ = c.Raw.Read(c.onReadable)
	}
	c.finish()
}

// finish closes the descriptor, when nobody reads or writes any more.
func (c *link) finish() {
	srv := c.srv
	srv.event(c, func() {
		if !c.Dead() {
			c.k.lost()
		}
		delete(srv.links, c)
	})
	srv.mu.Lock()
	for c.reading || c.flushing {
		srv.mu.Unlock()
		runtime.Gosched()
		srv.mu.Lock()
	}
	if c.buf != nil {
		readBuffers.Put(c.buf)
		c.buf, c.in = nil, nil
	}
	c.out = nil
	srv.mu.Unlock()
	_ = c.Conn.Close()
}

// onReadable is called when the socket may have something to read, and
// returns true when the goroutine shall leave the poller.
func (c *link) onReadable(uintptr) bool {
	c.read()
	return c.Dead()
}

// read reads and handles what there is. It never blocks.
func (c *link) read() {
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
		c.k.handle()
	} else if len(c.in) > 0 {
		c.hold()
		c.k.handle() // it was paused
	}
	for c.goOn() {
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
			c.k.handle()
		case err != nil:
			c.k.lost()
		case c.EOF:
			c.k.eof()
		case len(c.in) > 0:
			c.k.handle() // it was resumed while we read
		}
	}
}

// goOn reports whether read shall go on. What there is to be written is out
// when it says no: the lock is given back for that, and an edge that came then,
// or the end of a pause, was noticed by nobody else.
func (c *link) goOn() bool {
	may := func() bool { return c.again && !c.Dead() && !c.k.paused() }
	if may() {
		return true
	}
	c.srv.flush()
	return may()
}

// doneReading ends read. It runs before the lock is given back. What is not
// complete is kept in as many bytes as it has: a peer shall not hold a whole
// buffer with the first byte of a frame.
func (c *link) doneReading() {
	if c.buf != nil {
		c.in = append([]byte(nil), c.in...)
		readBuffers.Put(c.buf)
		c.buf = nil
	}
	c.reading = false
}

// resume goes on reading after a pause, in a goroutine of its own since the
// lock is held here.
func (c *link) resume() {
	c.again = true
	if !c.reading && !c.Dead() {
		c.srv.work.Go(c.read)
	}
}

// hold makes sure that there is a buffer to read into.
func (c *link) hold() {
	if c.buf == nil {
		c.buf = readBuffers.Get().(*[readSize]byte)
		c.in = c.buf[:copy(c.buf[:], c.in)]
	}
}

// rest keeps b, the end of in, for the next time.
func (c *link) rest(b []byte) { c.in = c.buf[:copy(c.buf[:], b)] }

// probe looks, now and then, for an end that came along with the last bytes
// and so has had no edge of its own in the poller.
func (c *link) probe() {
	if c.unsure && !c.reading && !c.Dead() {
		c.unsure = false
		if !c.Quiet() {
			c.resume()
		}
	}
}

// writable gets the storage of out, and has it written when the event is over.
func (c *link) writable() {
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
	srv.begin()
	if srv.hedgeFirst < len(srv.hedges) && srv.now >= srv.hedgeLook {
		srv.firstHedges()
	}
	srv.streams()
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
func (c *link) flush() {
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
			c.k.lost()
		case n < len(p):
			// What was added in the meantime comes after it.
			since := c.out
			c.out = append(p[:copy(p, p[n:])], since...)
			recycle(since)
			c.stuck = srv.now
			srv.work.Go(c.await)
			return // flushing stays set until await is done
		}
		recycle(p)
	}
	c.flushing = false
	c.unstuck()
}

// recycle gives a write buffer back, unless it has grown.
func recycle(p []byte) {
	switch cap(p) {
	case writeSize:
		writeBuffers.Put((*[writeSize]byte)(p[:writeSize]))
	case bulkSize:
		bulkBuffers.Put((*[bulkSize]byte)(p[:bulkSize]))
	}
}

// roomFor makes out large enough for n bytes more, up to what a connection is
// to have waiting for the kernel.
func (c *link) roomFor(n int) {
	c.writable()
	if was := c.out; cap(was) == writeSize && len(was)+n > writeSize && len(was)+n <= bulkSize {
		c.out = append(bulkBuffers.Get().(*[bulkSize]byte)[:0], was...)
		recycle(was)
	}
}

// await is the goroutine that waits until the kernel takes more.
func (c *link) await() {
	srv := c.srv
	_ = c.Raw.Write(func(uintptr) (done bool) {
		srv.event(c, func() { done = c.writeMore() })
		return done
	})
	srv.event(c, func() {
		c.flushing = false
		switch {
		case c.Dead():
		case len(c.out) > 0:
			c.writable() // it came since, and who brought it left it to us
		default:
			c.unstuck()
		}
	})
}

// writeMore writes what the kernel takes of out, and reports whether there is
// nothing left to wait for.
func (c *link) writeMore() bool {
	if c.Dead() {
		return true
	}
	n, err := c.Write(c.out)
	if err != nil {
		c.k.lost()
		return true
	}
	if n > 0 {
		c.stuck = c.srv.now
	}
	c.out = c.out[:copy(c.out, c.out[n:])]
	return len(c.out) == 0
}

// unstuck follows the writing of everything.
func (c *link) unstuck() {
	c.stuck = 0
	if len(c.out) == 0 {
		recycle(c.out)
		c.out = nil
	}
	switch {
	case c.Dead():
	case c.closing:
		c.k.bury(stats.ErrNone)
	default:
		c.k.drained()
		if c.again && !c.reading && !c.k.paused() { // it was paused for what was to be written
			c.resume()
		}
	}
}

// closeAfter closes the connection once what is to be written has gone.
func (c *link) closeAfter() {
	c.closing = true
	c.writable()
}
