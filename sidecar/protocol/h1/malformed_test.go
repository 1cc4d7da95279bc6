package h1

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// malformed is what no client of good will sends: RFC 9112, and the known
// families of request smuggling. Each is refused before anything of it has
// gone on; body says that the fault lies behind a head which has gone on.
var malformed = []struct {
	name, request string
	status        int // 0: 400
	body          bool
}{
	// Request line (RFC 9112 section 3).
	{name: "HTTP/0.9", request: "GET /\r\n\r\n"},
	{name: "no version", request: "GET / \r\nHost: checkout\r\n\r\n"},
	{name: "HTTP/1.2", request: "GET / HTTP/1.2\r\nHost: checkout\r\n\r\n", status: 505},
	{name: "HTTP/2.0", request: "GET / HTTP/2.0\r\nHost: checkout\r\n\r\n", status: 505},
	{name: "HTTP/2 preface", request: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", status: 505},
	{name: "HTTP/1.10", request: "GET / HTTP/1.10\r\nHost: checkout\r\n\r\n"},
	{name: "HTTP/01.1", request: "GET / HTTP/01.1\r\nHost: checkout\r\n\r\n"},
	{name: "lower-case version", request: "GET / http/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "two spaces before the target", request: "GET  / HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "two spaces before the version", request: "GET /  HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "space after the version", request: "GET / HTTP/1.1 \r\nHost: checkout\r\n\r\n"},
	{name: "leading space", request: " GET / HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "tabs in the request line", request: "GET\t/\tHTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "space in the target", request: "GET /a b HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "two empty lines first", request: "\r\n\r\nGET / HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "bare LF first", request: "\nGET / HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "method with a colon", request: "GE:T / HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "method of 33 characters", request: strings.Repeat("A", 33) + " / HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "no method ever", request: strings.Repeat("A", 100)},
	{name: "TLS ClientHello", request: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"},
	{name: "NUL in the target", request: "GET /\x00 HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "control character in the target", request: "GET /\x7f HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "raw UTF-8 in the target", request: "GET /\xc3\xa9 HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "fragment", request: "GET /#a HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "relative target", request: "GET a HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "asterisk without OPTIONS", request: "GET * HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "https in absolute form", request: "GET https://checkout/ HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "absolute form without host", request: "GET http:///a HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "absolute form with user info", request: "GET http://user@checkout/ HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "absolute form with a bad port", request: "GET http://checkout:x/ HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "request line too long", request: "GET /" + strings.Repeat("a", 20<<10) + " HTTP/1.1\r\nHost: checkout\r\n\r\n", status: 431},
	// Host (section 3.2).
	{name: "no Host", request: "GET / HTTP/1.1\r\n\r\n"},
	{name: "no Host in absolute form", request: "GET http://checkout/ HTTP/1.1\r\n\r\n"},
	{name: "two Hosts", request: "GET / HTTP/1.1\r\nHost: checkout\r\nHost: checkout\r\n\r\n"},
	{name: "two Hosts in 1.0", request: "GET / HTTP/1.0\r\nHost: checkout\r\nHost: other\r\n\r\n"},
	{name: "empty Host", request: "GET / HTTP/1.1\r\nHost:\r\n\r\n"},
	{name: "Host with user info", request: "GET / HTTP/1.1\r\nHost: a@checkout\r\n\r\n"},
	{name: "Host with a path", request: "GET / HTTP/1.1\r\nHost: checkout/a\r\n\r\n"},
	{name: "Host with a space", request: "GET / HTTP/1.1\r\nHost: checkout other\r\n\r\n"},
	{name: "Host list", request: "GET / HTTP/1.1\r\nHost: checkout, other\r\n\r\n"},
	{name: "Host with a large port", request: "GET / HTTP/1.1\r\nHost: checkout:65536\r\n\r\n"},
	{name: "Host with an open bracket", request: "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"},
	{name: "Host in brackets that is no address", request: "GET / HTTP/1.1\r\nHost: [checkout]\r\n\r\n"},
	// Field lines (section 5).
	{name: "space before the colon", request: "GET / HTTP/1.1\r\nHost : checkout\r\n\r\n"},
	{name: "tab before the colon", request: "GET / HTTP/1.1\r\nHost: checkout\r\nContent-Length\t: 5\r\n\r\nhello"},
	{name: "no colon", request: "GET / HTTP/1.1\r\nHost: checkout\r\nnonsense\r\n\r\n"},
	{name: "empty name", request: "GET / HTTP/1.1\r\nHost: checkout\r\n: a\r\n\r\n"},
	{name: "control character in a name", request: "GET / HTTP/1.1\r\nHost: checkout\r\nA\x01B: a\r\n\r\n"},
	{name: "NUL in a name", request: "GET / HTTP/1.1\r\nHost: checkout\r\nA\x00: a\r\n\r\n"},
	{name: "high bytes in a name", request: "GET / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encod\xc4\xb1ng: chunked\r\n\r\n"},
	{name: "parenthesis in a name", request: "GET / HTTP/1.1\r\nHost: checkout\r\nA(B: a\r\n\r\n"},
	{name: "NUL in a value", request: "GET / HTTP/1.1\r\nHost: checkout\r\nA: a\x00b\r\n\r\n"},
	{name: "control character in a value", request: "GET / HTTP/1.1\r\nHost: checkout\r\nA: a\x01b\r\n\r\n"},
	{name: "DEL in a value", request: "GET / HTTP/1.1\r\nHost: checkout\r\nA: \x7f\r\n\r\n"},
	{name: "bare CR in a value", request: "GET / HTTP/1.1\r\nHost: checkout\r\nA: a\rContent-Length: 5\r\n\r\n"},
	{name: "bare CR and LF", request: "GET / HTTP/1.1\r\nHost: checkout\r\nA: a\r\r\n\r\n"},
	{name: "bare LF after the request line", request: "GET / HTTP/1.1\nHost: checkout\r\n\r\n"},
	{name: "bare LF after a field", request: "GET / HTTP/1.1\r\nHost: checkout\nA: b\r\n\r\n"},
	{name: "bare LF ends the head", request: "GET / HTTP/1.1\r\nHost: checkout\r\n\n"},
	{name: "bare LF throughout", request: "GET / HTTP/1.1\nHost: checkout\n\n"},
	{name: "folded field", request: "GET / HTTP/1.1\r\nHost: checkout\r\nA: a\r\n b\r\n\r\n"},
	{name: "folded with tab", request: "GET / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding:\r\n\tchunked\r\n\r\n0\r\n\r\n"},
	{name: "folded first field", request: "GET / HTTP/1.1\r\n Host: checkout\r\n\r\n"},
	{name: "head too large", request: "GET / HTTP/1.1\r\nHost: checkout\r\nA: " + strings.Repeat("a", 20<<10) + "\r\n\r\n", status: 431},
	{name: "too many fields", request: "GET / HTTP/1.1\r\nHost: checkout\r\n" + strings.Repeat("A: b\r\n", 101) + "\r\n", status: 431},
	// Content-Length (section 6.2).
	{name: "length with plus", request: "POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: +5\r\n\r\nhello"},
	{name: "length with minus", request: "POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: -5\r\n\r\nhello"},
	{name: "hexadecimal length", request: "POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 0x5\r\n\r\nhello"},
	{name: "length with a space", request: "POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 5 0\r\n\r\nhello"},
	{name: "length with a fraction", request: "POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 5.0\r\n\r\nhello"},
	{name: "length with an underscore", request: "POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 1_0\r\n\r\nhello"},
	{name: "length in quotes", request: "POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: \"5\"\r\n\r\nhello"},
	{name: "empty length", request: "POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: \r\n\r\nhello"},
	{name: "length list", request: "POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 5, 5\r\n\r\nhello"},
	{name: "overflowing length", request: "POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 18446744073709551621\r\n\r\nhello"},
	{name: "two lengths", request: "POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!"},
	{name: "the same length twice", request: "POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello"},
	{name: "length 0 and another (0.CL)", request: "GET / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 0\r\nContent-Length: 44\r\n\r\n" + get},
	// Transfer-Encoding (section 6.1).
	{name: "CL.TE", request: "POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"},
	{name: "TE.CL", request: "POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGET / HTTP/1.1\r\n\r\n0\r\n\r\n"},
	{name: "chunked twice", request: "POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{name: "chunked, chunked", request: "POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"},
	{name: "chunked and then identity", request: "POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n"},
	{name: "identity", request: "POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: identity\r\n\r\n", status: 501},
	{name: "gzip", request: "POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: gzip\r\n\r\n", status: 501},
	{name: "gzip, chunked", request: "POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"},
	{name: "chunked, gzip", request: "POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"},
	{name: "xchunked", request: "POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", status: 501},
	{name: "chunked in quotes", request: "POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n"},
	{name: "chunked in apostrophes", request: "POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: 'chunked'\r\n\r\n0\r\n\r\n", status: 501},
	{name: "chunked with a parameter", request: "POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n"},
	{name: "chunked with a comma", request: "POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: chunked,\r\n\r\n0\r\n\r\n"},
	{name: "vertical tab before chunked", request: "POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"},
	{name: "NUL after chunked", request: "POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: chunked\x00\r\n\r\n0\r\n\r\n"},
	{name: "empty coding", request: "POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding:\r\n\r\n"},
	{name: "space before TE's colon", request: "POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"},
	{name: "space before TE", request: "POST / HTTP/1.1\r\nHost: checkout\r\n Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"},
	{name: "LF before TE", request: "POST / HTTP/1.1\r\nHost: checkout\r\nA: b\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"},
	{name: "chunked in 1.0", request: "POST / HTTP/1.0\r\nHost: checkout\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	// What must not have a body here.
	{name: "CONNECT with a length", request: "CONNECT checkout:80 HTTP/1.1\r\nHost: checkout:80\r\nContent-Length: 5\r\n\r\nhello"},
	{name: "CONNECT chunked", request: "CONNECT checkout:80 HTTP/1.1\r\nHost: checkout:80\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{name: "CONNECT without a port", request: "CONNECT checkout HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "CONNECT to a path", request: "CONNECT / HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "CONNECT in absolute form", request: "CONNECT http://checkout:80/ HTTP/1.1\r\nHost: checkout\r\n\r\n"},
	{name: "upgrade with a body", request: "POST / HTTP/1.1\r\nHost: checkout\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello"},
	{name: "h2c with a body", request: "POST / HTTP/1.1\r\nHost: checkout\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"},
	{name: "another expectation", request: "POST / HTTP/1.1\r\nHost: checkout\r\nExpect: 200-ok\r\nContent-Length: 5\r\n\r\nhello", status: 417},
	{name: "obfuscated expectation", request: "POST / HTTP/1.1\r\nHost: checkout\r\nExpect: y 100-continue\r\nContent-Length: 5\r\n\r\nhello", status: 417},
	// Chunks (section 7.1). A second request hides where a lenient reader
	// would find one.
	{name: "no chunk size", request: chunkedHead + "\r\nhello\r\n0\r\n\r\n", body: true},
	{name: "chunk size overflows", request: chunkedHead + "fffffffffffffffff\r\nhello\r\n0\r\n\r\n", body: true},
	{name: "chunk size wraps to 5", request: chunkedHead + "10000000000000005\r\nhello\r\n0\r\n\r\n", body: true},
	{name: "chunk size of 17 zeros", request: chunkedHead + "00000000000000005\r\nhello\r\n0\r\n\r\n", body: true},
	{name: "negative chunk size", request: chunkedHead + "-5\r\nhello\r\n0\r\n\r\n", body: true},
	{name: "chunk size with plus", request: chunkedHead + "+5\r\nhello\r\n0\r\n\r\n", body: true},
	{name: "chunk size with 0x", request: chunkedHead + "0x5\r\nhello\r\n0\r\n\r\n", body: true},
	{name: "chunk size with an underscore", request: chunkedHead + "0_5\r\nhello\r\n0\r\n\r\n", body: true},
	{name: "space before the chunk size", request: chunkedHead + " 5\r\nhello\r\n0\r\n\r\n", body: true},
	{name: "space after the chunk size", request: chunkedHead + "5 \r\nhello\r\n0\r\n\r\n", body: true},
	{name: "tab after the chunk size", request: chunkedHead + "5\t\r\nhello\r\n0\r\n\r\n", body: true},
	{name: "bare LF after the chunk size", request: chunkedHead + "5\nhello\r\n0\r\n\r\n", body: true},
	{name: "bare CR after the chunk size", request: chunkedHead + "5\rhello\r\n0\r\n\r\n", body: true},
	{name: "bare LF in an extension (TERM.EXT)", request: chunkedHead + "2;\nxx\r\n4c\r\n0\r\n\r\n" + get, body: true},
	{name: "bare CR in an extension", request: chunkedHead + "2;\rxx\r\n0\r\n\r\n" + get, body: true},
	{name: "LF before CRLF in an extension", request: chunkedHead + "2;a\n\r\nxx\r\n0\r\n\r\n", body: true},
	{name: "CR before CRLF", request: chunkedHead + "2\r\r\nxx\r\n0\r\n\r\n", body: true},
	{name: "NUL in an extension", request: chunkedHead + "2;a=\x00\r\nxx\r\n0\r\n\r\n", body: true},
	{name: "extension too long", request: chunkedHead + "2;" + strings.Repeat("a", 300) + "\r\nxx\r\n0\r\n\r\n", body: true},
	{name: "no CRLF after the data (EXT.TERM)", request: chunkedHead + "5\r\nhello0\r\n\r\n" + get, body: true},
	{name: "bare LF after the data", request: chunkedHead + "5\r\nhello\n0\r\n\r\n" + get, body: true},
	{name: "two other bytes after the data", request: chunkedHead + "5\r\nhelloXX0\r\n\r\n" + get, body: true},
	{name: "bare LF after the last chunk", request: chunkedHead + "5\r\nhello\r\n0\n\r\n" + get, body: true},
	{name: "bare LF ends the trailer", request: chunkedHead + "5\r\nhello\r\n0\r\n\n" + get, body: true},
	// Trailers (section 7.1.2).
	{name: "Content-Length in the trailer", request: chunkedHead + "0\r\nContent-Length: 5\r\n\r\n" + get, body: true},
	{name: "Transfer-Encoding in the trailer", request: chunkedHead + "0\r\nTransfer-Encoding: chunked\r\n\r\n" + get, body: true},
	{name: "Host in the trailer", request: chunkedHead + "0\r\nHost: other\r\n\r\n" + get, body: true},
	{name: "Connection in the trailer", request: chunkedHead + "0\r\nConnection: close\r\n\r\n" + get, body: true},
	{name: "malformed trailer", request: chunkedHead + "0\r\nnonsense\r\n\r\n" + get, body: true},
	{name: "folded trailer", request: chunkedHead + "0\r\nA: b\r\n c\r\n\r\n" + get, body: true},
	{name: "trailer too large", request: chunkedHead + "0\r\nA: " + strings.Repeat("a", 10<<10) + "\r\n\r\n", body: true},
	{name: "too many trailers", request: chunkedHead + "0\r\n" + strings.Repeat("A: b\r\n", 101) + "\r\n", body: true},
}

const chunkedHead = "POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: chunked\r\n\r\n"

// recorder is an endpoint that reads what comes and answers nothing.
type recorder struct {
	mu    sync.Mutex
	conns []*bytes.Buffer
}

func record(t testing.TB) (string, *recorder) {
	rec := &recorder{}
	return rawBackend(t, func(c *net.TCPConn, _ *bufio.Reader) {
		b := &bytes.Buffer{}
		rec.mu.Lock()
		rec.conns = append(rec.conns, b)
		rec.mu.Unlock()
		p := make([]byte, 4096)
		for {
			n, err := c.Read(p)
			rec.mu.Lock()
			b.Write(p[:n])
			rec.mu.Unlock()
			if err != nil {
				return
			}
		}
	}), rec
}

// requests are the whole requests that a lenient reader finds in what came.
func (rec *recorder) requests() (n int) {
	rec.mu.Lock()
	defer rec.mu.Unlock()
	for _, b := range rec.conns {
		r := bufio.NewReader(bytes.NewReader(b.Bytes()))
		for {
			if _, _, err := readRequest(r); err != nil {
				break
			}
			n++
		}
	}
	return n
}

func TestMalformedRequests(t *testing.T) {
	if len(malformed) < 70 {
		t.Errorf("only %d cases", len(malformed))
	}
	for _, tc := range malformed {
		for _, way := range []string{"at once", "in two pieces", "behind another"} {
			t.Run(tc.name+" "+way, func(t *testing.T) {
				addr, rec := record(t)
				r := newRig(t, options{}, addr)
				c := r.dial()
				switch way {
				case "in two pieces":
					half := len(tc.request) / 2
					c.send(tc.request[:half])
					_, _ = io.WriteString(c, tc.request[half:]) // may have been refused
				case "behind another":
					c.send("GET / HTTP/1.1\r\nHost: unknown\r\n\r\n" + tc.request + get)
					if res, _ := c.answer("GET"); res.StatusCode != 403 {
						t.Fatalf("first: %d", res.StatusCode)
					}
				default:
					c.send(tc.request)
				}
				want := tc.status
				if want == 0 {
					want = 400
				}
				res, body := c.answer("GET")
				if res.StatusCode != want || !res.Close || !strings.Contains(res.Header.Get("Proxy-Status"), "error=http_request_error") {
					t.Errorf("%d %v %q, want %d", res.StatusCode, res.Header, body, want)
				}
				_ = c.CloseWrite()
				c.ended()
				r.stop()
				if rec.requests() > 0 {
					t.Errorf("the endpoint saw a whole request")
				}
				if !tc.body && len(rec.conns) > 0 {
					t.Errorf("something went on")
				}
				if n := r.stats.Malformed.Value(); n != 1 {
					t.Errorf("%d malformed requests counted", n)
				}
			})
		}
	}
}

// Refusing costs no memory that stays.
func TestMalformedRequestsLeaveNothing(t *testing.T) {
	addr, _ := record(t)
	r := newRig(t, options{}, addr)
	round := func() {
		for _, tc := range malformed {
			if tc.body {
				continue
			}
			c, err := net.Dial("tcp", r.addr)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.WriteString(c, tc.request)
			if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode < 400 {
				t.Fatalf("%s: %v", tc.name, err)
			}
			_ = c.Close()
		}
		eventually(t, "every connection is closed", func() bool { return r.srv.Active() == 0 })
	}
	heap := func() uint64 {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	round()
	before := heap()
	for range 10 {
		round()
	}
	if after := heap(); after > before+1<<20 {
		t.Errorf("the heap grew from %d to %d bytes", before, after)
	}
}
