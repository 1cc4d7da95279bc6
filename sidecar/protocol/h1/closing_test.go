package h1

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A client that says FIN after its request still gets the answer.
func TestHalfClose(t *testing.T) {
	reached, free := make(chan struct{}), make(chan struct{})
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		close(reached)
		<-free
		_, _ = io.WriteString(w, "answer")
	})
	c := newRig(t, options{}, addr).dial()
	c.send(get)
	<-reached
	_ = c.CloseWrite()
	close(free)
	if res, b := c.answer("GET"); res.StatusCode != 200 || b != "answer" {
		t.Fatalf("%d %q", res.StatusCode, b)
	}
	c.ended()
}

// A FIN that comes in one piece with the request has no event of its own: the
// connection is closed within seconds all the same.
func TestRequestAndFINAtOnce(t *testing.T) {
	addr := says(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	r := newRig(t, options{}, addr)
	for range 5 {
		c := r.dial()
		c.send(get)
		_ = c.CloseWrite()
		if _, b := c.answer("GET"); b != "ok" {
			t.Fatalf("%q", b)
		}
		begun := time.Now()
		c.ended()
		if d := time.Since(begun); d > 4*time.Second {
			t.Errorf("closed after %v", d)
		}
	}
}

// A client that ends within its request's body: 400, and the endpoint does not
// see a whole request.
func TestFINWithinBody(t *testing.T) {
	saw := make(chan error, 1)
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		_, err := io.ReadAll(r.Body)
		saw <- err
	})
	for name, head := range map[string]string{
		"length":  "Content-Length: 10\r\n\r\n0123",
		"chunked": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
		"trailer": "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			c := newRig(t, options{}, addr).dial()
			c.send("POST / HTTP/1.1\r\nHost: checkout\r\n" + head)
			_ = c.CloseWrite()
			if res, _ := c.answer("POST"); res.StatusCode != 400 || !res.Close {
				t.Errorf("%d %v", res.StatusCode, res.Header)
			}
			c.ended()
			if err := <-saw; err == nil {
				t.Error("the endpoint saw a whole request")
			}
		})
	}
}

func TestHTTP10(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Proto != "HTTP/1.1" {
			t.Errorf("upstream got %s", r.Proto)
		}
		if r.URL.Path == "/chunked" {
			_, _ = io.WriteString(w, "one,")
			w.(http.Flusher).Flush()
		}
		_, _ = io.WriteString(w, "two")
	})
	r := newRig(t, options{}, addr)

	c := r.dial()
	c.send("GET / HTTP/1.0\r\nHost: checkout\r\n\r\n")
	if res, b := c.answer("GET"); b != "two" || res.Header.Get("Connection") == "keep-alive" {
		t.Errorf("%v %q", res.Header, b)
	}
	c.ended()

	c = r.dial()
	for range 2 {
		c.send("GET / HTTP/1.0\r\nHost: checkout\r\nConnection: keep-alive\r\n\r\n")
		if res, b := c.answer("GET"); b != "two" || res.Header.Get("Connection") != "keep-alive" {
			t.Errorf("%v %q", res.Header, b)
		}
	}
	// It does not know chunks: they are taken off, and the end is the connection's.
	c.send("GET /chunked HTTP/1.0\r\nHost: checkout\r\nConnection: keep-alive\r\n\r\n")
	res, b := c.answer("GET")
	if b != "one,two" || len(res.TransferEncoding) > 0 || !res.Close {
		t.Errorf("chunked: %v %v %q", res.Header, res.TransferEncoding, b)
	}
	c.ended()
}

func TestConnectionClose(t *testing.T) {
	addr := says(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
	r := newRig(t, options{}, addr)
	c := r.dial()
	// What follows is thrown away, and does not destroy the answer.
	c.send("GET / HTTP/1.1\r\nHost: checkout\r\nConnection: close\r\n\r\n" + get)
	if res, b := c.answer("GET"); b != "ok" || !res.Close {
		t.Fatalf("%v %q", res.Header, b)
	}
	c.ended()
	if s := PoolStats(r.cluster.Endpoints()[0]); s.Open != 1 {
		t.Errorf("the client's close went to the endpoint: %+v", s)
	}
	r.stop()
	if n := r.calls(); n != 1 {
		t.Errorf("%d calls, want 1", n)
	}
}

// An answer without a length ends with its connection, for both sides.
func TestAnswerUntilClose(t *testing.T) {
	for _, head := range []string{"HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n"} {
		addr := rawOnce(t, head+"some ", "content")
		c := newRig(t, options{}, addr).dial()
		c.send(get)
		if res, b := c.answer("GET"); b != "some content" || !res.Close {
			t.Errorf("%v %q", res.Header, b)
		}
		c.ended()
	}
}

// The endpoint closes its connection after each answer: the client's stays.
func TestUpstreamClose(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "ok")
	})
	c := newRig(t, options{}, addr).dial()
	for range 5 {
		c.send(get)
		if res, b := c.answer("GET"); b != "ok" || res.Close {
			t.Fatalf("%v %q", res.Header, b)
		}
	}
}

// Drain: answers under way are the last of their connections, idle ones close.
func TestDrain(t *testing.T) {
	reached, free := make(chan struct{}), make(chan struct{})
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(reached)
			<-free
		}
		_, _ = io.WriteString(w, strings.Repeat("x", 100))
	})
	r := newRig(t, options{}, addr)
	idle, busy := r.dial(), r.dial()
	idle.send(get)
	idle.answer("GET")
	busy.send("GET /slow HTTP/1.1\r\nHost: checkout\r\n\r\n" + get)
	<-reached
	r.srv.Drain()
	idle.ended()
	close(free)
	if res, b := busy.answer("GET"); res.StatusCode != 200 || len(b) != 100 || !res.Close {
		t.Errorf("%d %v", res.StatusCode, res.Header)
	}
	busy.ended()
}

// Bytes behind an answer are not the next answer: the connection is not used again.
func TestSurplusAnswer(t *testing.T) {
	addr := says(t, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
	c := newRig(t, options{}, addr).dial()
	for i := range 5 {
		c.send(get)
		if _, b := c.answer("GET"); b != "ok" {
			t.Fatalf("answer %d: %q", i, b)
		}
	}
}

func TestRequestErrorsByTheRelay(t *testing.T) {
	r := newRig(t, options{}, "127.0.0.1:1")
	c := r.dial()
	for range 3 {
		c.send("GET / HTTP/1.1\r\nHost: unknown.example\r\n\r\n")
		res, b := c.answer("GET")
		if res.StatusCode != 403 || res.Close || !strings.Contains(b, "unknown.example") {
			t.Fatalf("%d %v %q", res.StatusCode, res.Header, b)
		}
	}
	c.send("HEAD / HTTP/1.1\r\nHost: unknown.example\r\n\r\n")
	if res, b := c.answer("HEAD"); res.StatusCode != 403 || b != "" {
		t.Errorf("%d %q", res.StatusCode, b)
	}
	c.send(fmt.Sprintf("POST / HTTP/1.1\r\nHost: unknown.example\r\nContent-Length: %d\r\n\r\n", 10))
	if res, _ := c.answer("POST"); res.StatusCode != 403 || !res.Close {
		t.Errorf("%d %v: the body was not read", res.StatusCode, res.Header)
	}
	c.ended()
}
