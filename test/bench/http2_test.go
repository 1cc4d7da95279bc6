package main

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// serveHTTP2 is net/http's server of HTTP/2 with prior knowledge.
func serveHTTP2(t *testing.T, h http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	s.Protocols.SetUnencryptedHTTP2(true)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(l) // returns when it is closed
	}()
	t.Cleanup(func() {
		s.Close()
		<-done
	})
	return l.Addr().String()
}

func TestHTTP2(t *testing.T) {
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
		}, 50, `answered "503", Proxy-Status "meshd; error=connection_refused"`},
		{"reset", 10, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, 20, "RST_STREAM INTERNAL_ERROR"},
		{"reset in the body", 10, func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, theBody[:50])
			w.(http.Flusher).Flush()
			panic(http.ErrAbortHandler)
		}, 20, "RST_STREAM INTERNAL_ERROR"},
		{"other body", 50, func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, strings.Repeat("x", len(theBody)))
		}, 4, `body "` + strings.Repeat("x", 40) + `"…`},
		{"short", 50, func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush() // no content-length
			io.WriteString(w, theBody[:99])
		}, 4, "a body of 99 bytes, want 100"},
		{"long", 50, func(w http.ResponseWriter, _ *http.Request) {
			w.(http.Flusher).Flush()
			io.WriteString(w, theBody)
			w.(http.Flusher).Flush()
			io.WriteString(w, "x")
		}, 4, "a body of more than 100 bytes"},
		{"none", 50, func(http.ResponseWriter, *http.Request) {}, 4, `content-length "0", want 100`},
		{"trailers", 50, func(w http.ResponseWriter, _ *http.Request) {
			io.WriteString(w, theBody)
			w.Header().Set(http.TrailerPrefix+"Grpc-Status", "0")
		}, 4, "trailers that nobody asked for"},
		{"many fields", 1, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("X-Long", strings.Repeat("long", 5000)) // goes on in CONTINUATION
			io.WriteString(w, theBody)
		}, 0, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var n atomic.Int64
			addr := serveHTTP2(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Host != "checkout" || r.URL.String() != "/bench?q=1" || r.Header.Get("User-Agent") != "meshd-bench" {
					t.Errorf("%s %s %v", r.Host, r.URL, r.Header)
				}
				if tc.every > 0 && n.Add(1)%tc.every == 0 {
					tc.then(w, r)
					return
				}
				io.WriteString(w, theBody)
			})
			r, err := load{Protocol: protoHTTP2, Addr: addr, Host: "checkout", Rate: 2000, Burst: 4, Connections: 2, Streams: 8, Duration: 100 * time.Millisecond}.run()
			if err != nil {
				t.Fatal(err)
			}
			if r.OK != 200-tc.failed || r.Failed != tc.failed || tc.failed > 0 && r.Causes[tc.cause] != tc.failed {
				t.Errorf("%+v", r)
			}
			if r.Seconds < 0.09 || r.P50 <= 0 || r.P99 < r.P50 {
				t.Errorf("%v s, p50 %v, p99 %v", r.Seconds, r.P50, r.P99)
			}
		})
	}
}

// An answer that never comes is noticed, however many others come.
func TestHTTP2Lost(t *testing.T) {
	var n atomic.Int64
	end := make(chan struct{})
	addr := serveHTTP2(t, func(w http.ResponseWriter, _ *http.Request) {
		if n.Add(1) == 7 {
			<-end
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, theBody)
	})
	t.Cleanup(func() { close(end) })
	r, err := load{Protocol: protoHTTP2, Addr: addr, Host: "a", Rate: 1000, Connections: 1, Streams: 4, Duration: 100 * time.Millisecond, Stall: 300 * time.Millisecond}.run()
	if err != nil || r.OK != 99 || r.Failed != 1 || r.Causes["no answer in 300ms"] != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Saturated, as many requests are in flight as there are streams.
func TestHTTP2Saturated(t *testing.T) {
	var most, now atomic.Int64
	all := make(chan struct{})
	addr := serveHTTP2(t, func(w http.ResponseWriter, _ *http.Request) {
		if n := now.Add(1); n == 32 {
			close(all)
		}
		<-all
		most.Store(max(most.Load(), now.Load()))
		defer now.Add(-1 << 20) // never 32 again
		io.WriteString(w, theBody)
	})
	r, err := load{Protocol: protoHTTP2, Addr: addr, Host: "a", Connections: 2, Streams: 16, Duration: 200 * time.Millisecond}.run()
	if err != nil || r.OK < 100 || r.Failed != 0 || most.Load() > 32 {
		t.Errorf("%+v, %d at a time, %v", r, most.Load(), err)
	}
}

// A connection that breaks takes all that is in flight on it along.
func TestHTTP2Closed(t *testing.T) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.ReadFull(c, make([]byte, 200)) // some requests
			c.Close()
		}
	}()
	r, err := load{Protocol: protoHTTP2, Addr: l.Addr().String(), Host: "a", Connections: 1, Streams: 16, Duration: time.Hour}.run()
	if err != nil || r.OK != 0 || r.Failed < maxFailures {
		t.Errorf("%+v, %v", r, err)
	}
	l.Close()
	<-done
}

// serveEcho is grpc-go's server of the gRPC backend's method.
func serveEcho(t *testing.T, echo func(context.Context, *wrapperspb.StringValue) (*wrapperspb.StringValue, error)) string {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := echoServer(echo)
	done := make(chan struct{})
	go func() {
		defer close(done)
		s.Serve(l) // returns when it is stopped
	}()
	t.Cleanup(func() {
		s.Stop()
		<-done
	})
	return l.Addr().String()
}

func TestGRPC(t *testing.T) {
	type message = wrapperspb.StringValue
	for _, tc := range []struct {
		name   string
		then   func(context.Context, *message) (*message, error)
		failed int64
		cause  string
	}{
		{"good", nil, 0, ""},
		{"unavailable", func(context.Context, *message) (*message, error) {
			return nil, status.Error(codes.Unavailable, "gone")
		}, 20, `grpc-status "14": "gone"`},
		{"unavailable after the fields", func(ctx context.Context, _ *message) (*message, error) {
			return nil, status.Error(codes.Unavailable, grpcHeader(ctx))
		}, 20, `grpc-status "14": "gone"`},
		{"other message", func(context.Context, *message) (*message, error) {
			return wrapperspb.String(strings.Repeat("x", 98)), nil
		}, 20, `body "\x00\x00\x00\x00d\nb` + strings.Repeat("x", 33) + `"…`},
		{"other length", func(context.Context, *message) (*message, error) {
			return wrapperspb.String("x"), nil
		}, 20, `body "\x00\x00\x00\x00\x03\n\x01x"…`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var n atomic.Int64
			addr := serveEcho(t, func(ctx context.Context, m *message) (*message, error) {
				if m.Value != theText {
					t.Errorf("got %q", m.Value)
				}
				if n.Add(1)%10 == 0 && tc.then != nil {
					return tc.then(ctx, m)
				}
				return m, nil
			})
			r, err := load{Protocol: protoGRPC, Addr: addr, Host: "checkout", Rate: 2000, Burst: 4, Connections: 2, Streams: 8, Duration: 100 * time.Millisecond}.run()
			if err != nil || r.OK != 200-tc.failed || r.Failed != tc.failed || tc.failed > 0 && r.Causes[tc.cause] != tc.failed {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
}

// grpcHeader sends the fields of an answer, so that its status comes in
// trailers.
func grpcHeader(ctx context.Context) string {
	if err := grpc.SendHeader(ctx, metadata.Pairs("x", "y")); err != nil {
		return err.Error()
	}
	return "gone"
}

// What is no HTTP/2 is refused, whatever it is.
func FuzzHTTP2(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x00\x00\x01\x01\x05\x00\x00\x00\x01\x88"))
	f.Add([]byte("\x00\x00\x01\x01\x04\x00\x00\x00\x01\x88\x00\x00\x64\x00\x01\x00\x00\x00\x01" + theBody))
	f.Add([]byte("\x00\x00\x04\x03\x00\x00\x00\x00\x01\x00\x00\x00\x02"))
	f.Add([]byte("HTTP/1.1 400 Bad Request\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		w, out, err := newHTTP2(getCall("a"), 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if out, _, err = w.request(out); err != nil {
			t.Fatal(err)
		}
		answers := 0
		n, _, err := w.take(b, out, func(stream uint32, failure error) error {
			if answers++; stream != 1 || answers > 1 {
				t.Errorf("answer %d on stream %d", answers, stream)
			}
			if failure == nil && !strings.Contains(string(b), theBody[:1]) {
				t.Errorf("%q taken for a good answer", b)
			}
			return nil
		})
		if n < 0 || n > len(b) || err == nil && len(b)-n > 9+16384 {
			t.Errorf("%d of %d bytes, %v", n, len(b), err)
		}
	})
}
