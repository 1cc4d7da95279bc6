package tcp

import (
	"errors"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// pipeHold is how long a way that waits for bytes keeps its splice pipe, two descriptors
// and kernel memory, in the hope of more. Idle tunnels are many and hold none.
const pipeHold = time.Second

// pump moves everything from src to dst and returns nil at src's end.
//
// The read deadline only interrupts the wait for more bytes, never a write, so that no
// byte is lost in the pipe: (*net.TCPConn).ReadFrom reads with an empty pipe alone.
func (w *way) pump(first []byte) error {
	if len(first) > 0 {
		n, err := w.dst.Write(first)
		w.moved.Add(int64(n))
		if err != nil {
			return err
		}
	}
	for {
		w.src.SetReadDeadline(time.Time{})
		if err := awaitReadable(w.src); err != nil {
			return err
		}
		w.src.SetReadDeadline(time.Now().Add(pipeHold))
		n, err := w.dst.ReadFrom(w.src) // splice(2)
		w.moved.Add(n)
		if err == nil {
			return nil
		}
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			return err
		}
	}
}

// awaitReadable waits until src has bytes, its end or an error to tell. It holds no buffer
// meanwhile.
func awaitReadable(src *net.TCPConn) error {
	raw, err := src.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Read(func(fd uintptr) bool {
		var peek [1]byte
		for {
			_, _, err := unix.Recvfrom(int(fd), peek[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
			if err != unix.EINTR {
				return err != unix.EAGAIN
			}
		}
	})
}

// hungUp waits, on a connection whose end was read, until the peer resets it: true. It
// returns false when a read deadline or Close interrupts it.
func hungUp(src *net.TCPConn) bool {
	raw, err := src.SyscallConn()
	if err != nil {
		return false
	}
	return raw.Read(func(fd uintptr) bool {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		return err != nil || info.State == unix.BPF_TCP_CLOSE
	}) == nil
}
