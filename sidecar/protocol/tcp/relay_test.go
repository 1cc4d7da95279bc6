package tcp

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a relay between two peers: client -- a relay b -- server.
type rig struct {
	client, server *net.TCPConn
	cancel         context.CancelCauseFunc
	ended          chan struct{}
	res            Result
	err            error
}

func start(t *testing.T, o Options) *rig {
	t.Helper()
	r := &rig{ended: make(chan struct{})}
	var a, b *net.TCPConn
	r.client, a = pair(t)
	r.server, b = pair(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	r.cancel = cancel
	go func() {
		defer close(r.ended)
		r.res, r.err = Relay(ctx, a, b, o)
	}()
	t.Cleanup(func() {
		r.client.Close()
		r.server.Close()
		r.cancel(nil)
		<-r.ended
		for _, c := range []*net.TCPConn{a, b} {
			if err := c.SetDeadline(time.Time{}); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a connection is open after the relay: %v", err)
			}
		}
	})
	return r
}

func (r *rig) wait(t *testing.T) {
	t.Helper()
	select {
	case <-r.ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the relay does not end")
	}
}

// pair is a connection over loopback, both ends.
func pair(t testing.TB) (dialled, accepted *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	s, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c.(*net.TCPConn), s.(*net.TCPConn)
}

func send(t *testing.T, c net.Conn, s string) {
	t.Helper()
	if _, err := io.WriteString(c, s); err != nil {
		t.Fatal(err)
	}
}

func expect(t *testing.T, c net.Conn, s string) {
	t.Helper()
	b := make([]byte, len(s))
	if _, err := io.ReadFull(c, b); err != nil || string(b) != s {
		t.Fatalf("read %q, %v; want %q", b, err, s)
	}
}

func expectEnd(t *testing.T, c net.Conn) {
	t.Helper()
	if b, err := io.ReadAll(c); err != nil || len(b) > 0 {
		t.Fatalf("read %q, %v; want the end", b, err)
	}
}

func expectReset(t *testing.T, c net.Conn) {
	t.Helper()
	if _, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("got %v, want a reset", err)
	}
}

func TestFirstBytesComeFirst(t *testing.T) {
	r := start(t, Options{FirstAtoB: []byte("one "), FirstBtoA: []byte("eins ")})
	send(t, r.client, "two")
	send(t, r.server, "zwei")
	expect(t, r.server, "one two")
	expect(t, r.client, "eins zwei")
	r.client.CloseWrite()
	r.server.CloseWrite()
	r.wait(t)
	if r.res != (Result{AtoB: 7, BtoA: 9, Reason: Closed}) || r.err != nil {
		t.Errorf("%+v, %v", r.res, r.err)
	}
}

// Either side may end its data and go on reading.
func TestHalfClose(t *testing.T) {
	for _, name := range []string{"client first", "server first"} {
		t.Run(name, func(t *testing.T) {
			r := start(t, Options{})
			first, second := r.client, r.server
			if name == "server first" {
				first, second = second, first
			}
			send(t, first, "request")
			first.CloseWrite()
			expect(t, second, "request")
			expectEnd(t, second)
			for range 3 {
				send(t, second, "answer")
				expect(t, first, "answer")
			}
			second.CloseWrite()
			expectEnd(t, first)
			r.wait(t)
			if r.res.Reason != Closed || r.err != nil || r.res.AtoB+r.res.BtoA != 7+18 {
				t.Errorf("%+v, %v", r.res, r.err)
			}
		})
	}
}

func TestResetIsPassedOn(t *testing.T) {
	for _, name := range []string{"client", "server"} {
		for _, half := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				r := start(t, Options{})
				gone, stays := r.client, r.server
				if name == "server" {
					gone, stays = stays, gone
				}
				send(t, gone, "x")
				expect(t, stays, "x")
				if half { // even after the end of its data
					gone.CloseWrite()
					expectEnd(t, stays)
				}
				gone.SetLinger(0)
				gone.Close()
				r.wait(t)
				if r.res.Reason != Reset || r.err == nil {
					t.Errorf("half-closed %v: %+v, %v", half, r.res, r.err)
				}
				if half {
					// Its end was read already: the reset shows when it writes.
					waitWriteFails(t, stays)
				} else {
					expectReset(t, stays)
				}
			})
		}
	}
}

func waitWriteFails(t *testing.T, c *net.TCPConn) {
	t.Helper()
	for {
		if _, err := c.Write([]byte("x")); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal(err)
			}
			return
		}
	}
}

func TestBulkBothWays(t *testing.T) {
	const size = 10 << 20
	r := start(t, Options{IdleTimeout: time.Minute})
	var wg sync.WaitGroup
	one := func(from, to *net.TCPConn, seed uint64) {
		sum := make(chan [32]byte, 1)
		wg.Go(func() {
			h := sha256.New()
			io.Copy(h, io.LimitReader(rand.NewChaCha8([32]byte{byte(seed)}), size))
			sum <- [32]byte(h.Sum(nil))
			if _, err := io.Copy(from, io.LimitReader(rand.NewChaCha8([32]byte{byte(seed)}), size)); err != nil {
				t.Error(err)
			}
			from.CloseWrite()
		})
		wg.Go(func() {
			h := sha256.New()
			if n, err := io.Copy(h, to); n != size || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
			if want := <-sum; !bytes.Equal(h.Sum(nil), want[:]) {
				t.Error("the bytes differ")
			}
		})
	}
	one(r.client, r.server, 1)
	one(r.server, r.client, 2)
	wg.Wait()
	r.wait(t)
	if r.res != (Result{AtoB: size, BtoA: size, Reason: Closed}) || r.err != nil {
		t.Errorf("%+v, %v", r.res, r.err)
	}
}

func TestCancelResetsBoth(t *testing.T) {
	r := start(t, Options{})
	send(t, r.client, "x")
	expect(t, r.server, "x")
	why := errors.New("draining")
	r.cancel(why)
	r.wait(t)
	if r.res.Reason != Canceled || !errors.Is(r.err, why) {
		t.Errorf("%+v, %v", r.res, r.err)
	}
	expectReset(t, r.client)
	expectReset(t, r.server)
}

func TestCanceledBefore(t *testing.T) {
	client, a := pair(t)
	server, b := pair(t)
	defer client.Close()
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	res, err := Relay(ctx, a, b, Options{FirstAtoB: []byte("x")})
	if res.Reason != Canceled || !errors.Is(err, context.Canceled) {
		t.Errorf("%+v, %v", res, err)
	}
	expectReset(t, client)
}
