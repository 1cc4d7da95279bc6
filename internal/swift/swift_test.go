package swift

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// pair is a connection made swift and who is at its other end.
func pair(t *testing.T) (net.Conn, *net.TCPConn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	other, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(); other.Close() })
	return Conn(c), other.(*net.TCPConn)
}

// A swift connection is a net.Conn: what does not fit waits for room, what is not there
// is waited for, and ends and deadlines are what they are elsewhere.
func TestConn(t *testing.T) {
	c, other := pair(t)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // more than any socket holds
	read := make(chan []byte)
	go func() {
		all, err := io.ReadAll(io.LimitReader(other, int64(len(sent))))
		if err != nil {
			t.Error(err)
		}
		if _, err := other.Write([]byte("taken")); err != nil {
			t.Error(err)
		}
		other.CloseWrite()
		read <- all
	}()
	if n, err := c.Write(sent); n != len(sent) || err != nil {
		t.Fatalf("%d of %d: %v", n, len(sent), err)
	}
	answer, err := io.ReadAll(c) // until io.EOF
	if string(answer) != "taken" || err != nil {
		t.Errorf("%q: %v", answer, err)
	}
	if got := <-read; !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came, not those that were sent", len(got))
	}
	if n, err := c.Read(nil); n != 0 || err != nil {
		t.Errorf("nothing asked for: %d, %v", n, err)
	}
}

func TestEnds(t *testing.T) {
	if c := Conn(nil); c != nil {
		t.Errorf("no connection is %v", c)
	}
	c, _ := pair(t)
	c.SetDeadline(time.Now().Add(10 * time.Millisecond))
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("nobody writes: %v", err)
	}
	n, err := c.Write(make([]byte, 64<<20))
	if !errors.Is(err, os.ErrDeadlineExceeded) || n == 64<<20 {
		t.Errorf("nobody reads: %d, %v", n, err)
	}

	c, other := pair(t)
	other.SetLinger(0)
	other.Close() // with a reset
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("reset: %v", err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("after a reset: %v", err)
	}

	c, _ = pair(t)
	c.Close()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if _, err := c.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}
