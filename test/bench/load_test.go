package main

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestLoad(t *testing.T) {
	var n atomic.Int64
	every := func(k int64, then http.HandlerFunc) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			if k > 0 && n.Add(1)%k == 0 {
				then(w, r)
				return
			}
			io.WriteString(w, theBody)
		}
	}
	for _, tc := range []struct {
		name   string
		every  int64
		then   http.HandlerFunc
		failed int64
		cause  string
	}{
		{"good", 0, nil, 0, ""},
		{"503", 4, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Proxy-Status", "meshd; error=connection_refused")
			w.WriteHeader(503)
		}, 25, `answered "HTTP/1.1 503 Service Unavailable", Proxy-Status "meshd; error=connection_refused"`},
		{"reset", 10, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 10, "closed by the proxy"},
		{"other body", 50, func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, strings.Repeat("x", len(theBody)))
		}, 2, `body "` + strings.Repeat("x", 40) + `"…`},
		{"close", 50, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "close")
			io.WriteString(w, theBody)
		}, 2, "the connection is closed after this answer"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n.Store(0)
			server := httptest.NewServer(every(tc.every, tc.then))
			defer server.Close()
			r, err := load{Protocol: protoHTTP1, Addr: server.Listener.Addr().String(), Host: "checkout", Rate: 1000, Connections: 4, Duration: 100 * time.Millisecond}.run()
			if err != nil {
				t.Fatal(err)
			}
			if r.OK != 100-tc.failed || r.Failed != tc.failed || tc.failed > 0 && r.Causes[tc.cause] != tc.failed {
				t.Errorf("%+v", r)
			}
			if r.Seconds < 0.09 || r.P50 <= 0 || r.P99 < r.P50 {
				t.Errorf("%v s, p50 %v, p99 %v", r.Seconds, r.P50, r.P99)
			}
		})
	}
}

// Latency counts from when a request was due: a stall is not hidden.
func TestStallCounts(t *testing.T) {
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) == 1 {
			<-time.After(100 * time.Millisecond)
		}
		io.WriteString(w, theBody)
	}))
	defer server.Close()
	r, err := load{Protocol: protoHTTP1, Addr: server.Listener.Addr().String(), Host: "a", Rate: 1000, Connections: 1, Duration: 100 * time.Millisecond}.run()
	if err != nil || r.OK != 100 || r.P50 < 30 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Requests of a burst go out together, and the rate is the same.
func TestBurst(t *testing.T) {
	var now atomic.Int64
	all := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if now.Add(1) == 8 {
			close(all)
		}
		<-all // hangs unless eight are sent before one is answered
		io.WriteString(w, theBody)
	}))
	defer server.Close()
	r, err := load{Protocol: protoHTTP1, Addr: server.Listener.Addr().String(), Host: "a", Rate: 200, Burst: 8, Connections: 8, Duration: 120 * time.Millisecond}.run()
	if err != nil || r.OK != 24 || r.Failed != 0 || r.Seconds < 0.08 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestSaturated(t *testing.T) {
	var most, now atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		most.Store(max(most.Load(), now.Add(1)))
		defer now.Add(-1)
		io.WriteString(w, theBody)
	}))
	defer server.Close()
	r, err := load{Protocol: protoHTTP1, Addr: server.Listener.Addr().String(), Host: "a", Connections: 4, Duration: 100 * time.Millisecond}.run()
	if err != nil || r.OK < 50 || r.Failed != 0 || most.Load() > 4 {
		t.Errorf("%+v, %d at a time, %v", r, most.Load(), err)
	}
}

// What never answers well is given up soon, not tried for ever.
func TestGivesUp(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	defer server.Close()
	r, err := load{Protocol: protoHTTP1, Addr: server.Listener.Addr().String(), Host: "a", Connections: 4, Duration: time.Hour}.run()
	if err != nil || r.OK != 0 || r.Failed < maxFailures || r.Failed > maxFailures+4 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestNobodyListens(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	for _, addr := range []string{l.Addr().String(), "[::1]:1", "checkout"} {
		if _, err := (load{Protocol: protoHTTP1, Addr: addr, Connections: 1, Rate: 1, Duration: time.Second}).run(); err == nil {
			t.Errorf("%s: no error", addr)
		}
	}
}

func TestAnswer(t *testing.T) {
	length := "Content-Length: " + strconv.Itoa(len(theBody)) + "\r\n"
	whole := "HTTP/1.1 200 OK\r\nServer: x\r\n" + length + "\r\n" + theBody
	for i := range whole {
		if n, err := answer([]byte(whole[:i])); n != 0 || err != nil {
			t.Fatalf("first %d bytes: %d, %v", i, n, err)
		}
	}
	if n, err := answer([]byte(whole + "more")); n != len(whole) || err != nil {
		t.Errorf("whole: %d, %v", n, err)
	}
	for _, bad := range []string{
		"HTTP/1.1 503 Service Unavailable\r\n\r\n",
		"HTTP/1.0 200 OK\r\n" + length + "\r\n",
		"HTTP/1.1 200 OK\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
		"HTTP/1.1 200 OK\r\n" + length + length + "\r\n",
		"HTTP/1.1 200 OK\r\nConnection: close\r\n" + length + "\r\n" + theBody,
		"HTTP/1.1 200 OK\r\n" + length + "\r\n" + strings.ToUpper(theBody),
	} {
		if n, err := answer([]byte(bad)); err == nil {
			t.Errorf("%q: %d, no error", bad, n)
		}
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + theBody + "x"))
	f.Add([]byte("HTTP/1.1 503 No\r\nProxy-Status: meshd; error=x\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\ncontent-length:1\r\nConnection: close\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, err := answer(b)
		if n < 0 || n > len(b) || err != nil && n != 0 {
			t.Fatalf("%d of %d, %v", n, len(b), err)
		}
		if n > 0 && !strings.HasSuffix(string(b[:n]), theBody) {
			t.Fatalf("%q taken for a good answer", b[:n])
		}
	})
}
