package h1

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

const get = "GET / HTTP/1.1\r\nHost: checkout\r\n\r\n"

// says makes a raw backend that reads one request after the other and answers
// each with the same bytes.
func says(t testing.TB, answer string) string {
	return rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			if _, _, err := readRequest(r); err != nil {
				return
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
}

// readRequest reads a whole request with net/http.
func readRequest(r *bufio.Reader) (*http.Request, string, error) {
	req, err := http.ReadRequest(r)
	if err != nil {
		return nil, "", err
	}
	b, err := io.ReadAll(req.Body)
	return req, string(b), err
}

func TestChunkedWithTrailersBothWays(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		w.Header().Set("Trailer", "X-Sum")
		w.WriteHeader(200)
		_, _ = w.Write(b[:len(b)/2])
		w.(http.Flusher).Flush()
		_, _ = w.Write(b[len(b)/2:])
		w.Header().Set("X-Sum", r.Trailer.Get("X-Sum"))
	})
	c := newRig(t, options{}, addr).dial()
	for range 2 {
		c.send("POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n")
		c.send("5;name=\"value\"\r\nhel")
		c.send("lo\r")
		c.send("\n0000A\r\n0123456789\r\n0\r\nX-S")
		c.send("um: 42\r\n\r\n")
		res, body := c.answer("POST")
		if body != "hello0123456789" || res.Trailer.Get("X-Sum") != "42" {
			t.Fatalf("%q, trailer %q", body, res.Trailer)
		}
	}
}

// Answers that have no body whatever their fields say.
func TestAnswersWithoutBody(t *testing.T) {
	for _, tc := range []struct{ name, method, answer, header, want string }{
		{"head with length", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", "Content-Length", "1000"},
		{"head chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "", ""},
		{"head without length", "HEAD", "HTTP/1.1 200 OK\r\n\r\n", "Content-Length", ""},
		{"204", "GET", "HTTP/1.1 204 No Content\r\n\r\n", "Content-Length", ""},
		{"204 with length", "GET", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", "Content-Length", ""},
		{"304 with length", "GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n", "Etag", "x"},
		{"length 0", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "Content-Length", "0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t, options{}, says(t, tc.answer))
			c := r.dial()
			for range 3 { // a length misread would swallow or leave bytes
				c.send(tc.method + " / HTTP/1.1\r\nHost: checkout\r\n\r\n")
				res, body := c.answer(tc.method)
				if body != "" || res.Header.Get(tc.header) != tc.want {
					t.Fatalf("%v %q", res.Header, body)
				}
			}
			if s := PoolStats(r.cluster.Endpoints()[0]); s.Open != 1 {
				t.Errorf("%d connections, want one used thrice", s.Open)
			}
		})
	}
}

// A client that waits for 100 Continue gets it from the endpoint, end to end.
func TestExpectContinue(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body) // net/http says 100 Continue now
		fmt.Fprintf(w, "%d", len(b))
	})
	c := newRig(t, options{}, addr).dial()
	for range 2 {
		c.send("POST / HTTP/1.1\r\nHost: checkout\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
		if res, _ := c.answer("POST"); res.StatusCode != 100 {
			t.Fatalf("%d, want 100", res.StatusCode)
		}
		c.send("hello")
		if res, b := c.answer("POST"); res.StatusCode != 200 || b != "5" {
			t.Fatalf("%d %q", res.StatusCode, b)
		}
	}
}

// The endpoint refuses instead of saying 100: the client gets that at once.
func TestExpectRefused(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(413) })
	c := newRig(t, options{}, addr).dial()
	c.send("POST / HTTP/1.1\r\nHost: checkout\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
	res, _ := c.answer("POST")
	if res.StatusCode != 413 {
		t.Fatalf("%d", res.StatusCode)
	}
	c.ended()
}

func TestInterimAnswers(t *testing.T) {
	const hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n"
	addr := says(t, hints+hints+"HTTP/1.1 102 Processing\r\nContent-Length: 3\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	c := newRig(t, options{}, addr).dial()
	for range 2 {
		c.send(get)
		for _, want := range []int{103, 103, 102, 200} {
			res, body := c.answer("GET")
			if res.StatusCode != want || want == 103 && res.Header.Get("Link") != "</a.css>" || want == 200 && body != "ok" {
				t.Fatalf("%d %v %q, want %d", res.StatusCode, res.Header, body, want)
			}
			if want < 200 && res.Header.Get("Content-Length") != "" {
				t.Error("an interim answer has no length (RFC 9110 section 8.6)")
			}
		}
	}
	// A client of HTTP/1.0 does not know them.
	c.send("GET / HTTP/1.0\r\nHost: checkout\r\n\r\n")
	if res, body := c.answer("GET"); res.StatusCode != 200 || body != "ok" {
		t.Errorf("HTTP/1.0: %d %q", res.StatusCode, body)
	}
	c.ended()
}

// Fifty requests in one write, of several methods, the first of them slow, are
// answered in their order.
func TestPipelining(t *testing.T) {
	started, free := make(chan struct{}, 1), make(chan struct{})
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/0" {
			started <- struct{}{}
			<-free
		}
		b, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %d", r.Method, r.URL.Path, len(b))
	})
	r := newRig(t, options{}, addr)
	c := r.dial()
	methods := []string{"GET", "POST", "HEAD", "PUT", "DELETE"}
	var all strings.Builder
	for i := range 50 {
		switch m := methods[i%5]; m {
		case "POST":
			fmt.Fprintf(&all, "POST /%d HTTP/1.1\r\nHost: checkout\r\nContent-Length: 1000\r\n\r\n%s", i, strings.Repeat("p", 1000))
		case "PUT":
			fmt.Fprintf(&all, "PUT /%d HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", i)
		default:
			fmt.Fprintf(&all, "%s /%d HTTP/1.1\r\nHost: checkout\r\n\r\n", m, i)
		}
	}
	c.send(all.String())
	<-started
	close(free)
	for i := range 50 {
		m := methods[i%5]
		want := fmt.Sprintf("%s /%d %d", m, i, map[string]int{"POST": 1000, "PUT": 3}[m])
		if m == "HEAD" {
			want = ""
		}
		if res, body := c.answer(m); res.StatusCode != 200 || body != want {
			t.Fatalf("answer %d: %d %q, want %q", i, res.StatusCode, body, want)
		}
	}
	r.stop()
	if n := r.calls(); n != 50 {
		t.Errorf("%d calls counted", n)
	}
}

// An answer that comes while the request is still on its way is passed on at
// once, and the connection is used again once the request is complete.
func TestEarlyAnswer(t *testing.T) {
	addr := rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		for {
			req, err := http.ReadRequest(r)
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly")
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
		}
	})
	r := newRig(t, options{}, addr)
	c := r.dial()
	for range 3 {
		c.send("POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 10\r\n\r\n01234")
		if res, b := c.answer("POST"); res.StatusCode != 200 || b != "early" {
			t.Fatalf("%d %q", res.StatusCode, b)
		}
		c.send("56789")
	}
	c.send(get)
	if _, b := c.answer("GET"); b != "early" {
		t.Fatalf("%q", b)
	}
	if s := PoolStats(r.cluster.Endpoints()[0]); s.Open != 1 {
		t.Errorf("%d connections, want 1", s.Open)
	}
}

// An endpoint that answers early and closes: the client gets the answer, and
// not a reset that destroys it, however much it still sends.
func TestEarlyAnswerAndClose(t *testing.T) {
	addr := rawBackend(t, func(c *net.TCPConn, r *bufio.Reader) {
		if _, err := http.ReadRequest(r); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
			_ = c.CloseWrite()
			_, _ = io.Copy(io.Discard, r)
		}
	})
	c := newRig(t, options{}, addr).dial()
	c.send("POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 1000000\r\n\r\n0123456789")
	if res, b := c.answer("POST"); res.StatusCode != 413 || b != "big" {
		t.Fatalf("%d %q", res.StatusCode, b)
	}
	c.ended()
}
