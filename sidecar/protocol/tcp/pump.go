package tcp

import (
	"errors"
	"io"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// bulkHold is how long bytes move by splice before it is asked again how many
// they are. A way that waits for bytes holds no pipe, which is two descriptors
// and kernel memory: idle connections are many.
const bulkHold = time.Second

// pump moves everything from src to dst and returns nil at src's end.
//
// Messages, what fits a buffer, are read and written: two system calls, where
// splice would take three, or four. Whatever fills the buffer is the beginning
// of more, which stays in the kernel.
func (w *way) pump(first []byte) error {
	if len(first) > 0 {
		n, err := w.dst.Write(first)
		w.add(int64(n))
		if err != nil {
			return err
		}
	}
	for {
		switch err := w.relayMessages(); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if done, err := w.bulk(); done || err != nil {
			return err
		}
	}
}

// bulk moves bytes by splice(2), for bulkHold or until src's end: done.
//
// The read deadline only interrupts the wait for more bytes, never a write, so
// that no byte is lost in the pipe: (*net.TCPConn).ReadFrom reads with an empty
// pipe alone.
func (w *way) bulk() (done bool, err error) {
	_ = w.src.SetReadDeadline(time.Now().Add(bulkHold))
	n, err := w.dst.ReadFrom(w.src)
	w.add(n)
	if err == nil {
		return true, nil
	}
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false, err
	}
	_ = w.src.SetReadDeadline(time.Time{})
	return false, nil
}

func (w *way) add(n int64) {
	w.moved.Add(n)
	if w.count != nil {
		w.count.Add(uint64(n))
	}
}

// gone is the side to blame for an error: the one whose connection is no more.
func (w *way) gone() Side {
	if reset(w.src) {
		return w.from
	}
	return w.back.from
}

func reset(c *net.TCPConn) (gone bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	if raw.Control(func(fd uintptr) { gone = closed(fd) }) != nil {
		return true
	}
	return gone
}

func closed(fd uintptr) bool {
	info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
	return err != nil || info.State == unix.BPF_TCP_CLOSE
}

// hungUp waits, on a connection whose end was read, until the peer resets it: true. It
// returns false when a read deadline or Close interrupts it.
func hungUp(src *net.TCPConn) bool {
	raw, err := src.SyscallConn()
	return err == nil && raw.Read(closed) == nil
}
