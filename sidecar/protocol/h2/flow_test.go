package h2

import (
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/meshd/meshd/internal/testkit/race"
)

// pouring is an endpoint that answers with size bytes, as far as windows allow.
func pouring(t testing.TB, size int) string {
	type state struct {
		conn int
		left map[uint32]int
		win  map[uint32]int
	}
	conns := map[*wire]*state{}
	var mu chan struct{} = make(chan struct{}, 1)
	chunk := strings.Repeat("0123456789abcdef", frameSize/16)
	return scripted(t, nil, func(p *wire, e event) {
		mu <- struct{}{}
		defer func() { <-mu }()
		s := conns[p]
		if s == nil {
			s = &state{conn: defaultWindow, left: map[uint32]int{}, win: map[uint32]int{}}
			conns[p] = s
		}
		switch e.typ {
		case http2.FrameHeaders:
			s.left[e.id], s.win[e.id] = size, p.window
			p.headers(e.id, false, ":status", "200")
		case http2.FrameWindowUpdate:
			if e.id == 0 {
				s.conn += int(e.n)
			} else if _, ok := s.win[e.id]; ok {
				s.win[e.id] += int(e.n)
			}
		case http2.FrameSettings:
			for id := range s.win {
				s.win[id] += e.more
			}
		case http2.FrameRSTStream:
			delete(s.left, e.id)
		default:
			return
		}
		for more := true; more; {
			more = false
			for id, left := range s.left {
				n := min(left, s.win[id], s.conn, frameSize)
				if n <= 0 {
					continue
				}
				more = true
				s.left[id] -= n
				s.win[id] -= n
				s.conn -= n
				p.data(id, chunk[:n], s.left[id] == 0)
				if s.left[id] == 0 {
					delete(s.left, id)
					delete(s.win, id)
				}
			}
		}
	})
}

// A client that takes nothing on a stream delays no other of its connection,
// and what waits for it in us is bounded by the stream's window.
func TestStalledStream(t *testing.T) {
	const window = 64 << 10
	r := newRig(t, options{limits: Limits{Window: window}}, pouring(t, 1<<20))
	p := r.wire()
	p.get(1, "/")
	p.quota = true // and gives nothing back
	got := 0
	for got < defaultWindow {
		got += len(p.next().data)
	}
	p.quota = false
	p.credit(0, got)
	for id := uint32(3); id < 23; id += 2 {
		p.get(id, "/")
		if _, body, _ := p.whole(id); len(body) != 1<<20 {
			t.Fatalf("stream %d: %d bytes", id, len(body))
		}
	}
	if n := r.waiting(); n > window {
		t.Errorf("%d bytes wait", n)
	}
	// It goes on where it was.
	p.credit(1, 1<<20)
	for {
		e := p.next()
		if got += len(e.data); e.end {
			break
		}
	}
	if got != 1<<20 {
		t.Errorf("%d bytes", got)
	}
	r.want(counts{"200": 11}, nil, 0)
}

// waiting is how many bytes wait in the server's legs, by its connections'
// own count.
func (r *rig) waiting() (n int) {
	r.srv.mu.Lock()
	defer r.srv.mu.Unlock()
	for l := range r.srv.links {
		if c, ok := l.k.(*conn); ok {
			held := 0
			for _, leg := range c.streams {
				held += len(leg.in)
			}
			if held > c.held {
				r.t.Errorf("%d bytes wait, and %d are counted", held, c.held)
			}
			n += c.held
		}
	}
	return n
}

// What a client sends is passed on as the endpoint's windows allow: no byte
// more, at whatever size, and it goes on when they open.
func TestWindowsOfAnEndpoint(t *testing.T) {
	const size = 3000
	for name, c := range map[string]struct {
		settings []uint32
		open     func(p *wire, e event, got int) (more int) // what the stream may send now; told of every frame
	}{
		"of one byte": {[]uint32{settingWindow, 1}, func(p *wire, e event, got int) int {
			if e.typ == http2.FrameData && !e.end {
				p.credit(e.id, len(e.data))
				return len(e.data)
			}
			return 0
		}},
		"of none": {[]uint32{settingWindow, 0}, func(p *wire, e event, got int) int {
			if e.typ == http2.FrameHeaders {
				p.credit(e.id, size)
				return size
			}
			return 0
		}},
		"opened by SETTINGS": {[]uint32{settingWindow, 0}, func(p *wire, e event, got int) int {
			if e.typ == http2.FrameHeaders {
				p.send(appendSettings(nil, settingWindow, size))
				return size
			}
			return 0
		}},
		"taken back": {[]uint32{settingWindow, 1000}, func(p *wire, e event, got int) int {
			if e.typ == http2.FrameData && got == 1000 {
				// −900 by now; then to 100 by an update, and the rest by SETTINGS.
				p.send(appendSettings(nil, settingWindow, 100), appendWindow(nil, e.id, 1000), appendSettings(nil, settingWindow, size-1000))
				return size - 1000
			}
			return 0
		}},
	} {
		t.Run(name, func(t *testing.T) {
			var got, most atomic.Int64
			may, have := 0, 0
			backend := scripted(t, c.settings, func(p *wire, e event) {
				p.quota = true
				switch e.typ {
				case http2.FrameHeaders:
					may += int(c.settings[1])
				case http2.FrameData:
					have += len(e.data)
					if have > may {
						t.Errorf("%d bytes came, %d were allowed", have, may)
					}
					got.Store(int64(have))
					most.Store(max(most.Load(), int64(len(e.data))))
				}
				may += c.open(p, e, have)
				if e.end {
					p.answer(e.id, "200", "")
				}
			})
			r := newRig(t, options{}, backend)
			p := r.wire()
			p.request(1, false, "POST", "/")
			p.data(1, strings.Repeat("x", size), true)
			if h, _, _ := p.whole(1); h.status() != "200" || got.Load() != size {
				t.Errorf("%v, %d bytes", h, got.Load())
			}
			r.want(counts{"200": 1}, nil, 0)
		})
	}
}

// The connection's window holds all its streams up, and none is lost when it
// opens again.
func TestWindowOfAnEndpointsConnection(t *testing.T) {
	const streams, size = 20, 20000
	total, lent := 0, defaultWindow
	got := map[uint32]int{}
	backend := scripted(t, nil, func(p *wire, e event) {
		p.quota = true
		if e.typ != http2.FrameData {
			return
		}
		got[e.id] += len(e.data)
		if total += len(e.data); total > lent {
			t.Errorf("%d bytes came, %d were allowed", total, lent)
		}
		if total == lent {
			lent += 10000
			p.credit(0, 10000)
		}
		if e.end {
			p.answer(e.id, "200", fmt.Sprint(got[e.id]))
		}
	})
	r := newRig(t, options{limits: Limits{Connections: 1}}, backend)
	p := r.wire()
	go func() {
		for i := range uint32(streams) {
			p.request(2*i+1, false, "POST", "/")
			p.data(2*i+1, strings.Repeat("x", size), true)
		}
	}()
	for range streams {
		for e := p.next(); !e.end; e = p.next() {
			if len(e.data) > 0 && string(e.data) != fmt.Sprint(size) {
				t.Error(e)
			}
		}
	}
	r.want(counts{"200": streams}, nil, 0)
}

// Padding counts in windows, and is given back.
func TestPadding(t *testing.T) {
	const frames = 20000 // of 256 bytes, of which one is content: more than any window
	var got atomic.Int64
	backend := scripted(t, nil, func(p *wire, e event) {
		got.Add(int64(len(e.data)))
		if e.end {
			p.answer(e.id, "200", "")
		}
	})
	r := newRig(t, options{}, backend)
	p := r.wire()
	p.request(1, false, "POST", "/")
	windows := make(chan event, 1000)
	go func() {
		defer close(windows)
		for {
			e, err := p.read()
			if err != nil || e.typ == http2.FrameHeaders {
				return
			}
			if e.typ == http2.FrameWindowUpdate {
				windows <- e
			}
			if e.typ == http2.FrameRSTStream || e.typ == http2.FrameGoAway {
				t.Error(e)
				return
			}
		}
	}()
	pad := make([]byte, 254)
	frame := append(append(appendFrame(nil, 256, frameData, flagPadded, 1), 254, 'x'), pad...)
	conn, stream := defaultWindow, defaultWindow
	take := func(e event) {
		if e.id == 0 {
			conn += int(e.n)
		} else {
			stream += int(e.n)
		}
	}
	stream = 256 << 10 // by the SETTINGS of the relay
	for i := range frames {
		for conn < 256 || stream < 256 {
			e, ok := <-windows
			if !ok {
				t.Fatalf("no more window after %d frames", i)
			}
			take(e)
		}
		conn, stream = conn-256, stream-256
		p.send(frame)
		for len(windows) > 0 {
			take(<-windows)
		}
	}
	p.data(1, "", true)
	for range windows {
	}
	if got.Load() != frames {
		t.Errorf("%d bytes came", got.Load())
	}
	r.want(counts{"200": 1}, nil, 0)
}

// Windows are given back for ever, in both directions.
func TestMuchContent(t *testing.T) {
	size := int64(256 << 20)
	if race.Enabled {
		size >>= 3
	}
	r := newRig(t, options{}, backend(t, func(w http.ResponseWriter, req *http.Request) {
		_, _ = io.Copy(w, req.Body)
	}))
	res, err := r.client().Post("http://test/", "", io.LimitReader(zeros{}, size))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); n != size || err != nil {
		t.Errorf("%d bytes, %v", n, err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// What an endpoint that takes nothing holds up in us is bounded by the
// windows of streams, and of the connection.
func TestHeld(t *testing.T) {
	const window, held, streams = 64 << 10, 1 << 20, 100
	silent := scripted(t, []uint32{settingWindow, 0}, func(p *wire, e event) { p.quota = true })
	r := newRig(t, options{limits: Limits{Window: window, Held: held}}, silent)
	p := r.wire()
	sent := map[uint32]int{}
	conn := defaultWindow
	content := strings.Repeat("x", frameSize)
	for i := range uint32(streams) {
		id := 2*i + 1
		p.request(id, false, "POST", "/")
		for sent[id] < window && conn >= frameSize {
			p.data(id, content, false)
			sent[id] += frameSize
			conn -= frameSize
		}
		for conn < frameSize {
			p.send(appendPing(nil, false, uint64(id))) // answered when all before it has been taken in
			for ponged := false; !ponged; {
				e, err := p.read()
				if err != nil {
					t.Fatal(err)
				}
				switch {
				case e.typ == http2.FramePing:
					ponged = true
				case e.typ == http2.FrameWindowUpdate && e.id != 0:
					t.Fatal("a stream of which nothing went on was given more", e)
				case e.typ == http2.FrameWindowUpdate:
					conn += int(e.n)
				case e.typ == http2.FrameGoAway:
					t.Fatal(e)
				}
			}
			if conn < frameSize && r.waiting() > held {
				break // the relay gives no more
			}
		}
	}
	r.srv.mu.Lock()
	for l := range r.srv.links {
		if k, ok := l.k.(codec2); ok && !k.client {
			for id, leg := range k.streams {
				if len(leg.in) > window {
					t.Errorf("%d bytes of stream %d wait", len(leg.in), id)
				}
			}
		}
	}
	r.srv.mu.Unlock()
	eventually(t, "all that may wait does", func() bool { return r.waiting() >= held })
	if n := r.waiting(); n > held+connWindow {
		t.Errorf("%d bytes wait", n)
	}
	_ = p.c.Close()
	r.settled()
	if n := r.waiting(); n != 0 {
		t.Errorf("%d bytes wait for nobody", n)
	}
}

type codec2 = *conn

// More than a window is an error of the stream, or of the connection.
func TestWindowsAreKept(t *testing.T) {
	silent := func() string {
		return scripted(t, []uint32{settingWindow, 0}, func(p *wire, e event) { p.quota = true })
	}
	t.Run("stream", func(t *testing.T) {
		r := newRig(t, options{limits: Limits{Window: 70000}}, silent())
		p := r.wire()
		p.request(1, false, "POST", "/")
		p.data(1, strings.Repeat("x", 70001), false)
		if code := p.wantReset(1); code != http2.ErrCodeFlowControl {
			t.Error(code)
		}
		r.want(counts{"400 http_request_error": 1}, nil, 0)
	})
	t.Run("connection", func(t *testing.T) {
		r := newRig(t, options{limits: Limits{Held: 1}}, silent())
		p := r.wire()
		go func() {
			for i := range uint32(20) {
				p.request(2*i+1, false, "POST", "/")
				p.data(2*i+1, strings.Repeat("x", 100000), false)
			}
		}()
		if why, text, said := p.last(); said && why != codeFlowControl {
			t.Error(why, text)
		}
	})
	t.Run("endpoint", func(t *testing.T) {
		backend := failing(t, func(p *wire, e event) {
			p.headers(e.id, false, ":status", "200")
			p.data(e.id, strings.Repeat("x", 300000), true)
		})
		r := newRig(t, options{limits: Limits{Window: 70000}}, backend)
		p := r.wire(settingWindow, 0)
		p.get(1, "/")
		if code := p.wantReset(1); code != http2.ErrCodeInternal {
			t.Error(code)
		}
		r.want(counts{"200 http_protocol_error": 1}, nil, 0)
	})
}

// A thousand streams whose client takes nothing cost what waits of them, and
// little else.
func TestMemoryOfStalledStreams(t *testing.T) {
	if race.Enabled {
		t.Skip("the race detector's memory would be counted")
	}
	const streams = 1000
	r := newRig(t, options{}, pouring(t, 1<<20))
	memory := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := memory()
	p := r.wire(settingWindow, 0)
	for i := range uint32(streams) {
		p.get(2*i+1, "/")
	}
	for range streams {
		p.next()
	}
	eventually(t, "the endpoint waits", func() bool { return r.waiting() > 4<<20 })
	after := memory()
	t.Logf("%d KiB for %d streams, of which %d KiB wait", (after-before)>>10, streams, r.waiting()>>10)
	r.srv.mu.Lock()
	for l := range r.srv.links {
		if k, ok := l.k.(*conn); ok && k.client && k.held > tightRoom*r.srv.Limits.Held+connWindow {
			t.Errorf("%d KiB of a connection to the endpoint wait", k.held>>10)
		}
	}
	r.srv.mu.Unlock()
	// Beside what waits, a stalled stream is itself and the room that its content has grown.
	if beside := int(after-before) - r.waiting(); beside > streams*8<<10 {
		t.Errorf("%d KiB beside it for %d streams", beside>>10, streams)
	}
}

// A peer whose answers we hold no room for is read no further, and read again.
func TestManyAnswersAtOnce(t *testing.T) {
	const calls = 20000
	r := newRig(t, options{limits: Limits{Streams: calls}}, answering(t, "good"))
	p := r.wire()
	go p.batch(func() {
		for i := range uint32(calls) {
			p.get(2*i+1, "/")
		}
	})
	for n := 0; n < calls; {
		if p.next().end {
			n++
		}
	}
	r.want(counts{"200": calls}, nil, 0)
}

// A client slower than its endpoint gets a stream of messages whole.
func TestSlowClient(t *testing.T) {
	const messages = 2000
	text := message(strings.Repeat("m", 1000))
	r := newRig(t, options{}, pouring(t, messages*len(text)))
	p := r.wire(settingWindow, 3000)
	p.quota = true
	p.rpc(1, true)
	p.next()
	begun := time.Now()
	for got := 0; got < messages*len(text); {
		e := p.next()
		got += len(e.data)
		p.send(appendWindow(nil, 0, len(e.data)), appendWindow(nil, 1, len(e.data)))
		runtime.Gosched()
	}
	t.Log(time.Since(begun))
	r.want(counts{"200 UNKNOWN": 1}, nil, 0)
}
