package h2

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// A wire is one end of an HTTP/2 connection by hand. Its methods are for one
// goroutine, but for those that send, which are for any.
type wire struct {
	t  testing.TB
	c  *net.TCPConn
	in *http2.Framer

	mu   sync.Mutex // guards what follows, and writing
	out  []byte
	enc  *hpack.Encoder
	head bytes.Buffer
	hold bool // collect what is sent until flush

	mute   bool // do not answer SETTINGS and PING
	quota  bool // give no window back
	window int  // initial one of the peer's streams, by its SETTINGS
}

// An event is a frame that came.
type event struct {
	typ    http2.FrameType
	flags  http2.Flags
	id     uint32
	end    bool
	fields []hpack.HeaderField
	data   []byte // of DATA, PING, GOAWAY
	code   http2.ErrCode
	n      uint32 // of WINDOW_UPDATE; the last stream of GOAWAY
	sets   map[http2.SettingID]uint32
	more   int // by which SETTINGS changes the windows of all streams
}

func (e event) field(name string) string {
	for _, f := range e.fields {
		if f.Name == name {
			return f.Value
		}
	}
	return ""
}

func (e event) status() string { return e.field(":status") }

func (e event) String() string {
	return fmt.Sprintf("%v %d end=%v %v %d bytes, %v", e.typ, e.id, e.end, e.fields, len(e.data), e.code)
}

func newWire(t testing.TB, c net.Conn) *wire {
	p := &wire{t: t, c: c.(*net.TCPConn), in: http2.NewFramer(io.Discard, c), window: defaultWindow}
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	p.in.ReadMetaHeaders = hpack.NewDecoder(defaultTable, nil)
	p.in.MaxHeaderListSize = 1 << 20
	p.enc = hpack.NewEncoder(&p.head)
	return p
}

// wire is a client of the relay; it has sent its preface and these settings,
// as pairs of id and value.
func (r *rig) wire(settings ...uint32) *wire {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = c.Close() })
	p := newWire(r.t, c)
	p.send([]byte(preface), appendSettings(nil, settings...))
	return p
}

// scripted is an endpoint that gives every frame of its connections to f, one
// after the other in each; but for SETTINGS, which it answers. f is told of a
// new connection by an event of type 0xff.
func scripted(t testing.TB, settings []uint32, f func(p *wire, e event)) string {
	t.Helper()
	return accepting(t, func(c net.Conn) {
		p := newWire(t, c)
		hello := make([]byte, len(preface))
		if _, err := io.ReadFull(c, hello); err != nil || string(hello) != preface {
			return
		}
		p.send(appendSettings(nil, settings...))
		f(p, event{typ: 0xff})
		for {
			_ = c.SetDeadline(time.Now().Add(20 * time.Second)) // a fuzzer uses it for longer in all
			e, err := p.read()
			if err != nil {
				return
			}
			f(p, e)
		}
	})
}

// accepting gives accepted connections to f, each in a goroutine.
func accepting(t testing.TB, f func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	var mu sync.Mutex
	conns := map[net.Conn]bool{}
	closed := false
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			conns[c] = true
			if closed {
				_ = c.Close()
			}
			mu.Unlock()
			work.Go(func() {
				f(c)
				_ = c.Close()
				mu.Lock()
				delete(conns, c)
				mu.Unlock()
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		mu.Lock()
		closed = true
		for c := range conns {
			_ = c.Close()
		}
		mu.Unlock()
		work.Wait()
	})
	return l.Addr().String()
}

// closedPort is an address where nobody listens.
func closedPort(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// send writes frames, in one write.
func (p *wire) send(frames ...[]byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range frames {
		p.out = append(p.out, f...)
	}
	if !p.hold {
		p.flushLocked()
	}
}

func (p *wire) flushLocked() {
	_, _ = p.c.Write(p.out)
	p.out = p.out[:0]
}

// batch sends what f sends in one write.
func (p *wire) batch(f func()) {
	p.mu.Lock()
	p.hold = true
	p.mu.Unlock()
	f()
	p.mu.Lock()
	p.hold = false
	p.flushLocked()
	p.mu.Unlock()
}

// headers sends a head, or trailers, of name, value pairs.
func (p *wire) headers(id uint32, end bool, pairs ...string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.head.Reset()
	for i := 0; i < len(pairs); i += 2 {
		_ = p.enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
	}
	block := p.head.Bytes()
	flags, typ := byte(0), byte(frameHeaders)
	if end {
		flags = flagEndStream
	}
	for first := true; first || len(block) > 0; first = false {
		n := min(len(block), frameSize)
		if n == len(block) {
			flags |= flagEndHeaders
		}
		p.out = append(appendFrame(p.out, n, typ, flags, id), block[:n]...)
		block, flags, typ = block[n:], 0, frameContinuation
	}
	if !p.hold {
		p.flushLocked()
	}
}

// request sends a request's head with further fields.
func (p *wire) request(id uint32, end bool, method, path string, more ...string) {
	p.headers(id, end, append([]string{":method", method, ":scheme", "http", ":authority", "test", ":path", path}, more...)...)
}

func (p *wire) get(id uint32, path string, more ...string) { p.request(id, true, "GET", path, more...) }

// rpc sends the head of a gRPC call.
func (p *wire) rpc(id uint32, end bool, more ...string) {
	p.request(id, end, "POST", "/s.S/M", append([]string{"content-type", "application/grpc", "te", "trailers"}, more...)...)
}

// answer sends a whole answer.
func (p *wire) answer(id uint32, status string, body string) {
	p.headers(id, body == "", ":status", status)
	if body != "" {
		p.data(id, body, true)
	}
}

func (p *wire) data(id uint32, content string, end bool) {
	flags := byte(0)
	if end {
		flags = flagEndStream
	}
	for first := true; first || content != ""; first = false {
		n := min(len(content), frameSize)
		f := flags
		if n < len(content) {
			f = 0
		}
		p.send(appendFrame(nil, n, frameData, f, id), []byte(content[:n]))
		content = content[n:]
	}
}

func (p *wire) reset(id uint32, c code) { p.send(appendReset(nil, id, c)) }

func (p *wire) credit(id uint32, n int) { p.send(appendWindow(nil, id, n)) }

func (p *wire) goAway(last uint32, c code) { p.send(appendGoAway(nil, last, c, "")) }

// read reads a frame, and gives windows back, acknowledges SETTINGS and
// answers PING on the way.
func (p *wire) read() (event, error) {
	f, err := p.in.ReadFrame()
	if err != nil {
		return event{}, err
	}
	h := f.Header()
	e := event{typ: h.Type, flags: h.Flags, id: h.StreamID}
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		e.fields, e.end = f.Fields, f.StreamEnded()
	case *http2.DataFrame:
		e.data, e.end = bytes.Clone(f.Data()), f.StreamEnded()
		if !p.quota && h.Length > 0 {
			p.send(appendWindow(nil, 0, int(h.Length)))
			if !e.end {
				p.send(appendWindow(nil, h.StreamID, int(h.Length)))
			}
		}
	case *http2.RSTStreamFrame:
		e.code = f.ErrCode
	case *http2.GoAwayFrame:
		e.code, e.n, e.data = f.ErrCode, f.LastStreamID, bytes.Clone(f.DebugData())
	case *http2.WindowUpdateFrame:
		e.n = f.Increment
	case *http2.PingFrame:
		e.data = bytes.Clone(f.Data[:])
		if !f.IsAck() && !p.mute {
			p.send(appendPing(nil, true, binary.BigEndian.Uint64(f.Data[:])))
		}
	case *http2.SettingsFrame:
		if f.IsAck() {
			break
		}
		e.sets = map[http2.SettingID]uint32{}
		_ = f.ForeachSetting(func(s http2.Setting) error { e.sets[s.ID] = s.Val; return nil })
		if w, ok := e.sets[http2.SettingInitialWindowSize]; ok {
			e.more = int(w) - p.window
			p.window = int(w)
		}
		if !p.mute {
			p.send(appendFrame(nil, 0, frameSettings, flagAck, 0))
		}
	}
	return e, nil
}

// next is the next frame that is about a stream, or GOAWAY.
func (p *wire) next() event {
	p.t.Helper()
	for {
		e, err := p.read()
		if err != nil {
			p.t.Fatalf("a frame was expected: %v", err)
		}
		switch e.typ {
		case http2.FrameData, http2.FrameHeaders, http2.FrameRSTStream, http2.FrameGoAway:
			return e
		}
	}
}

// whole reads a whole answer to stream id; others must not say anything. Its
// last frame is trailers, whatever it is.
func (p *wire) whole(id uint32) (head event, body string, trailers event) {
	p.t.Helper()
	head = p.next()
	if head.typ != http2.FrameHeaders || head.id != id {
		p.t.Fatalf("a head on stream %d was expected, not %v", id, head)
	}
	trailers = head
	var b strings.Builder
	for e := head; !e.end; {
		e = p.next()
		if e.id != id || e.typ != http2.FrameData && e.typ != http2.FrameHeaders {
			p.t.Fatalf("content on stream %d was expected, not %v", id, e)
		}
		b.Write(e.data)
		trailers = e
	}
	return head, b.String(), trailers
}

// wantReset reads until a reset of the stream.
func (p *wire) wantReset(id uint32) http2.ErrCode {
	p.t.Helper()
	for {
		e := p.next()
		if e.typ == http2.FrameRSTStream && e.id == id {
			return e.code
		}
		if e.typ == http2.FrameGoAway {
			p.t.Fatalf("a reset of stream %d was expected, not %v", id, e)
		}
	}
}

// last reads until the relay closes the connection, and returns the code of
// its GOAWAY; false where none came, since a close that discards what was not
// read may destroy it.
func (p *wire) last() (why code, text string, said bool) {
	p.t.Helper()
	for {
		e, err := p.read()
		if err != nil {
			if ne, ok := err.(net.Error); ok && ne.Timeout() {
				p.t.Fatal("the connection was not closed")
			}
			return why, text, said
		}
		if e.typ == http2.FrameGoAway {
			why, text, said = code(e.code), string(e.data), true
		}
	}
}
