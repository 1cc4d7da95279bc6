package h1

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestGetAndKeepAlive(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s %s host=%s conn=%q", r.Method, r.RequestURI, r.Host, r.Header.Get("X-Drop"))
	})
	r := newRig(t, options{}, addr)
	c := r.dial()
	for i := range 3 {
		c.send(fmt.Sprintf("GET /a?b=%d HTTP/1.1\r\nHost: checkout:8080\r\nConnection: X-Drop\r\nX-Drop: 1\r\n\r\n", i))
		res, body := c.answer("GET")
		want := fmt.Sprintf("GET /a?b=%d host=checkout:8080 conn=\"\"", i)
		if res.StatusCode != 200 || body != want {
			t.Fatalf("%d %q, want %q", res.StatusCode, body, want)
		}
	}
	if s := PoolStats(r.cluster.Endpoints()[0]); s.Open != 1 {
		t.Errorf("%d upstream connections, want 1 used three times", s.Open)
	}
}

func TestPostBodies(t *testing.T) {
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		b, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(400)
		}
		fmt.Fprintf(w, "%d %s %s", len(b), r.TransferEncoding, r.Trailer.Get("X-Sum"))
	})
	r := newRig(t, options{}, addr)
	c := r.dial()
	c.send("POST / HTTP/1.1\r\nHost: checkout\r\nContent-Length: 5\r\n\r\nhello")
	if _, b := c.answer("POST"); b != "5 [] " {
		t.Errorf("length: %q", b)
	}
	c.send("POST / HTTP/1.1\r\nHost: checkout\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5;a=b\r\nhello\r\n3\r\nabc\r\n0\r\nX-Sum: 42\r\n\r\n")
	if _, b := c.answer("POST"); b != "8 [chunked] 42" {
		t.Errorf("chunked: %q", b)
	}
	big := strings.Repeat("x", 1<<20)
	c.send(fmt.Sprintf("PUT / HTTP/1.1\r\nHost: checkout\r\nContent-Length: %d\r\n\r\n", len(big)))
	c.send(big)
	if _, b := c.answer("PUT"); b != fmt.Sprintf("%d [] ", len(big)) {
		t.Errorf("big: %q", b)
	}
}

func TestRefusedConnection(t *testing.T) {
	r := newRig(t, options{}, "127.0.0.1:1")
	c := r.dial()
	c.send("GET / HTTP/1.1\r\nHost: checkout\r\n\r\n")
	res, body := c.answer("GET")
	if res.StatusCode != 503 || !strings.Contains(res.Header.Get("Proxy-Status"), "error=connection_refused") {
		t.Errorf("%d %q %q", res.StatusCode, res.Header, body)
	}
}
