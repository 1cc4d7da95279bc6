package h1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/meshd/meshd/tracing"
	"github.com/meshd/meshd/xds/resource"
)

// The oracle of the fuzz targets is net/http: what this parser accepts, that
// must accept as well, and read the same out of it, above all where the message
// ends. This parser may refuse more. It refuses less only here:
//
//   - one empty line before a request (RFC 9112 section 2.2), which
//     http.ReadRequest does not skip;
//   - escapes in the target that stand for nothing ("%zz"): it goes on as it
//     came, and what it means is for the application to say;
//   - a Trailer field that announces a framing field: it announces nothing,
//     since trailers are checked themselves.
func lenient(err error) bool {
	var bad *url.Error
	return errors.As(err, &bad) && strings.Contains(err.Error(), "invalid URL escape") ||
		strings.Contains(err.Error(), "bad trailer key")
}

// message is what a reader makes of a body.
type message struct {
	content string
	rest    int // bytes behind the message
	whole   bool
	err     error
}

// follow reads a body with this package, in pieces of the given size.
func follow(b body, p []byte, piece int) (m message) {
	var content []byte
	have := min(piece, len(p))
	for !b.done() {
		n, data, err := b.next(p[:have], DefaultLimits)
		if err != nil {
			return message{err: err}
		}
		if data {
			content = append(content, p[:n]...)
		}
		p, have = p[n:], have-n
		if have == 0 || n == 0 {
			if have == len(p) {
				break
			}
			have = min(have+piece, len(p))
		}
	}
	return message{string(content), len(p), b.done() || b.kind == bodyUntilClose, nil}
}

// oracle reads a body with net/http.
func oracle(b io.Reader, r *bufio.Reader, under *bytes.Reader) (m message) {
	content, err := io.ReadAll(b)
	return message{string(content), r.Buffered() + under.Len(), err == nil, nil}
}

func compareBodies(t *testing.T, ours func(piece int) message, theirs message) {
	t.Helper()
	m := ours(1 << 20)
	for _, piece := range []int{1, 2, 7} {
		if k := ours(piece); k.content != m.content || k.whole != m.whole || k.rest != m.rest || (k.err == nil) != (m.err == nil) {
			t.Fatalf("in pieces of %d: %+v, at once: %+v", piece, k, m)
		}
	}
	switch {
	case m.err != nil:
	case m.whole != theirs.whole:
		t.Fatalf("whole: %v, net/http: %v", m.whole, theirs.whole)
	case m.whole && m != theirs:
		t.Fatalf("%+v, net/http: %+v", m, theirs)
	}
}

// incremental asserts that a parser says of each beginning of its input
// nothing yet, or what it says of the whole.
func incremental(t *testing.T, data []byte, n int, err error, parse func([]byte) (int, error)) {
	t.Helper()
	for k := range data {
		m, e := parse(data[:k])
		switch {
		case e != nil && err == nil:
			t.Fatalf("refused %q: %v, but not the whole", data[:k], e)
		case e == nil && m != 0 && (m != n || err != nil):
			t.Fatalf("%d of %q, %d, %v of the whole", m, data[:k], n, err)
		case e == nil && m == 0 && n > 0 && k >= n:
			t.Fatalf("nothing yet after %d bytes of %d", k, n)
		}
	}
}

func FuzzRequest(f *testing.F) {
	for _, tc := range malformed {
		f.Add([]byte(tc.request))
	}
	for _, s := range []string{
		get, "\r\n" + get + get,
		"POST /a?b=%20 HTTP/1.1\r\nHost: a.b:80\r\nContent-Length: 5\r\n\r\nhelloGET",
		chunkedHead + "5;a=\"b\"\r\nhello\r\n0\r\nX: y\r\n\r\nGET",
		"GET http://[::1]:80/x HTTP/1.1\r\nHost: other\r\n\r\n",
		"OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
		"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n\x16\x03", "GET / HTTP/1.0\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, x\r\nX: y\r\nUpgrade: websocket\r\nTE: trailers\r\ntraceparent: a\r\nForwarded: b\r\nX-Forwarded-For: c\r\nExpect: 100-continue\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4<<10 {
			return
		}
		var r request
		parse := func(b []byte) (int, error) { return new(request).parse(b, DefaultLimits) }
		n, err := r.parse(data, DefaultLimits)
		incremental(t, data, n, err, parse)
		if err != nil || n == 0 {
			return
		}
		checkRequest(t, &r, data, n)
		for _, hop := range []hop{
			{}, {via: true, traced: true, trace: aTrace, propagate: tracing.Propagators{TraceContext: true}},
			{traced: true, trace: aTrace, propagate: tracing.Propagators{TraceContext: true, B3: true, B3Multi: true}},
			{forwarded: resource.ForwardedX, peer: "::1"}, {forwarded: resource.ForwardedRFC7239, peer: "::1"},
		} {
			checkRewritten(t, &r, data, n, &hop)
		}
	})
}

var aTrace = tracing.SpanContext{TraceID: [16]byte{1, 15: 2}, SpanID: [8]byte{3, 7: 4}, Flags: tracing.FlagSampled}

// checkRequest compares an accepted request with net/http's reading.
func checkRequest(t *testing.T, r *request, data []byte, n int) {
	t.Helper()
	under := bytes.NewReader(bytes.TrimPrefix(data, []byte("\r\n")))
	br := bufio.NewReaderSize(under, 16<<10)
	want, err := http.ReadRequest(br)
	if err != nil {
		if !lenient(err) {
			t.Fatalf("net/http refuses what we accept: %v", err)
		}
		return
	}
	length := r.length
	switch {
	case r.chunked:
		length = -1
	case length < 0:
		length = 0
	}
	if want.Method != string(r.name) || want.RequestURI != string(r.target) || want.Host != string(r.authority) ||
		want.ContentLength != length || (len(want.TransferEncoding) > 0) != r.chunked || want.ProtoAtLeast(1, 1) == r.http10 {
		t.Fatalf("%s %s %s %d chunked %v 1.0 %v, net/http: %+v", r.name, r.target, r.authority, length, r.chunked, r.http10, want)
	}
	b := r.body()
	compareBodies(t, func(piece int) message { return follow(b, data[n:], piece) }, oracle(want.Body, br, under))
}

// checkRewritten parses the head that goes on, with both parsers.
func checkRewritten(t *testing.T, r *request, data []byte, n int, hop *hop) {
	t.Helper()
	if r.method == mConnect || len(r.authority) == 0 {
		return // goes on as bytes, or nowhere
	}
	out, at, _ := r.appendRequest(nil, data, hop)
	if lines := hop.propagate.AppendLines(nil, aTrace); hop.traced && !bytes.HasPrefix(out[at:], lines) {
		t.Fatalf("the trace is not at %d of %q", at, out)
	}
	var again request
	lim := Limits{HeadBytes: bufferSize, Fields: 110, Trailer: 100}
	if m, err := again.parse(out, lim); err != nil || m != len(out) {
		t.Fatalf("our own head is refused: %d, %v of %q", m, err, out)
	}
	if !bytes.Equal(again.name, r.name) || !bytes.Equal(again.authority, r.authority) || again.length != r.length || again.chunked != r.chunked ||
		again.http10 || again.absolute || again.close || again.hosts != 1 {
		t.Fatalf("%q became %q", data[:n], out)
	}
	checkRequest(t, &again, append(out, data[n:]...), len(out))
}

func FuzzResponse(f *testing.F) {
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP", "HTTP/1.1 204\r\n\r\n", "HTTP/1.1 304 \r\nContent-Length: 5\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nuntil close",
		"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", "HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nabc",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", "HTTP/1.1 200 OK\nContent-Length: 1\n\na",
		"HTTP/1.1 204 No\r\nContent-Length: 5\r\nConnection: x, close\r\nX: y\r\nKeep-Alive: a\r\n\r\n", "HTTP/1.1 999 \xff\r\n\r\n",
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, head bool) {
		if len(data) > 4<<10 {
			return
		}
		m, name := mGet, "GET"
		if head {
			m, name = mHead, "HEAD"
		}
		var r response
		n, err := r.parse(data, DefaultLimits)
		incremental(t, data, n, err, func(b []byte) (int, error) { return new(response).parse(b, DefaultLimits) })
		if err != nil || n == 0 {
			return
		}
		checkResponse(t, &r, data, n, m, name)
		chunked := r.chunked && (m == mHead || r.body(m).kind == bodyChunked)
		out := r.appendResponse(nil, data, endKeep, chunked, true, nil, 0)
		var again response
		lim := Limits{HeadBytes: bufferSize, Fields: 110, Trailer: 100}
		if k, err := again.parse(out, lim); err != nil || k != len(out) {
			t.Fatalf("our own head is refused: %d, %v of %q", k, err, out)
		}
		if again.status != r.status || again.body(m) != r.body(m) || again.close {
			t.Fatalf("%q became %q", data[:n], out)
		}
		checkResponse(t, &again, append(out, data[n:]...), len(out), m, name)
	})
}

func checkResponse(t *testing.T, r *response, data []byte, n int, m method, name string) {
	t.Helper()
	under := bytes.NewReader(data)
	br := bufio.NewReaderSize(under, 16<<10)
	want, err := http.ReadResponse(br, &http.Request{Method: name})
	if err != nil {
		if !lenient(err) {
			t.Fatalf("net/http refuses what we accept: %v", err)
		}
		return
	}
	if want.StatusCode != r.status {
		t.Fatalf("%d, net/http: %d", r.status, want.StatusCode)
	}
	b := r.body(m)
	compareBodies(t, func(piece int) message { return follow(b, data[n:], piece) }, oracle(want.Body, br, under))
}

func FuzzChunked(f *testing.F) {
	for _, tc := range malformed {
		if s, ok := strings.CutPrefix(tc.request, chunkedHead); ok {
			f.Add([]byte(s))
		}
	}
	f.Add([]byte("5\r\nhello\r\nA;x=\"y\";z\r\n0123456789\r\n000\r\nA: b\r\nC: d\r\n\r\nrest"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4<<10 {
			return
		}
		under := bytes.NewReader(slices.Concat([]byte(chunkedHead), data))
		br := bufio.NewReaderSize(under, 16<<10)
		req, err := http.ReadRequest(br)
		if err != nil {
			t.Fatal(err)
		}
		compareBodies(t, func(piece int) message { return follow(body{kind: bodyChunked}, data, piece) }, oracle(req.Body, br, under))
	})
}
