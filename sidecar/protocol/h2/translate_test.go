package h2

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2/hpack"

	"github.com/meshd/meshd/xds/resource"
)

// front1 is an address of the relay at which clients speak HTTP/1.1.
func (r *rig) front1() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() { r.srv.ServeHTTP1(c.(*net.TCPConn), netip.AddrPort{}, nil) })
		}
	})
	r.t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func client1(t testing.TB, addr string) *http.Client {
	tr := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, addr)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: 20 * time.Second}
}

// echo answers with what it got.
func echo(w http.ResponseWriter, req *http.Request) {
	b, _ := io.ReadAll(req.Body)
	w.Header().Set("X-Proto", req.Proto)
	w.Header().Set("X-Cookie", req.Header.Get("Cookie"))
	w.Header().Set("X-Length", fmt.Sprint(req.ContentLength))
	w.Header().Set("X-In-Sum", req.Trailer.Get("X-In-Sum"))
	w.Header().Set("Trailer", "X-Sum")
	switch req.URL.Path {
	case "/length":
		w.Header().Set("Content-Length", fmt.Sprint(len(b)))
	case "/204":
		w.WriteHeader(204)
		return
	case "/503":
		w.WriteHeader(503)
	}
	_, _ = w.Write(b)
	w.Header().Set("X-Sum", "42")
}

func exchange(t *testing.T, c *http.Client, proto string) {
	t.Helper()
	for i, path := range []string{"/", "/length", "/204", "/503", "/"} {
		for _, size := range []int{0, 5, 70000, 3 << 20} {
			for _, method := range []string{"GET", "HEAD", "POST", "PUT"} {
				body := strings.Repeat("x", size)
				var in io.Reader = strings.NewReader(body)
				if i == 4 {
					in = struct{ io.Reader }{in} // of unknown length
				}
				if method == "GET" || method == "HEAD" {
					in, body = nil, ""
				}
				req, err := http.NewRequest(method, "http://test"+path, in)
				if err != nil {
					t.Fatal(err)
				}
				req.Header.Add("Cookie", "a=1")
				req.Header.Add("Cookie", "b=2")
				req.Header.Set("Te", "trailers")
				if in != nil && i == 4 {
					req.Trailer = http.Header{"X-In-Sum": {"7"}}
				}
				res, err := c.Do(req)
				if err != nil {
					t.Fatalf("%s %s %d: %v", method, path, size, err)
				}
				got, err := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if method == "HEAD" || path == "/204" {
					body = ""
				}
				if err != nil || string(got) != body {
					t.Fatalf("%s %s %d: %d bytes, %v", method, path, size, len(got), err)
				}
				if res.Header.Get("X-Proto") != proto {
					t.Fatalf("%s %s: %v", method, path, res.Header)
				}
				if c := res.Header.Get("X-Cookie"); c != "a=1; b=2" && c != "a=1" {
					t.Fatalf("%s %s: cookie %q", method, path, c)
				}
				if req.Trailer != nil && res.Header.Get("X-In-Sum") != "7" {
					t.Fatalf("%s %s %d: request trailers are lost: %v", method, path, size, res.Header)
				}
				if size > 0 && in != nil && path == "/" && res.Trailer.Get("X-Sum") != "42" {
					t.Fatalf("%s %s %d: trailers are lost: %v", method, path, size, res.Trailer)
				}
			}
		}
	}
}

func TestHTTP1ToHTTP2(t *testing.T) {
	r := newRig(t, options{cluster: resource.Cluster{Protocol: resource.ProtocolHTTP2}}, backend(t, echo))
	exchange(t, client1(t, r.front1()), "HTTP/2.0")
}

func TestHTTP2ToHTTP1(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(echo))
	defer s.Close()
	r := newRig(t, options{cluster: resource.Cluster{Protocol: resource.ProtocolHTTP1}}, s.Listener.Addr().String())
	exchange(t, r.client(), "HTTP/1.1")
}

// A service that says nothing of its protocol, and an application that knows
// HTTP/1.1 only: the first call finds out.
func TestHTTP2ToWhatTurnsOutToBeHTTP1(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.Start()
	defer s.Close()
	r := newRig(t, options{}, s.Listener.Addr().String())
	exchange(t, r.client(), "HTTP/1.1")
}

func TestHTTP1ToHTTP1InTheSameEngine(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(echo))
	defer s.Close()
	r := newRig(t, options{cluster: resource.Cluster{Protocol: resource.ProtocolAuto}}, s.Listener.Addr().String())
	exchange(t, client1(t, r.front1()), "HTTP/1.1")
}

// upgraded serves one WebSocket-like echo over HTTP/1.1.
func upgraded(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if !strings.EqualFold(req.Header.Get("Upgrade"), "websocket") || req.Header.Get("Sec-WebSocket-Key") == "" {
			w.WriteHeader(400)
			return
		}
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprintf(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n",
			accept(req.Header.Get("Sec-WebSocket-Key")))
		_ = rw.Flush()
		_, _ = io.Copy(c, rw)
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

// From HTTP/1.1 through HTTP/2, between two relays, and back to HTTP/1.1.
func TestWebSocketThroughBothTranslations(t *testing.T) {
	far := newRig(t, options{cluster: resource.Cluster{Protocol: resource.ProtocolHTTP1}}, upgraded(t))
	near := newRig(t, options{cluster: resource.Cluster{Protocol: resource.ProtocolHTTP2}}, far.addr)
	c, err := net.Dial("tcp", near.front1())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(c, "GET /chat HTTP/1.1\r\nHost: test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
	in := bufio.NewReader(c)
	res, err := http.ReadResponse(in, nil)
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != 101 || res.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatal(res.Status, res.Header)
	}
	sent := bytes.Repeat([]byte("frame"), 200000)
	go func() {
		_, _ = c.Write(sent)
		_ = c.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(in)
	if err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

func TestCookiesAreOneField(t *testing.T) {
	h := head{fields: []hpack.HeaderField{{Name: "cookie", Value: "a=1"}, {Name: "x"}, {Name: "cookie", Value: "b=2"}}}
	if got := h.named("cookie"); got != "a=1; b=2" {
		t.Error(got)
	}
}
