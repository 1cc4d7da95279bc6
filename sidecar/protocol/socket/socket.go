// Package socket is a TCP connection as the relays use it: raw, non-blocking
// system calls on a descriptor whose readiness one goroutine learns from
// within RawConn.Read's callback (docs/design/001-relay.md).
package socket

import (
	"net"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Socket belongs to whoever holds its owner's lock. The system calls never
// wait, and the descriptor is open as long as Dead is false, which changes
// under the same lock.
type Socket struct {
	Conn *net.TCPConn
	Raw  syscall.RawConn

	Readable bool // the kernel may hold more to read: no EAGAIN since the last edge
	EOF      bool // the peer sent FIN

	fd   uintptr
	dead atomic.Bool
}

// Init takes a connection over.
func (k *Socket) Init(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	k.Conn, k.Raw = c, raw
	return raw.Control(func(fd uintptr) { k.fd = fd })
}

// PeerOf is the address of a connection's peer, without its port.
func PeerOf(c *net.TCPConn) string {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().String()
	}
	return ""
}

// Read is read(2). 0 without an error means EAGAIN or, with EOF set, the end;
// either way Readable is false then.
func (k *Socket) Read(p []byte) (int, error) {
	for {
		n, _, e := syscall.RawSyscall(syscall.SYS_READ, k.fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		switch e {
		case 0:
			if n == 0 {
				k.EOF = true
				k.Readable = false
			}
			return int(n), nil
		case syscall.EAGAIN:
			k.Readable = false
			return 0, nil
		case syscall.EINTR:
		default:
			k.Readable = false
			return 0, e
		}
	}
}

// Pending reports whether the kernel holds bytes that were not read.
func (k *Socket) Pending() bool {
	n, err := unix.IoctlGetInt(int(k.fd), unix.TIOCINQ)
	return err == nil && n > 0
}

// Quiet reports whether an idle connection has nothing to read and is not
// closed by its peer, without taking anything from it.
func (k *Socket) Quiet() bool {
	var b [1]byte
	_, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, k.fd, uintptr(unsafe.Pointer(&b[0])), 1,
		unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	return e == syscall.EAGAIN || e == syscall.EINTR
}

// Write is send(2) without SIGPIPE; a short count without an error is EAGAIN.
func (k *Socket) Write(p []byte) (done int, err error) {
	for done < len(p) {
		q := p[done:]
		n, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, k.fd, uintptr(unsafe.Pointer(&q[0])), uintptr(len(q)),
			unix.MSG_NOSIGNAL, 0, 0)
		switch e {
		case 0:
			done += int(n)
		case syscall.EAGAIN:
			return done, nil
		case syscall.EINTR:
		default:
			return done, e
		}
	}
	return done, nil
}

// Past is a deadline that makes a goroutine leave the poller.
var Past = time.Unix(1, 0)

// Dead reports whether Shut was called.
func (k *Socket) Dead() bool { return k.dead.Load() }

// Shut ends the connection's use and reports whether it was in use: from now
// on nobody touches the descriptor, and its goroutine leaves the poller and
// closes it. (net.Conn.Close would wait for that goroutine, which may be our
// caller.)
func (k *Socket) Shut() bool {
	if k.dead.Swap(true) {
		return false
	}
	_ = k.Conn.SetDeadline(Past)
	return true
}
