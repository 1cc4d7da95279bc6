package listener

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestServeHandlesAndCloses(t *testing.T) {
	l, err := Listen("127.0.0.1:0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() {
		served <- l.Serve(func(c *net.TCPConn) {
			defer c.Close()
			io.Copy(c, c)
		})
	}()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-served; err != nil {
		t.Fatal(err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Fatalf("dial after Close: %v", err)
	}
	// The connection outlives the listener until its handler is done.
	c.(*net.TCPConn).CloseWrite()
	if b, err := io.ReadAll(c); err != nil || len(b) != 0 {
		t.Fatalf("%q, %v", b, err)
	}
	l.Wait()
	if l.Conns() != 0 {
		t.Fatalf("%d connections after Wait", l.Conns())
	}
	if err := l.Close(); err != nil {
		t.Fatalf("second Close: %v", err)
	}
}

func TestMaxConnsHoldsBackAccept(t *testing.T) {
	l, err := Listen("127.0.0.1:0", Options{MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	var now, most atomic.Int32
	release := make(chan struct{})
	entered := make(chan struct{}, 10)
	go l.Serve(func(c *net.TCPConn) {
		defer c.Close()
		if n := now.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer now.Add(-1)
		entered <- struct{}{}
		<-release
	})
	for range 6 { // all connect: four of them to the kernel's queue
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	<-entered
	<-entered
	if got := l.Conns(); got != 2 {
		t.Fatalf("%d connections being handled, want 2", got)
	}
	for range 4 {
		release <- struct{}{}
		<-entered
	}
	close(release)
	if most.Load() != 2 {
		t.Fatalf("%d connections at once, want at most 2", most.Load())
	}
	l.Close()
	l.Wait()
}

func TestCloseWhileFull(t *testing.T) {
	l, err := Listen("127.0.0.1:0", Options{MaxConns: 1})
	if err != nil {
		t.Fatal(err)
	}
	entered, release := make(chan struct{}), make(chan struct{})
	go l.Serve(func(c *net.TCPConn) { defer c.Close(); close(entered); <-release })
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	<-entered
	l.Close() // must not wait for the handler
	close(release)
	l.Wait()
}

// Running out of descriptors must neither end the loop nor spin.
func TestAcceptErrorsBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		l := &Listener{
			log:   slog.New(slog.NewTextHandler(&log, nil)),
			slots: make(chan struct{}, 8), closing: make(chan struct{}),
		}
		ctx, cancel := context.WithCancel(t.Context())
		var calls int
		var waits []time.Duration
		last := time.Now()
		l.accept = func() (*net.TCPConn, error) {
			calls++
			waits = append(waits, time.Since(last))
			last = time.Now()
			switch {
			case calls <= 12:
				return nil, &net.OpError{Op: "accept", Err: syscall.EMFILE}
			case calls == 13:
				return nil, nil // a connection, as far as the loop is concerned
			case calls == 14:
				return nil, syscall.ENFILE
			}
			<-ctx.Done()
			return nil, net.ErrClosed
		}
		done := make(chan error)
		go func() { done <- l.Serve(func(*net.TCPConn) {}) }()
		time.Sleep(time.Minute)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if calls != 15 {
			t.Errorf("%d accepts in a minute, want 15", calls)
		}
		if waits[1] != 5*time.Millisecond || waits[2] != 10*time.Millisecond || waits[12] != time.Second {
			t.Errorf("waits %v: want 5ms doubling to 1s", waits)
		}
		if waits[14] != 5*time.Millisecond {
			t.Errorf("waits %v: want 5ms again after a success", waits)
		}
		if n := strings.Count(log.String(), "accept fails"); n != 2 {
			t.Errorf("logged %d times, want once for each run of failures:\n%s", n, log.String())
		}
		l.Wait()
	})
}

func TestListenErrors(t *testing.T) {
	busy, err := Listen("127.0.0.1:0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for _, tc := range []struct {
		addr string
		want []string
	}{
		{busy.Addr().String(), []string{"--outbound " + busy.Addr().String(), "address already in use", "choose another port"}},
		{"192.0.2.1:15001", []string{"--outbound 192.0.2.1:15001", "no interface here"}},
		{"15001", []string{"--outbound 15001", "must be IP:PORT"}},
		{"localhost:15001", []string{"must be IP:PORT"}},
		{"127.0.0.1:http", []string{"must be IP:PORT"}},
		{"127.0.0.1:70000", []string{"must be IP:PORT"}},
		{"", []string{"must be IP:PORT"}},
	} {
		l, err := Listen(tc.addr, Options{Flag: "--outbound"})
		if err == nil {
			l.Close()
			t.Errorf("%q: no error", tc.addr)
			continue
		}
		for _, w := range tc.want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: error %q does not say %q", tc.addr, err, w)
			}
		}
	}
}

func TestSocketOptions(t *testing.T) {
	l, err := Listen(":0", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	raw, _ := l.ln.SyscallConn()
	raw.Control(func(fd uintptr) {
		if v, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR); v != 1 || err != nil {
			t.Errorf("SO_REUSEADDR %d, %v", v, err)
		}
		if v, err := syscall.GetsockoptInt(int(fd), syscall.SOL_SOCKET, 38 /* SO_PROTOCOL */); v != syscall.IPPROTO_TCP || err != nil {
			t.Errorf("protocol %d, %v: want plain TCP", v, err)
		}
	})
	if l.MaxConns() < minConns {
		t.Errorf("default MaxConns %d", l.MaxConns())
	}
}

func TestOriginalDstOfDirectConnection(t *testing.T) {
	for _, addr := range []string{"127.0.0.1:0", "[::1]:0", ":0"} {
		l, err := Listen(addr, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got := make(chan bool, 1)
		go l.Serve(func(c *net.TCPConn) {
			defer c.Close()
			_, ok := OriginalDst(c)
			got <- ok
		})
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if <-got {
			t.Errorf("%s: a direct connection counts as redirected", addr)
		}
		c.Close()
		l.Close()
		l.Wait()
	}
}
