package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

const (
	// frameRate bounds an attack, in frames (or their like) a second: what it
	// takes from the machine must not be what the good client lacks.
	frameRate = 20000
	batch     = frameRate / 100 // a write, every 10 ms
	// dialPause is between two connections of one attacker.
	dialPause = 5 * time.Millisecond
)

// An attacker is one hostile client, and what it has seen.
type attacker struct {
	ctx        context.Context // ends the attack
	addr, host string

	conns, closed atomic.Int64 // connections opened, and ended by the other side
	refused       atomic.Int64 // could not be opened
	frames        atomic.Int64
	mu            sync.Mutex
	goAway        map[http2.ErrCode]int
	reset         map[http2.ErrCode]int
	status        map[string]int
}

func (a *attacker) note(m *map[http2.ErrCode]int, code http2.ErrCode) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if *m == nil {
		*m = map[http2.ErrCode]int{}
	}
	(*m)[code]++
}

func (a *attacker) noteStatus(s string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.status == nil {
		a.status = map[string]int{}
	}
	a.status[s]++
}

func (a *attacker) String() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return fmt.Sprintf("%d frames on %d connections, %d of them closed; GOAWAY %v, RST_STREAM %v, answers %v",
		a.frames.Load(), a.conns.Load(), a.closed.Load(), a.goAway, a.reset, a.status)
}

// errOver ends an attack in time.
var errOver = errors.New("over")

// each opens connections one after the other for abuse, until the attack is
// over. What abuse returns does not matter: that the connection was closed is
// seen on the connection.
func (a *attacker) each(abuse func(net.Conn) error) {
	for a.ctx.Err() == nil {
		conn, err := (&net.Dialer{}).DialContext(a.ctx, "tcp", a.addr)
		if err != nil {
			if a.ctx.Err() == nil {
				a.refused.Add(1)
			}
		} else {
			a.conns.Add(1)
			stop := context.AfterFunc(a.ctx, func() { _ = conn.SetDeadline(time.Now()) })
			if err := abuse(conn); err != nil && a.ctx.Err() == nil {
				a.closed.Add(1)
			}
			stop()
			_ = conn.(*net.TCPConn).SetLinger(0) // no TIME_WAIT: there are many
			_ = conn.Close()
		}
		a.wait(dialPause)
	}
}

func (a *attacker) wait(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.ctx.Done():
	}
}

// An h2 is a hostile client's connection of HTTP/2. Frames are collected and
// written in batches, at frameRate.
type h2 struct {
	*http2.Framer
	a       *attacker
	conn    net.Conn
	out     bytes.Buffer
	pending int
	tick    *time.Ticker
	hpack   *hpack.Encoder
	block   bytes.Buffer
	id      uint32        // of the last stream
	gone    chan struct{} // closed when there is nothing more to read; never of one that does not read
}

// mute says whether a hostile client reads what it is sent.
type mute bool

// h2 abuses connections of HTTP/2, after an exchange of SETTINGS.
func (a *attacker) h2(deaf mute, settings []http2.Setting, abuse func(*h2) error) {
	a.each(func(conn net.Conn) error {
		if deaf {
			_ = conn.(*net.TCPConn).SetReadBuffer(4 << 10)
		}
		c := &h2{a: a, conn: conn, tick: time.NewTicker(time.Second * batch / frameRate), id: 1<<32 - 1, gone: make(chan struct{})}
		defer c.tick.Stop()
		c.Framer = http2.NewFramer(&c.out, conn)
		c.AllowIllegalWrites, c.AllowIllegalReads = true, true
		c.hpack = hpack.NewEncoder(&c.block)
		c.out.WriteString(http2.ClientPreface)
		_ = c.WriteSettings(settings...)
		_ = c.WriteSettingsAck() // nobody minds that it comes early
		if err := c.flush(); err != nil {
			return err
		}
		var reading sync.WaitGroup
		if !deaf {
			reading.Go(func() { defer close(c.gone); c.read() })
		}
		err := abuse(c)
		if err == nil {
			err = c.flush()
		}
		if err != nil && !deaf && a.ctx.Err() == nil {
			// What it said before it closed is still to be read.
			_ = conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
		} else {
			_ = conn.SetReadDeadline(time.Now())
		}
		reading.Wait()
		return err
	})
}

// read notes what comes, until nothing does.
func (c *h2) read() {
	dec := hpack.NewDecoder(4096, func(f hpack.HeaderField) {
		if f.Name == ":status" {
			c.a.noteStatus(f.Value)
		}
	})
	for {
		f, err := c.ReadFrame()
		if err != nil {
			_ = c.conn.SetWriteDeadline(time.Now()) // the abuse ends as well
			return
		}
		switch f := f.(type) {
		case *http2.GoAwayFrame:
			c.a.note(&c.a.goAway, f.ErrCode)
		case *http2.RSTStreamFrame:
			c.a.note(&c.a.reset, f.ErrCode)
		case *http2.HeadersFrame:
			_, _ = dec.Write(f.HeaderBlockFragment())
		}
	}
}

// sent counts a frame that was put into the buffer, and writes when there are
// enough of them.
func (c *h2) sent(err error) error {
	if err != nil {
		return err
	}
	if c.pending++; c.pending < batch && c.out.Len() < 1<<20 {
		return nil
	}
	if err := c.flush(); err != nil {
		return err
	}
	select {
	case <-c.tick.C:
		return nil
	case <-c.a.ctx.Done():
		return errOver
	}
}

func (c *h2) flush() error {
	c.a.frames.Add(int64(c.pending))
	c.pending = 0
	_, err := c.conn.Write(c.out.Bytes())
	c.out.Reset()
	return err
}

// next is a new stream's id.
func (c *h2) next() uint32 { c.id += 2; return c.id }

// request encodes a request's head, with further fields.
func (c *h2) request(method, path string, more ...string) []byte {
	c.block.Reset()
	fields := append([]string{":method", method, ":scheme", "http", ":path", path, ":authority", c.a.host}, more...)
	for i := 0; i < len(fields); i += 2 {
		_ = c.hpack.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(c.block.Bytes())
}

// open sends a whole head on a new stream.
func (c *h2) open(end bool, method, path string) (uint32, error) {
	id := c.next()
	return id, c.sent(c.WriteHeaders(http2.HeadersFrameParam{
		StreamID: id, EndStream: end, EndHeaders: true, BlockFragment: c.request(method, path),
	}))
}

// hold keeps the connection as it is until it is closed or the attack is over.
func (c *h2) hold() error {
	if err := c.flush(); err != nil {
		return err
	}
	select {
	case <-c.a.ctx.Done():
		return errOver
	case <-c.gone:
		return io.EOF
	}
}
