// Package swift has TCP connections that read and write without telling Go's
// scheduler of a system call, since none of theirs waits. Told of one, its
// monitor thread gets up, looks every 20 µs for milliseconds whether one takes
// longer than that, as a write of some kilobytes does, and hands the processor
// over to another thread then. Where system calls are few and something comes all
// the time, that was a sixth of what a process took.
package swift

import (
	"io"
	"net"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Conn is c, or c made swift where it is a TCP connection. No connection, nil,
// stays none.
func Conn(c net.Conn) net.Conn {
	if tcp, ok := c.(*net.TCPConn); ok {
		if raw, err := tcp.SyscallConn(); err == nil {
			return &conn{c, raw}
		}
	}
	return c
}

// Listener is l, with swift connections.
func Listener(l net.Listener) net.Listener { return listener{l} }

type listener struct{ net.Listener }

// Accept is net.Listener's.
func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return Conn(c), err
}

// conn is no syscall.Conn: gRPC would read by itself.
type conn struct {
	net.Conn
	raw syscall.RawConn
}

// Read is net.Conn's.
func (c *conn) Read(p []byte) (n int, err error) {
	if len(p) == 0 {
		return 0, nil
	}
	var errno syscall.Errno
	waited := c.raw.Read(func(fd uintptr) bool {
		var got uintptr
		got, errno = uninterrupted(syscall.SYS_RECVFROM, fd, p, 0)
		n = int(got)
		return errno != syscall.EAGAIN
	})
	switch {
	case waited != nil:
		return 0, waited
	case errno != 0:
		return 0, c.failed("read", errno)
	case n == 0:
		return 0, io.EOF
	}
	return n, nil
}

// Write is net.Conn's.
func (c *conn) Write(p []byte) (done int, err error) {
	var errno syscall.Errno
	waited := c.raw.Write(func(fd uintptr) bool {
		for done < len(p) {
			var n uintptr
			if n, errno = uninterrupted(syscall.SYS_SENDTO, fd, p[done:], unix.MSG_NOSIGNAL); errno != 0 {
				return errno != syscall.EAGAIN
			}
			done += int(n)
		}
		return true
	})
	switch {
	case waited != nil:
		return done, waited
	case errno != 0:
		return done, c.failed("write", errno)
	}
	return done, nil
}

// uninterrupted makes a system call until no signal comes between.
func uninterrupted(call, fd uintptr, p []byte, flags uintptr) (uintptr, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(call, fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), flags, 0, 0)
		if errno != syscall.EINTR {
			return n, errno
		}
	}
}

func (c *conn) failed(op string, err error) error {
	return &net.OpError{Op: op, Net: "tcp", Source: c.LocalAddr(), Addr: c.RemoteAddr(), Err: os.NewSyscallError(op, err)}
}
