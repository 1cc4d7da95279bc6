package rig

import (
	"context"
	"errors"
	"net"
	"net/http"
	"testing"
	"time"
)

// Serve is an application that speaks one version of HTTP, 1 or 2, or both if
// that is 0, without TLS, until the test ends. It returns where.
func Serve(t testing.TB, version int, h http.Handler) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &http.Protocols{}
	p.SetHTTP1(version != 2)
	p.SetUnencryptedHTTP2(version != 1)
	srv := &http.Server{Handler: h, Protocols: p}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if srv.Shutdown(ctx) != nil { // idle connections first: their goroutines are waited for
			_ = srv.Close()
		}
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the application: %v", err)
		}
	})
	return l.Addr().String()
}

// Deaf accepts connections, and that is all, until the test ends. It returns
// where.
func Deaf(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
	return l.Addr().String()
}

// Transport makes calls over one version of HTTP, 1 or 2, without TLS, all of
// them to addr, whatever their URL says.
func Transport(t testing.TB, version int, addr string) *http.Transport {
	p := &http.Protocols{}
	if version == 2 {
		p.SetUnencryptedHTTP2(true)
	} else {
		p.SetHTTP1(true)
	}
	tr := &http.Transport{Protocols: p, MaxIdleConnsPerHost: 64, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", addr)
	}}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}
