package h2

import (
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/xds/resource"

	"golang.org/x/net/http2"
)

// chatty is a codec with more to say than may wait, to whatever it reads.
type chatty struct {
	link
	got int
}

func (c *chatty) begin() {}
func (c *chatty) handle() {
	c.got += len(c.in)
	c.rest(nil)
	c.writable()
	c.out = append(c.out, make([]byte, outStop)...)
}
func (c *chatty) paused() bool         { return len(c.out) >= outStop }
func (c *chatty) eof()                 { c.lost() }
func (c *chatty) lost()                { c.bury(stats.ErrNone) }
func (c *chatty) drained()             {}
func (c *chatty) bury(stats.ErrorType) { c.Shut() }
func (c *chatty) drain()               {}
func (c *chatty) sweep()               {}

// Reading that was paused goes on once what there was to be written is out,
// whoever wrote it.
func TestPausedReadingGoesOn(t *testing.T) {
	r := newRig(t, options{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	peer, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	// All of it is there before the first read: no other edge will come.
	const size = 4 * readSize
	if _, err := peer.Write(make([]byte, size)); err != nil {
		t.Fatal(err)
	}
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := &chatty{}
	if err := c.init(r.srv, c, nc.(*net.TCPConn)); err != nil {
		t.Fatal(err)
	}
	r.srv.work.Go(c.run)
	_ = peer.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.CopyN(io.Discard, peer, size/readSize*outStop); err != nil {
		r.srv.mu.Lock()
		defer r.srv.mu.Unlock()
		t.Fatalf("%d of %d bytes were read: %v", c.got, size, err)
	}
}

// SETTINGS_INITIAL_WINDOW_SIZE that makes a window too large ends the
// connection (RFC 9113 section 6.9.2).
func TestReviewInitialWindowOverflow(t *testing.T) {
	r := newRig(t, options{}, scripted(t, nil, func(*wire, event) {}))
	p := r.wire()
	p.request(1, false, "POST", "/")
	p.credit(1, maxWindow-defaultWindow)
	p.send(appendSettings(nil, settingWindow, defaultWindow+1))
	for {
		e, err := p.read()
		if err != nil {
			t.Fatal("no GOAWAY: ", err)
		}
		if e.typ == frameGoAway {
			if code(e.code) != codeFlowControl {
				t.Fatal(e)
			}
			return
		}
	}
}

// A stream that ended while its trailers came in parts is not opened again.
func TestReviewTrailersOfEndedStream(t *testing.T) {
	begun := make(chan struct{})
	release := sync.OnceFunc(func() { close(begun) })
	r := newRig(t, options{}, scripted(t, nil, func(p *wire, e event) {
		if e.typ == frameHeaders && !e.end {
			<-begun
			p.answer(e.id, "204", "")
		}
	}))
	t.Cleanup(release)
	p := r.wire()
	p.request(1, false, "POST", "/")
	p.send(appendPing(nil, false, 1))
	for typ := http2.FrameType(0xff); typ != framePing; { // SETTINGS were acknowledged, which may not stand within a head
		e, err := p.read()
		if err != nil {
			t.Fatal(err)
		}
		typ = e.typ
	}
	p.send(appendFrame(nil, 0, frameHeaders, flagEndStream, 1)) // trailers, to be continued
	eventually(t, "the trailers have begun", func() bool {
		r.srv.mu.Lock()
		defer r.srv.mu.Unlock()
		for l := range r.srv.links {
			if c, ok := l.k.(*conn); ok && !c.client && c.block.stream == 1 {
				return true
			}
		}
		return false
	})
	release()
	for {
		e, err := p.read()
		if err != nil {
			t.Fatal(err)
		}
		switch {
		case e.typ == frameHeaders: // answered, and ended: what was begun crosses it
			p.send(appendFrame(nil, 0, frameContinuation, flagEndHeaders, 1))
			p.send(appendPing(nil, false, 7))
		case e.typ == framePing:
			if n := r.stats.Malformed.Value(); n != 0 {
				t.Fatal("the stream was opened again")
			}
			return
		}
	}
}

// A connection that had something to say while it was idle is not given to a
// call, and does not stay open for nobody.
func TestReviewDroppedConnectionCloses(t *testing.T) {
	r := newRig(t, options{}, scripted(t, nil, func(p *wire, e event) {
		if e.typ == frameHeaders {
			p.answer(e.id, "200", "")
		}
	}))
	p := r.wire()
	upstream := func(f func(*conn)) (n int) {
		r.srv.mu.Lock()
		defer r.srv.mu.Unlock()
		for l := range r.srv.links {
			if c, ok := l.k.(*conn); ok && c.client {
				n++
				f(c)
			}
		}
		return n
	}
	for i := range 2 {
		p.get(uint32(2*i+1), "/")
		for {
			e, err := p.read()
			if err != nil {
				t.Fatal(err)
			}
			if e.typ == frameHeaders {
				break
			}
		}
		upstream(func(c *conn) { // as join leaves one of which it is not sure
			c.pool.drop(c)
			c.goingAway = true
		})
	}
	upstream(func(c *conn) { go r.srv.event(&c.link, c.sweep) })
	eventually(t, "it closes", func() bool { return upstream(func(*conn) {}) == 0 })
}

// An endpoint that sends interim answers without end fills no memory for a
// client that reads nothing.
func TestReviewInterimFlood(t *testing.T) {
	sent := make(chan bool)
	r := newRig(t, options{}, scripted(t, nil, func(p *wire, e event) {
		if e.typ == frameHeaders {
			for range 200 {
				p.batch(func() {
					for range 100 {
						p.headers(e.id, false, ":status", "103", "link", strings.Repeat("x", 3000))
					}
				})
			}
			close(sent)
		}
	}))
	p := r.wire()
	p.get(1, "/")
	<-sent
	r.srv.mu.Lock()
	defer r.srv.mu.Unlock()
	for l := range r.srv.links {
		if len(l.out) > outStop+writeSize {
			t.Errorf("%d bytes wait", len(l.out))
		}
	}
}

// Content of an answer that may have none ends the stream before it reaches
// the client.
func TestReviewContentOfHead(t *testing.T) {
	r := newRig(t, options{}, scripted(t, nil, func(p *wire, e event) {
		if e.typ == frameHeaders {
			p.headers(e.id, false, ":status", "200", "content-length", "5")
			p.data(e.id, "HTTP/", true)
		}
	}))
	p := r.wire()
	p.request(1, true, "HEAD", "/")
	for {
		e, err := p.read()
		if err != nil {
			t.Fatal(err)
		}
		switch e.typ {
		case frameData:
			t.Fatal(e)
		case frameReset:
			return
		}
	}
}

// Content of a byte does not pay for resets.
func TestReviewCheapResets(t *testing.T) {
	r := newRig(t, options{}, scripted(t, nil, func(*wire, event) {}))
	p := r.wire()
	go func() {
		for id := uint32(1); id < 2*5000; id += 2 {
			p.batch(func() {
				p.request(id, false, "POST", "/")
				p.data(id, "x", false)
				p.data(id, "x", false)
				p.data(id, "x", false)
				p.reset(id, codeCancel)
			})
		}
	}()
	for {
		e, err := p.read()
		if err != nil {
			t.Fatal("it was not told to calm down: ", err)
		}
		if e.typ == frameGoAway {
			if code(e.code) != codeCalm {
				t.Fatal(e)
			}
			return
		}
	}
}

// An answer of our own that a client does not take ends all the same.
func TestReviewOwnAnswerNotTaken(t *testing.T) {
	r := newRig(t, options{limits: Limits{StreamIdle: 10 * time.Millisecond}})
	p := r.wire(settingWindow, 0)
	p.get(1, "/")
	for {
		e, err := p.read()
		if err != nil {
			t.Fatal(err)
		}
		if e.typ == frameReset {
			return
		}
	}
}

// A client that gives the window back as often as Go's do is no abuse.
func TestReviewDownload(t *testing.T) {
	const size = 128 << 20
	r := newRig(t, options{}, backend(t, func(w http.ResponseWriter, req *http.Request) {
		for b := make([]byte, 64<<10); ; {
			if _, err := w.Write(b); err != nil {
				return
			}
		}
	}))
	res, err := r.client().Get("http://test/")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	// 5 KiB a read: each gives the windows back.
	if n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.LimitReader(res.Body, size), make([]byte, 5<<10)); n != size || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

// A client that takes nothing of many answers holds up no other client, whose
// calls go over the same connection to the endpoint.
func TestReviewGreedyClient(t *testing.T) {
	block := make([]byte, 64<<10)
	r := newRig(t, options{}, backend(t, func(w http.ResponseWriter, req *http.Request) {
		for range 16 {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}))
	p := r.wire()
	p.quota = true
	for i := range 100 {
		p.get(uint32(2*i+1), "/")
	}
	upstream := func(f func(*conn) bool) (found bool) {
		r.srv.mu.Lock()
		defer r.srv.mu.Unlock()
		for l := range r.srv.links {
			if c, ok := l.k.(*conn); ok && c.client {
				found = found || f(c)
			}
		}
		return found
	}
	eventually(t, "something waits", func() bool { return upstream(func(c *conn) bool { return c.held > r.srv.Limits.Held/2 }) })
	c := r.client()
	c.Timeout = 5 * time.Second
	for i := range 20 {
		res, err := c.Get("http://test/")
		if err != nil {
			t.Fatal(i, err)
		}
		n, err := io.Copy(io.Discard, res.Body)
		if err != nil || n != 1<<20 {
			t.Fatal(i, n, err)
		}
		_ = res.Body.Close()
	}
	if upstream(func(c *conn) bool { return c.held > r.srv.Limits.Held+2*connWindow }) {
		t.Error("too much waits")
	}
	_ = p.c.Close()
	eventually(t, "it is tight no more", func() bool {
		return !upstream(func(c *conn) bool { return c.held != 0 || c.tight && len(c.streams) > 0 })
	})
}

// What a client does not do is held against no endpoint.
func TestReviewNoVerdict(t *testing.T) {
	r := newRig(t, options{route: resource.Route{Timeout: 20 * time.Millisecond}, cluster: resource.Cluster{Protocol: resource.ProtocolHTTP2}}, scripted(t, nil, func(*wire, event) {}))
	p := r.wire()
	p.request(1, false, "POST", "/")                                                   // and no content
	p.headers(3, false, ":method", "CONNECT", ":scheme", "http", ":authority", "test", // an endpoint that has not said it
		":path", "/", ":protocol", "websocket") // takes it
	for answers := 0; answers < 2; {
		e, err := p.read()
		if err != nil {
			t.Fatal(err)
		}
		if e.typ == frameHeaders {
			answers++
		}
	}
	for _, ep := range r.cluster.Endpoints() {
		if n := ep.Failures.Load(); n != 0 {
			t.Errorf("%d failures", n)
		}
	}
}

// The forwarding field is one, the client's values before ours, as HTTP/1.1
// has it: many applications look at one line.
func TestReviewForwardedOnce(t *testing.T) {
	r := newRig(t, options{route: resource.Route{Forwarded: resource.ForwardedX}}, scripted(t, nil, func(p *wire, e event) {
		if e.typ == frameHeaders {
			all := ""
			for _, f := range e.fields {
				if strings.HasPrefix(f.Name, "x-forwarded") {
					all += f.Name + "=" + f.Value + ";"
				}
			}
			p.headers(e.id, true, ":status", "200", "x-all", all)
		}
	}))
	p := r.wire()
	p.get(1, "/", "x-forwarded-for", "1.2.3.4", "x-forwarded-proto", "https", "x-forwarded-for", "5.6.7.8")
	for {
		e, err := p.read()
		if err != nil {
			t.Fatal(err)
		}
		if e.typ == frameHeaders {
			if got, want := e.field("x-all"), "x-forwarded-for=1.2.3.4, 5.6.7.8, 127.0.0.1;x-forwarded-proto=http;"; got != want {
				t.Errorf("%s, not %s", got, want)
			}
			return
		}
	}
}

// What an HTTP/1.1 endpoint says beyond its answer is not the answer to the
// next call.
func TestReviewBeyondTheAnswer(t *testing.T) {
	r := newRig(t, options{cluster: resource.Cluster{Protocol: resource.ProtocolHTTP1}}, accepting(t, func(c net.Conn) {
		b := make([]byte, 4096)
		for {
			if _, err := c.Read(b); err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nX-Not: yours\r\nContent-Length: 0\r\n\r\n")
		}
	}))
	c := r.client()
	for range 3 {
		res, err := c.Get("http://test/")
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.Header.Get("X-Not") != "" || string(b) != "ok" || err != nil {
			t.Fatal(res.Header, string(b), err)
		}
	}
}

// What is kept of requests for further attempts is bounded for a client, not
// for a stream alone.
func TestReviewKept(t *testing.T) {
	got := make(chan int, 10000)
	r := newRig(t, options{
		route:  resource.Route{Retry: resource.Retry{Attempts: 1, BufferBytes: 32 << 10}},
		limits: Limits{Held: 64 << 10},
	}, scripted(t, nil, func(p *wire, e event) {
		if e.typ == frameData {
			got <- len(e.data)
		}
	}))
	p := r.wire()
	const streams, size = 20, 20 << 10
	for i := range uint32(streams) {
		p.request(2*i+1, false, "PUT", "/")
		p.data(2*i+1, strings.Repeat("x", size), false)
	}
	for n := 0; n < streams*size; {
		n += <-got
	}
	r.srv.mu.Lock()
	total := 0
	var down *link
	for l := range r.srv.links {
		if c, ok := l.k.(*conn); ok && !c.client {
			down = l
			for _, leg := range c.streams {
				total += len(leg.s.kept)
			}
		}
	}
	if total != down.kept || total == 0 || total > 64<<10 {
		t.Errorf("%d bytes are kept, and counted as %d", total, down.kept)
	}
	r.srv.mu.Unlock()
	_ = p.c.Close()
	eventually(t, "no stream is left", func() bool { return r.srv.active.Load() == 0 })
	r.srv.mu.Lock()
	defer r.srv.mu.Unlock()
	if down.kept != 0 {
		t.Errorf("%d bytes are counted that nobody keeps", down.kept)
	}
}

// An answer with a field larger than is taken ends its own call alone.
func TestReviewLargeField(t *testing.T) {
	hold := make(chan bool)
	r := newRig(t, options{}, scripted(t, nil, func(p *wire, e event) {
		switch {
		case e.typ != frameHeaders:
		case e.field(":path") == "/large":
			p.headers(e.id, true, ":status", "200", "x", strings.Repeat("\x7e", 40<<10))
		default:
			go func() { // answers when the other is over
				<-hold
				p.answer(e.id, "200", "")
			}()
		}
	}))
	p := r.wire()
	p.get(1, "/")
	p.get(3, "/large")
	for answers := 0; answers < 2; {
		e, err := p.read()
		if err != nil {
			t.Fatal(err)
		}
		if e.typ != frameHeaders {
			continue
		}
		want := map[uint32]string{1: "200", 3: "502"}[e.id]
		if e.status() != want {
			t.Error(e)
		}
		if answers++; answers == 1 {
			close(hold)
		}
	}
}
