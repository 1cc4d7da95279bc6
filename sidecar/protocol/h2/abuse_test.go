package h2

import (
	"bytes"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// TestAbuse sends of each kind more than any client needs. The connection
// ends, with ENHANCE_YOUR_CALM unless another error says it better; nothing is
// left of it, and another client is served.
func TestAbuse(t *testing.T) {
	block := func(fields ...string) []byte {
		var p wire
		p.enc = hpack.NewEncoder(&p.head)
		for i := 0; i < len(fields); i += 2 {
			_ = p.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
		}
		return p.head.Bytes()
	}
	get := func(path string) []byte {
		return block(":method", "GET", ":scheme", "http", ":authority", "test", ":path", path)
	}
	plain := get("/")
	head := func(id uint32, flags byte, b []byte) []byte {
		return append(appendFrame(nil, len(b), frameHeaders, flags, id), b...)
	}
	const whole = flagEndHeaders | flagEndStream
	odd := func(i int) uint32 { return uint32(2*i + 1) }
	for name, c := range map[string]struct {
		before []byte // once
		frame  func(i int) []byte
		limit  int  // the most that may be needed
		why    code // other than ENHANCE_YOUR_CALM
		limits Limits
	}{
		"PING":     {frame: func(int) []byte { return appendPing(nil, false, 1) }, limit: 5000},
		"PING ACK": {frame: func(int) []byte { return appendPing(nil, true, 1) }, limit: 5000},
		"SETTINGS": {frame: func(int) []byte { return appendSettings(nil, settingWindow, 100) }, limit: 1000},
		"SETTINGS, many windows": {frame: func(i int) []byte {
			return append(head(odd(i), flagEndHeaders, plain), appendSettings(nil, settingWindow, uint32(i))...)
		}, limit: 1000, limits: Limits{Streams: 5000}},
		"SETTINGS of many":     {frame: func(int) []byte { return appendSettings(nil, make([]uint32, 130)...) }, limit: 1},
		"SETTINGS ACK":         {frame: func(int) []byte { return appendFrame(nil, 0, frameSettings, flagAck, 0) }, limit: 5000},
		"PRIORITY":             {frame: func(i int) []byte { return append(appendFrame(nil, 5, framePriority, 0, odd(i)), 0, 0, 0, 0, 1) }, limit: 5000},
		"unknown frames":       {frame: func(int) []byte { return appendFrame(nil, 0, 0xbe, 0, 0) }, limit: 5000},
		"GOAWAY":               {before: head(1, flagEndHeaders, plain), frame: func(int) []byte { return appendGoAway(nil, 0, codeNone, "") }, limit: 5000},
		"empty DATA":           {before: head(1, flagEndHeaders, plain), frame: func(int) []byte { return appendFrame(nil, 0, frameData, 0, 1) }, limit: 5000},
		"padding alone":        {before: head(1, flagEndHeaders, plain), frame: func(int) []byte { return append(appendFrame(nil, 2, frameData, flagPadded, 1), 1, 0) }, limit: 5000},
		"rapid reset":          {frame: func(i int) []byte { return appendReset(head(odd(i), whole, plain), odd(i), codeCancel) }, limit: 5000},
		"rapid reset by error": {frame: func(i int) []byte { return appendWindow(head(odd(i), flagEndHeaders, plain), odd(i), 0) }, limit: 5000},
		"DATA after the end":   {before: head(1, whole, plain), frame: func(int) []byte { return append(appendFrame(nil, 1, frameData, 0, 1), 'x') }, limit: 5000},
		"malformed requests":   {frame: func(i int) []byte { return head(odd(i), whole, block(":method", "GET")) }, limit: 5000},
		"windows byte by byte": {before: append(appendSettings(nil, settingWindow, 0), head(1, whole, get("/big"))...),
			frame: func(int) []byte { return appendWindow(nil, 1, 1) }, limit: 20000},
		"windows of nothing": {frame: func(int) []byte { return appendWindow(nil, 0, 1) }, limit: 5000},
		"CONTINUATION": {before: head(1, flagEndStream, nil),
			frame: func(int) []byte { return appendFrame(nil, 0, frameContinuation, 0, 1) }, limit: 100},
		"CONTINUATION of much": {before: head(1, flagEndStream, nil),
			frame: func(i int) []byte {
				b := block("a", strings.Repeat("~", 8000))
				return append(appendFrame(nil, len(b), frameContinuation, 0, 1), b...)
			}, limit: 100},
		"HPACK bomb": {before: head(1, whole, get("/"+strings.Repeat("x", 4000))),
			frame: func(i int) []byte {
				// The newest entry of the table, over and over.
				return head(odd(i+1), whole, append(bytes.Clone(plain), bytes.Repeat([]byte{0xbe}, 4000)...))
			}, limit: 2000},
		"more streams than allowed": {frame: func(i int) []byte { return head(odd(i), flagEndHeaders, plain) }, limit: 5000, limits: Limits{Streams: 10}},
		"streams backwards":         {before: head(99, whole, plain), frame: func(int) []byte { return head(1, whole, plain) }, limit: 1, why: codeProtocol},
		"even streams":              {frame: func(int) []byte { return head(2, whole, plain) }, limit: 1, why: codeProtocol},
		"stream 0":                  {frame: func(int) []byte { return head(0, whole, plain) }, limit: 1, why: codeProtocol},
		"idle stream":               {frame: func(int) []byte { return appendWindow(nil, 77, 1) }, limit: 1, why: codeProtocol},
		"PUSH_PROMISE":              {frame: func(int) []byte { return append(appendFrame(nil, 4, framePush, 0, 1), 0, 0, 0, 2) }, limit: 1, why: codeProtocol},
		"large frame":               {frame: func(int) []byte { return appendFrame(nil, frameSize+1, frameData, 0, 1) }, limit: 1, why: codeFrameSize},
		"bad HPACK":                 {frame: func(int) []byte { return head(1, whole, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) }, limit: 1, why: codeCompression},
		"window too large":          {frame: func(int) []byte { return appendWindow(nil, 0, maxWindow) }, limit: 1, why: codeFlowControl},
		"slow head":                 {before: head(1, flagEndStream, plain), limit: -1, limits: Limits{HeadTimeout: time.Millisecond}},
		"slow preface":              {limit: -1, why: codeTimeout, limits: Limits{HeadTimeout: time.Millisecond}},
	} {
		t.Run(name, func(t *testing.T) {
			var big string
			if name == "windows byte by byte" {
				big = strings.Repeat("x", 1<<20)
			}
			backend := scripted(t, nil, func(p *wire, e event) {
				if e.typ == http2.FrameHeaders && e.end && (big == "" || e.field(":path") != "/big") {
					p.answer(e.id, "200", "")
				} else if e.typ == http2.FrameHeaders && big != "" {
					p.headers(e.id, false, ":status", "200")
					p.data(e.id, big[:60000], false) // within the connection's window
				}
			})
			r := newRig(t, options{limits: c.limits}, backend)
			var p *wire
			if name == "slow preface" {
				nc, err := net.Dial("tcp", r.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer nc.Close()
				p = newWire(t, nc)
				p.send([]byte(preface[:10]))
			} else {
				p = r.wire()
			}
			p.mute = true
			p.send(c.before)
			if big != "" {
				eventually(t, "content waits", func() bool { return r.waiting() > 0 })
			}
			sent := make(chan struct{})
			go func() {
				defer close(sent)
				var out []byte
				for i := 0; i < c.limit; i++ {
					out = append(out, c.frame(i)...)
					if len(out) >= 8<<10 || i == c.limit-1 {
						if _, err := p.c.Write(out); err != nil {
							return
						}
						out = out[:0]
					}
				}
			}()
			why := c.why
			if why == codeNone {
				why = codeCalm
			}
			got, text, said := p.last()
			if said && got != why {
				t.Errorf("%v (%s), not %v", got, text, why)
			}
			<-sent
			eventually(t, "it is counted", func() bool { return r.stats.Malformed.Value() > 0 })
			r.settled()
			p = r.wire()
			p.get(1, "/")
			if h, _, _ := p.whole(1); h.status() != "200" {
				t.Error(h)
			}
		})
	}
}

// What is much, but of use, is no abuse.
func TestMuchIsNoAbuse(t *testing.T) {
	const calls = 10000
	r := newRig(t, options{}, answering(t, "good"))
	p := r.wire()
	p.quota = true
	for i := range uint32(calls) {
		// As gRPC clients do: both windows, and a PING, with every answer.
		id := 2*i + 1
		p.request(id, false, "POST", "/")
		p.data(id, "m", true)
		p.whole(id)
		p.send(appendWindow(nil, 0, 4), appendPing(nil, false, 1))
	}
	r.want(counts{"200": calls}, nil, 0)
}

// A peer that takes nothing of what it is sent does not keep its connection.
func TestWriteStuck(t *testing.T) {
	r := newRig(t, options{limits: Limits{WriteStuck: time.Millisecond, Window: 16 << 20, Held: 64 << 20}}, pouring(t, 64<<20))
	p := r.wire(settingWindow, maxWindow)
	p.credit(0, maxWindow-defaultWindow)
	for id := uint32(1); id < 20; id += 2 {
		p.get(id, "/")
	}
	eventually(t, "the calls begin", func() bool { return r.begun.Load() == 10 })
	r.settled() // without a byte read
}
