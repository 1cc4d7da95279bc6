package h2

import (
	"bytes"
	"io"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/meshd/meshd/xds/resource"
)

// script turns a fuzzer's bytes into frames: most of them are well formed
// enough to get somewhere, with numbers that are small enough to meet. id says
// which stream an octet stands for; requests says whether heads are those of
// requests or of answers.
func script(data []byte, id func(byte) uint32, requests bool) []byte {
	var out []byte
	take := func() byte {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return b
	}
	payload := func(n int) []byte {
		n = min(n, len(data))
		p := data[:n]
		data = data[n:]
		return p
	}
	var head bytes.Buffer
	enc := hpack.NewEncoder(&head)
	enc.SetMaxDynamicTableSizeLimit(0)
	block := func(pairs ...string) []byte {
		head.Reset()
		for i := 0; i < len(pairs); i += 2 {
			_ = enc.WriteField(hpack.HeaderField{Name: pairs[i], Value: pairs[i+1]})
		}
		return bytes.Clone(head.Bytes())
	}
	for len(data) > 0 && len(out) < 256<<10 {
		switch op := take() % 16; op {
		case frameData:
			flags, sid, n := take(), id(take()), int(take())*8
			p := bytes.Repeat([]byte{take()}, n)
			out = append(appendFrame(out, len(p), frameData, flags, sid), p...)
		case 10, 11, 12: // a whole head
			sid, b := id(take()), take()
			pairs := []string{":status", "200"}
			if requests {
				pairs = []string{":method", []string{"GET", "POST", "HEAD", "CONNECT"}[b%4], ":scheme", "http", ":authority", "test", ":path", "/"}
			} else if b%4 == 1 {
				pairs[1] = []string{"100", "204", "503", "304"}[b>>2%4]
			}
			if b&16 != 0 {
				pairs = append(pairs, "content-type", "application/grpc", "grpc-timeout", "1S")
			}
			if b&32 != 0 {
				pairs = append(pairs, "content-length", "8")
			}
			if b&64 != 0 {
				pairs = append(pairs, "grpc-status", "14")
			}
			flags := byte(flagEndHeaders)
			if op == 10 {
				flags |= flagEndStream
			}
			p := block(pairs...)
			if op == 12 && b&128 != 0 { // in two
				out = append(appendFrame(out, len(p)/2, frameHeaders, 0, sid), p[:len(p)/2]...)
				out = append(appendFrame(out, len(p)-len(p)/2, frameContinuation, flagEndHeaders, sid), p[len(p)/2:]...)
				break
			}
			out = append(appendFrame(out, len(p), frameHeaders, flags, sid), p...)
		case 13: // trailers
			sid := id(take())
			p := block("grpc-status", "0", "x-end", "1")
			out = append(appendFrame(out, len(p), frameHeaders, flagEndHeaders|flagEndStream, sid), p...)
		case 14:
			out = appendSettings(out, uint32(take()%10), uint32(take())<<(take()%32))
		case 15: // bytes as they are
			out = append(out, payload(int(take()))...)
		case frameReset:
			out = appendReset(out, id(take()), code(take()))
		case frameWindow:
			out = appendWindow(out, id(take()), int(take())<<(take()%25))
		default:
			flags, sid := take(), id(take())
			p := payload(int(take()))
			out = append(appendFrame(out, len(p), op, flags, sid), p...)
		}
	}
	return out
}

// healthy fails unless the relay is whole and answers a client.
func (r *rig) healthy(t *testing.T, p *wire, id uint32) {
	t.Helper()
	defer func() {
		if n := r.stats.Panics.Value(); n > 0 {
			t.Fatalf("%d panics: %s", n, r.log.String())
		}
	}()
	p.t = t
	_ = p.c.SetDeadline(time.Now().Add(5 * time.Second)) // the fuzzer itself waits for 10
	p.get(id, "/")
	if h, _, _ := p.whole(id); h.status() != "200" {
		t.Fatal(h)
	}
	eventually(t, "no stream is left", func() bool { return r.srv.active.Load() == 0 })
	if what := r.unrest(); what != "" {
		t.Fatal(what)
	}
	r.srv.mu.Lock()
	defer r.srv.mu.Unlock()
	for l := range r.srv.links {
		if c, ok := l.k.(*conn); ok && (c.held != 0 || len(c.waiting) != 0) {
			t.Fatalf("%d bytes and %d legs wait without a stream", c.held, len(c.waiting))
		}
	}
}

// ponged reads until a PING of 99 is answered, or as much as comes: a frame
// that is not complete swallows the PING.
func (p *wire) ponged(within time.Duration) {
	_ = p.c.SetReadDeadline(time.Now().Add(within))
	for {
		e, err := p.read()
		if err != nil || e.typ == http2.FramePing && e.flags.Has(http2.FlagPingAck) && string(e.data) == "\x00\x00\x00\x00\x00\x00\x00\x63" {
			return
		}
	}
}

// FuzzFrames is a hostile client before a well-behaved endpoint.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{10, 1, 0})
	f.Add([]byte{11, 1, 1, 0, 1, 1, 200, 'x'})                                   // POST with content
	f.Add([]byte{11, 1, 1, 0, 0, 1, 1, 'x', 13, 1})                              // and trailers
	f.Add([]byte{14, 4, 0, 0, 10, 1, 0, 8, 1, 1, 0, 14, 4, 255, 8})              // windows
	f.Add([]byte{10, 1, 0, 3, 1, 8, 10, 3, 0, 3, 3, 8})                          // resets
	f.Add([]byte{12, 1, 0x91, 0, 1, 1, 1, 'x', 6, 0, 0, 8})                      // CONTINUATION, PING
	f.Add([]byte{11, 1, 0x33, 0, 9, 1, 3, 2, 7, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7})   // padding, GOAWAY
	f.Add([]byte{15, 9, 0, 0, 1, 0, 8, 0, 0, 0, 1, 15, 9, 0, 64, 0, 0, 0, 0, 0}) // as they are
	r := newRig(f, options{limits: Limits{Window: 4 << 10, Held: 8 << 10, Streams: 8}}, pouring(f, 10000))
	good := r.wire()
	id := uint32(1)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return
		}
		frames := script(data[1:], func(b byte) uint32 { return uint32(b % 24) }, true)
		c, err := net.Dial("tcp", r.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		p := newWire(t, c)
		p.quota = data[0]&1 != 0
		p.send([]byte(preface), appendSettings(nil), frames, appendPing(nil, false, 99))
		p.ponged(5 * time.Millisecond)
		if data[0]&2 != 0 {
			_ = p.c.CloseWrite()
			_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
			if _, err := io.Copy(io.Discard, c); os.IsTimeout(err) {
				t.Fatal("the connection was not closed")
			}
		}
		_ = c.Close()
		id += 2 // even if this fails: the input is tried again
		r.healthy(t, good, id)
	})
}

// FuzzUpstream is a hostile endpoint: whatever it says, the client gets an
// answer or a reset, and its connection goes on.
func FuzzUpstream(f *testing.F) {
	f.Add([]byte{0, 10, 0, 0})
	f.Add([]byte{1, 11, 0, 0, 0, 1, 0, 200, 'x'})
	f.Add([]byte{2, 11, 0, 16, 0, 0, 0, 10, 'x', 13, 0})       // gRPC
	f.Add([]byte{3, 10, 0, 0x50})                              // trailers-only UNAVAILABLE
	f.Add([]byte{0, 12, 0, 1, 12, 0, 0x81, 3, 0, 2})           // 1xx, cut
	f.Add([]byte{1, 7, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0})       // GOAWAY
	f.Add([]byte{1, 14, 4, 0, 0, 14, 3, 0, 0, 11, 0, 0, 8, 0}) // SETTINGS
	f.Add([]byte{2, 11, 0, 32, 0, 9, 0, 2, 1})                 // length and padding
	var now atomic.Pointer[[]byte]
	hostile := accepting(f, func(c net.Conn) {
		p := newWire(f, c)
		hello := make([]byte, len(preface))
		if _, err := io.ReadFull(c, hello); err != nil {
			return
		}
		data := *now.Load()
		if data[0]&4 != 0 { // not even SETTINGS
			p.send(script(data[1:], func(b byte) uint32 { return uint32(b % 4) }, false))
		} else {
			p.send(appendSettings(nil))
			for {
				e, err := p.read()
				if err != nil {
					return
				}
				if e.typ == http2.FrameHeaders {
					p.send(script(data[1:], func(b byte) uint32 { return e.id + uint32(b%8)>>1 }, false))
					break
				}
			}
		}
		// An end that comes along with data is noticed a second later.
		p.send(appendPing(nil, false, 99))
		p.ponged(5 * time.Millisecond)
		_ = p.c.CloseWrite()
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.Copy(io.Discard, c)
	})
	o := retrying(0)
	o.cluster.Breaker.Disabled = true
	o.cluster.Protocol = resource.ProtocolHTTP2
	o.limits = Limits{Window: 4 << 10, Held: 8 << 10}
	r := newRig(f, o, hostile)
	p := r.wire()
	id := uint32(1)
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return
		}
		now.Store(&data)
		id += 2 // even if this fails: the input is tried again
		p.t = t
		_ = p.c.SetDeadline(time.Now().Add(5 * time.Second))
		method := []string{"GET", "POST", "HEAD"}[data[0]&3%3]
		whole := data[0]&8 == 0
		p.request(id, whole, method, "/")
		if !whole {
			p.data(id, strings.Repeat("x", 100), false)
		}
		for answered := false; ; {
			e := p.next()
			if e.typ == http2.FrameGoAway {
				t.Fatal(e)
			}
			if e.id != id {
				continue
			}
			if e.typ == http2.FrameHeaders && e.status() != "" && e.status() >= "200" {
				answered = true
			}
			if e.typ == http2.FrameRSTStream {
				break
			}
			if e.end {
				if !answered {
					t.Fatal("an end without an answer")
				}
				if whole {
					break
				}
			}
		}
		if n := r.stats.Panics.Value(); n > 0 {
			t.Fatalf("%d panics: %s", n, r.log.String())
		}
		eventually(t, "no stream is left", func() bool { return r.srv.active.Load() == 0 })
		if what := r.unrest(); what != "" {
			t.Fatal(what)
		}
		eventually(t, "the endpoint's connection is gone", func() bool {
			r.srv.mu.Lock()
			defer r.srv.mu.Unlock()
			return len(r.srv.links) == 1
		})
	})
}

// FuzzHead: what is accepted of a head has nothing in it that another hop
// could take for something else.
func FuzzHead(f *testing.F) {
	pack := func(k byte, pairs ...string) []byte {
		out := []byte{k}
		for _, s := range pairs {
			out = append(append(out, byte(len(s))), s...)
		}
		return out
	}
	f.Add(pack(0, ":method", "GET", ":scheme", "http", ":authority", "test:80", ":path", "/a?b=c", "accept", "*/*", "te", "trailers"))
	f.Add(pack(0, ":method", "POST", ":scheme", "http", ":path", "/", "host", "[::1]:80", "content-length", "12", "traceparent", "x"))
	f.Add(pack(0, ":method", "CONNECT", ":authority", "test:80"))
	f.Add(pack(0, ":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "test", ":path", "/chat"))
	f.Add(pack(0, ":method", "OPTIONS", ":scheme", "http", ":authority", "test", ":path", "*", "cookie", "a=b", "cookie", "c=d"))
	f.Add(pack(1, ":status", "200", "content-type", "application/grpc", "grpc-status", "0", "grpc-message", "%20"))
	f.Add(pack(1, ":status", "304", "content-length", "5", "etag", "\"\xff\""))
	f.Add(pack(2, "grpc-status", "14", "endpoint-load-metrics", "TEXT cpu_utilization=1"))
	f.Add(pack(2, "a", "b\r\nc: d", "A", "b", "connection", "close"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return
		}
		k := kind(data[0] % 3)
		data = data[1:]
		var texts []string
		for len(data) > 0 {
			n := min(int(data[0]), len(data)-1)
			texts = append(texts, string(data[1:1+n]))
			data = data[1+n:]
		}
		var fields []hpack.HeaderField
		for i := 0; i+1 < len(texts); i += 2 {
			fields = append(fields, hpack.HeaderField{Name: texts[i], Value: texts[i+1]})
		}
		var h head
		if h.take(fields, k) != "" {
			return
		}
		if len(h.fields) != len(fields) {
			t.Fatalf("%d fields of %d", len(h.fields), len(fields))
		}
		seen := map[string]bool{}
		for i, f := range h.fields {
			name := f.Name
			if strings.HasPrefix(name, ":") {
				if i >= h.pseudo || k == kindTrailers || seen[name] {
					t.Fatalf("pseudo-header field %q at %d", name, i)
				}
				seen[name] = true
				name = name[1:]
			}
			if name == "" || strings.ToLower(name) != name || strings.ContainsAny(name, " :\t\r\n\x00\x7f()<>@,;\\\"/[]?={}") {
				t.Fatalf("name %q", f.Name)
			}
			for _, b := range []byte(name) {
				if b <= ' ' || b >= 0x7f {
					t.Fatalf("name %q", f.Name)
				}
			}
			if strings.ContainsAny(f.Value, "\r\n\x00\x7f") || strings.Trim(f.Value, " \t") != f.Value {
				t.Fatalf("value %q", f.Value)
			}
			switch name {
			case "connection", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection":
				t.Fatalf("field %q", name)
			}
		}
		if k == kindResponse && (h.status < 100 || h.status > 999) {
			t.Fatalf("status %d", h.status)
		}
		if k == kindRequest {
			if h.method == "" || strings.ContainsAny(h.method, " \t\r\n") || strings.ContainsAny(h.path, " \t\r\n#") ||
				strings.ContainsAny(h.authority, " \t\r\n/@?#") {
				t.Fatalf("%q %q %q", h.method, h.path, h.authority)
			}
			if h.path == "" && (h.method != "CONNECT" || h.protocol != "") {
				t.Fatalf("%s without a path", h.method)
			}
		}
	})
}
