package h2

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/http2"

	"github.com/meshd/meshd/xds/resource"
)

// reflecting is an endpoint that sends back what it got as a field and content.
func reflecting(t testing.TB) string {
	heads := map[*wire]map[uint32]event{}
	lock := make(chan struct{}, 1)
	return scripted(t, nil, func(p *wire, e event) {
		lock <- struct{}{}
		defer func() { <-lock }()
		if heads[p] == nil {
			heads[p] = map[uint32]event{}
		}
		h, ok := heads[p][e.id]
		switch e.typ {
		case http2.FrameHeaders:
			if !ok {
				h = e
			} else {
				h.fields = append(h.fields, e.fields...)
			}
		case http2.FrameData:
			h.data = append(h.data, e.data...)
		default:
			return
		}
		heads[p][e.id] = h
		if !e.end {
			return
		}
		answer := []string{":status", "200"}
		for _, f := range h.fields {
			if !slices.Contains([]string{"content-length", "te"}, f.Name) {
				answer = append(answer, "x-got-"+strings.TrimPrefix(f.Name, ":"), f.Value)
			}
		}
		p.headers(e.id, false, answer...)
		if h.field(":method") == "HEAD" {
			p.data(e.id, "", true)
			return
		}
		p.data(e.id, string(h.data), false)
		p.headers(e.id, true, "x-end", "yes")
	})
}

func TestInterimAnswers(t *testing.T) {
	backend := scripted(t, nil, func(p *wire, e event) {
		if e.typ == http2.FrameHeaders {
			p.headers(e.id, false, ":status", "103", "link", "</a>")
			p.headers(e.id, false, ":status", "100")
		}
		if e.end {
			p.answer(e.id, "200", string(e.data))
		}
	})
	r := newRig(t, options{}, backend)
	p := r.wire()
	p.request(1, false, "POST", "/", "expect", "100-continue")
	if e := p.next(); e.status() != "103" || e.field("link") != "</a>" {
		t.Error(e)
	}
	if e := p.next(); e.status() != "100" {
		t.Error(e)
	}
	p.data(1, "content", true)
	if h, body, _ := p.whole(1); h.status() != "200" || body != "content" {
		t.Errorf("%v %q", h, body)
	}
	r.want(counts{"200": 1}, nil, 0)
}

func TestContentLength(t *testing.T) {
	type answer func(p *wire, id uint32)
	head := func(end bool, pairs ...string) answer {
		return func(p *wire, id uint32) { p.headers(id, end, pairs...) }
	}
	content := func(length, body string, end bool) answer {
		return func(p *wire, id uint32) {
			p.headers(id, false, ":status", "200", "content-length", length)
			p.data(id, body, end)
			if !end {
				p.headers(id, true, "x-end", "1")
			}
		}
	}
	for name, c := range map[string]struct {
		method  string
		answer  answer
		status  string // RST: the answer is broken off
		outcome string
	}{
		"right":         {"GET", content("5", "12345", true), "200", "200"},
		"trailers":      {"GET", content("5", "12345", false), "200", "200"},
		"HEAD":          {"HEAD", head(true, ":status", "200", "content-length", "5"), "200", "200"},
		"204":           {"GET", head(true, ":status", "204"), "204", "204"},
		"304":           {"GET", head(true, ":status", "304", "content-length", "5"), "304", "304"},
		"short":         {"GET", content("5", "1234", true), "RST", "200 http_protocol_error"},
		"short, then":   {"GET", content("5", "1234", false), "RST", "200 http_protocol_error"},
		"long":          {"GET", content("5", "123456", true), "RST", "200 http_protocol_error"},
		"none":          {"GET", head(true, ":status", "200", "content-length", "5"), "502", "502 http_protocol_error"},
		"two":           {"GET", head(true, ":status", "200", "content-length", "0", "content-length", "1"), "502", "502 http_protocol_error"},
		"not a number":  {"GET", head(true, ":status", "200", "content-length", "+0"), "502", "502 http_protocol_error"},
		"no status":     {"GET", head(true, "content-length", "0"), "502", "502 http_protocol_error"},
		"status 99":     {"GET", head(true, ":status", "099"), "502", "502 http_protocol_error"},
		"status 1000":   {"GET", head(true, ":status", "1000"), "502", "502 http_protocol_error"},
		"101":           {"GET", head(false, ":status", "101"), "502", "502 http_protocol_error"},
		"100 that ends": {"GET", head(true, ":status", "100"), "502", "502 http_protocol_error"},
		"connection":    {"GET", head(true, ":status", "200", "connection", "close"), "502", "502 http_protocol_error"},
		"upper case":    {"GET", head(true, ":status", "200", "X-Up", "1"), "502", "502 http_protocol_error"},
		"pseudo last":   {"GET", head(true, "a", "1", ":status", "200"), "502", "502 http_protocol_error"},
		"pseudo in trailers": {"GET", func(p *wire, id uint32) {
			p.headers(id, false, ":status", "200")
			p.headers(id, true, ":status", "200")
		}, "RST", "200 http_protocol_error"},
		"content of HEAD": {"HEAD", func(p *wire, id uint32) {
			p.headers(id, false, ":status", "200", "content-length", "5")
			p.data(id, "12345", true)
		}, "RST", "200 http_protocol_error"},
		"content of 204": {"GET", func(p *wire, id uint32) {
			p.headers(id, false, ":status", "204")
			p.data(id, "12345", true)
		}, "RST", "204 http_protocol_error"},
		"end of HEAD in DATA": {"HEAD", func(p *wire, id uint32) {
			p.headers(id, false, ":status", "200", "content-length", "5")
			p.data(id, "", true)
		}, "200", "200"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, retrying(2), failing(t, func(p *wire, e event) { c.answer(p, e.id) }))
			p := r.wire()
			p.request(1, true, c.method, "/")
			e := p.next()
			got := e.status()
			for !e.end && e.typ != http2.FrameRSTStream {
				if e = p.next(); c.status == "RST" && e.end {
					t.Fatalf("%v looks whole", e)
				}
			}
			if e.typ == http2.FrameRSTStream {
				got = "RST"
			}
			if got != c.status {
				t.Errorf("%s, not %s", got, c.status)
			}
			r.want(counts{c.outcome: 1}, nil, 0)
		})
	}
}

// A request that breaks the rules of HTTP is reset, and no endpoint hears of it.
func TestMalformedRequests(t *testing.T) {
	get := []string{":method", "GET", ":scheme", "http", ":authority", "test", ":path", "/"}
	with := func(more ...string) []string { return append(slices.Clone(get), more...) }
	set := func(name, value string) []string {
		out := slices.Clone(get)
		out[slices.Index(out, name)+1] = value
		return out
	}
	without := func(name string) []string {
		i := slices.Index(get, name)
		return slices.Delete(slices.Clone(get), i, i+2)
	}
	reset := "RST PROTOCOL_ERROR"
	for name, c := range map[string]struct {
		fields []string
		want   string
	}{
		"right":                 {get, "200"},
		"no method":             {without(":method"), reset},
		"no scheme":             {without(":scheme"), reset},
		"no path":               {without(":path"), reset},
		"no authority":          {without(":authority"), "400"},
		"empty path":            {set(":path", ""), reset},
		"path without a slash":  {set(":path", "a"), reset},
		"path with a space":     {set(":path", "/a b"), reset},
		"path with a control":   {set(":path", "/a\r\nb"), reset},
		"path with a fragment":  {set(":path", "/a#b"), reset},
		"path with obs-text":    {set(":path", "/\xff"), reset},
		"path as sent by many":  {set(":path", "/a|b{c}?d=[e]^`\\"), "200"},
		"asterisk":              {set(":path", "*"), reset},
		"method with a space":   {set(":method", "GE T"), reset},
		"twice":                 {with(":method", "GET"), reset},
		"unknown pseudo":        {slices.Concat([]string{":what", "1"}, get), reset},
		"status":                {slices.Concat([]string{":status", "200"}, get), reset},
		"pseudo last":           {with("a", "b", ":path", "/"), reset},
		"authority with a user": {set(":authority", "me@test"), reset},
		"authority with a path": {set(":authority", "test/a"), reset},
		"host instead":          {append(without(":authority"), "host", "test"), "200"},
		"host as well":          {with("host", "test"), "200"},
		"another host":          {with("host", "other"), reset},
		"two hosts":             {append(without(":authority"), "host", "test", "host", "other"), reset},
		"upper case":            {with("X-Up", "1"), reset},
		"connection":            {with("connection", "x"), reset},
		"transfer-encoding":     {with("transfer-encoding", "chunked"), reset},
		"te":                    {with("te", "gzip"), reset},
		"te trailers":           {with("te", "trailers"), "200"},
		"name with a space":     {with("a b", "1"), reset},
		"name with a colon":     {with("a:b", "1"), reset},
		"value with a newline":  {with("a", "1\n2"), reset},
		"value with NUL":        {with("a", "1\x002"), reset},
		"value with a space":    {with("a", " 1"), reset},
		"empty value":           {with("a", ""), "200"},
		"length without body":   {with("content-length", "5"), reset},
		"two lengths":           {with("content-length", "0", "content-length", "1"), reset},
		"protocol, no CONNECT":  {slices.Concat([]string{":protocol", "websocket"}, get), reset},
		"plain CONNECT":         {[]string{":method", "CONNECT", ":authority", "test:80"}, "501"},
		"CONNECT with a path":   {set(":method", "CONNECT"), reset},
		"OPTIONS *":             {[]string{":method", "OPTIONS", ":scheme", "http", ":authority", "test", ":path", "*"}, "200"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options{}, reflecting(t))
			p := r.wire()
			p.headers(1, true, c.fields...)
			e := p.next()
			got := e.status()
			if e.typ == http2.FrameRSTStream {
				got = "RST " + e.code.String()[:len("PROTOCOL_ERROR")]
			}
			if got != c.want {
				t.Errorf("%v, not %s", e, c.want)
			}
			for !e.end && e.typ == http2.FrameHeaders || e.typ == http2.FrameData && !e.end {
				e = p.next()
			}
			// The connection goes on.
			p.headers(3, true, get...)
			if h, _, _ := p.whole(3); h.status() != "200" {
				t.Error(h)
			}
			r.settled()
			ok := uint64(1)
			if c.want == "200" {
				ok++
			}
			if n := r.cluster.Endpoints()[0].Requests.Load(); n != ok {
				t.Errorf("%d attempts, not %d", n, ok)
			}
		})
	}
}

func TestRequestLengths(t *testing.T) {
	for name, c := range map[string]struct {
		length, body string
		trailers     bool
		want         string
	}{
		"right":            {"5", "12345", false, "200"},
		"with trailers":    {"5", "12345", true, "200"},
		"short":            {"5", "1234", false, "RST"},
		"short, trailers":  {"5", "1234", true, "RST"},
		"long":             {"5", "123456", false, "RST"},
		"none is declared": {"", "12345", true, "200"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, options{}, reflecting(t))
			p := r.wire()
			var more []string
			if c.length != "" {
				more = []string{"content-length", c.length}
			}
			p.request(1, false, "POST", "/", more...)
			// What is wrong in what comes with a head is no call at all.
			eventually(t, "the call begins", func() bool { active, _ := r.cluster.InUse(); return active == 1 })
			p.data(1, c.body, !c.trailers)
			if c.trailers {
				p.headers(1, true, "x-sum", "7")
			}
			if c.want == "RST" {
				if code := p.wantReset(1); code != http2.ErrCodeProtocol {
					t.Error(code)
				}
				r.want(counts{"400 http_request_error": 1}, nil, 0)
				return
			}
			h, body, trailers := p.whole(1)
			if h.status() != c.want || body != c.body || trailers.field("x-end") != "yes" || c.trailers != (h.field("x-got-x-sum") == "7") {
				t.Errorf("%v %q %v", h, body, trailers)
			}
			r.want(counts{"200": 1}, nil, 0)
		})
	}
}

// Heads larger than a frame go in CONTINUATION, both ways; larger than the
// limit, the request is answered and the connection goes on.
func TestHugeHeads(t *testing.T) {
	r := newRig(t, options{}, reflecting(t))
	p := r.wire()
	var more []string
	for i := range 28 {
		more = append(more, fmt.Sprintf("x-%02d", i), strings.Repeat(string(rune('a'+i%26)), 1000+i)+"{}|^~") // Huffman makes it no shorter than a frame
	}
	p.get(1, "/", more...)
	h, _, _ := p.whole(1)
	for i := 0; i < len(more); i += 2 {
		if h.field("x-got-"+more[i]) != more[i+1] {
			t.Fatalf("field %s: %q", more[i], h.field("x-got-"+more[i]))
		}
	}
	for range 10 {
		more = append(more, "more", strings.Repeat("m", 1000))
	}
	p.get(3, "/", more...)
	if h, _, _ := p.whole(3); h.status() != "431" {
		t.Error(h)
	}
	p.get(5, "/")
	if h, _, _ := p.whole(5); h.status() != "200" {
		t.Error(h)
	}
}

func TestHugeAnswerHead(t *testing.T) {
	r := newRig(t, options{}, failing(t, func(p *wire, e event) {
		more := []string{":status", "200"}
		if e.field(":path") == "/huge" {
			for range 40 {
				more = append(more, "more", strings.Repeat("m", 1000))
			}
		}
		p.headers(e.id, true, more...)
	}))
	p := r.wire()
	p.get(1, "/huge")
	if h, _, _ := p.whole(1); h.status() != "502" || !strings.Contains(h.field("proxy-status"), "http_response_header_section_size") {
		t.Error(h)
	}
	p.get(3, "/")
	if h, _, _ := p.whole(3); h.status() != "200" {
		t.Error(h)
	}
	r.want(counts{"502 http_response_header_section_size": 1, "200": 1}, nil, 0)
}

// RFC 8441, from HTTP/2 to HTTP/2.
func TestExtendedConnect(t *testing.T) {
	connect := []string{":method", "CONNECT", ":protocol", "websocket", ":scheme", "http", ":authority", "test", ":path", "/chat"}
	backend := func(settings ...uint32) string {
		return scripted(t, settings, func(p *wire, e event) {
			switch {
			case e.typ == http2.FrameHeaders:
				p.headers(e.id, false, ":status", "200", "x-protocol", e.field(":protocol"))
			case e.typ == http2.FrameData:
				p.data(e.id, string(e.data), e.end)
			}
		})
	}
	t.Run("taken", func(t *testing.T) {
		r := newRig(t, options{}, backend(settingConnect, 1))
		p := r.wire()
		p.headers(1, false, connect...)
		if h := p.next(); h.status() != "200" || h.field("x-protocol") != "websocket" {
			t.Fatal(h)
		}
		for _, m := range []string{"a", "bb", strings.Repeat("c", 10000)} {
			p.data(1, m, false)
			if e := p.next(); string(e.data) != m {
				t.Error(e)
			}
		}
		p.data(1, "", true)
		if e := p.next(); !e.end {
			t.Error(e)
		}
		r.want(counts{"200": 1}, nil, 0)
	})
	t.Run("not taken", func(t *testing.T) {
		r := newRig(t, options{cluster: resource.Cluster{Protocol: resource.ProtocolHTTP2}}, backend())
		p := r.wire()
		p.headers(1, false, connect...)
		h, _, _ := p.whole(1)
		if h.status() != "502" || !strings.Contains(h.field("proxy-status"), "http_upgrade_failed") {
			t.Error(h)
		}
		if code := p.wantReset(1); code != http2.ErrCodeNo {
			t.Error(code)
		}
		r.want(counts{"502 http_upgrade_failed": 1}, nil, 0)
	})
	t.Run("left half way", func(t *testing.T) {
		got := make(chan http2.ErrCode, 1)
		r := newRig(t, options{}, scripted(t, []uint32{settingConnect, 1}, func(p *wire, e event) {
			switch e.typ {
			case http2.FrameHeaders:
				p.headers(e.id, false, ":status", "200")
			case http2.FrameRSTStream:
				got <- e.code
			}
		}))
		p := r.wire()
		p.headers(1, false, connect...)
		p.next()
		p.reset(1, codeCancel)
		if code := <-got; code != http2.ErrCodeCancel {
			t.Error(code)
		}
		r.want(counts{"200 client_closed": 1}, nil, 0)
	})
}
