package tcp

import (
	"io"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// messageSize is how much is read at once before bytes count as bulk.
const messageSize = 16 << 10

// buffers are held while a message is on its way, not while one is waited for.
var buffers = sync.Pool{New: func() any { return new([messageSize]byte) }}

// messages is what a way needs to relay messages. Its functions are made once,
// so that a message costs no allocation.
type messages struct {
	from, to syscall.RawConn
	onRead   func(fd uintptr) bool
	onWrite  func(fd uintptr) bool

	buf  *[messageSize]byte // nil while nothing is on its way
	rest []byte             // of buf, which dst has not taken yet
	full bool               // the last message filled the buffer
	err  error              // io.EOF at src's end

	header  unix.Msghdr
	vector  unix.Iovec
	control [controlSize]byte
}

// Linux's TCP_INQ (4.18) has the kernel say with each message how many bytes
// wait behind it, or 1 for src's end: where there are none, no further call has
// to find that out, since whatever comes later wakes us up.
const (
	tcpINQ      = 36 // TCP_INQ, and TCP_CM_INQ
	controlSize = 24 // CMSG_SPACE(4)
	inqLen      = 20 // CMSG_LEN(4)
	inqAt       = 16
)

func (w *way) init() (err error) {
	m := &w.messages
	if m.from, err = w.src.SyscallConn(); err != nil {
		return err
	}
	if m.to, err = w.dst.SyscallConn(); err != nil {
		return err
	}
	// A kernel without it says nothing, and is asked.
	_ = m.from.Control(func(fd uintptr) { _ = setINQ(fd, 1) })
	m.onRead, m.onWrite = w.readable, w.writable
	return nil
}

func setINQ(fd uintptr, on int) error { return unix.SetsockoptInt(int(fd), unix.SOL_TCP, tcpINQ, on) }

// relayMessages returns nil once a message has filled the buffer, and io.EOF
// at src's end; everything read has been written then.
func (w *way) relayMessages() error {
	m := &w.messages
	for {
		m.full, m.err = false, nil
		err := m.from.Read(m.onRead)
		if err == nil {
			err = m.err
		}
		if len(m.rest) > 0 && m.err == nil {
			// dst is slow: the buffer is kept until it has taken all.
			var n int
			n, err = w.dst.Write(m.rest)
			w.add(int64(n))
			m.rest = nil
		}
		w.release()
		if err != nil || m.full {
			return err
		}
	}
}

func (w *way) release() {
	if m := &w.messages; m.buf != nil {
		buffers.Put(m.buf)
		m.buf = nil
	}
}

// readable relays what src has. True ends the wait for more: there is an error
// or an end, the buffer was filled, or dst has to be waited for.
func (w *way) readable(fd uintptr) bool {
	m := &w.messages
	if m.buf == nil {
		m.buf = buffers.Get().(*[messageSize]byte)
	}
	for {
		n, more, e := m.receive(fd)
		switch {
		case e == syscall.EINTR:
			continue
		case e == syscall.EAGAIN:
			w.release()
			return false
		case e != 0:
			m.err = e
			return true
		case n == 0:
			m.err = io.EOF
			return true
		}
		m.rest = m.buf[:n]
		m.full = n == messageSize
		if err := m.to.Write(m.onWrite); err != nil {
			m.err = err
		}
		if m.err != nil || len(m.rest) > 0 || m.full {
			return true
		}
		if !more {
			w.release()
			return false
		}
	}
}

// writable gives dst what it takes at once. It never waits.
func (w *way) writable(fd uintptr) bool {
	m := &w.messages
	for len(m.rest) > 0 {
		n, _, e := syscall.RawSyscall6(syscall.SYS_SENDTO, fd,
			uintptr(unsafe.Pointer(&m.rest[0])), uintptr(len(m.rest)), unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			m.rest = m.rest[n:]
			w.add(int64(n))
		case syscall.EINTR:
		case syscall.EAGAIN:
			return true
		default:
			m.err = e
			return true
		}
	}
	return true
}

// receive is recvmsg(2). more says that there is more to read, or may be.
func (m *messages) receive(fd uintptr) (n int, more bool, e syscall.Errno) {
	m.vector.Base = &m.buf[0]
	m.vector.SetLen(messageSize)
	m.header.Iov = &m.vector
	m.header.SetIovlen(1)
	m.header.Control = &m.control[0]
	m.header.SetControllen(controlSize)
	r, _, e := syscall.RawSyscall(syscall.SYS_RECVMSG, fd, uintptr(unsafe.Pointer(&m.header)), unix.MSG_DONTWAIT)
	if e != 0 {
		return 0, false, e
	}
	head := (*unix.Cmsghdr)(unsafe.Pointer(&m.control[0]))
	if m.header.Controllen < inqLen || head.Level != unix.SOL_TCP || head.Type != tcpINQ {
		return int(r), true, 0
	}
	return int(r), *(*int32)(unsafe.Pointer(&m.control[inqAt])) != 0, 0
}
