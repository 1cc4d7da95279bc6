package h1

import (
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Buffer sizes. A head and everything that a rewrite adds to it fits one
// buffer; a read never fills more than readSize of it.
const (
	readSize   = 16 << 10
	bufferSize = readSize + 4<<10
	bigSize    = 64 << 10 // for bodies that do not fit one small read
)

type buffer [bufferSize]byte

var (
	buffers = sync.Pool{New: func() any { return new(buffer) }}
	bigs    = sync.Pool{New: func() any { return new([bigSize]byte) }}
)

// A socket is one TCP connection of a session, client's or upstream's. One
// goroutine lives in its RawConn.Read callback and tells of readiness; the
// fields belong to whoever holds the session's lock (an idle upstream
// connection belongs to whoever took it out of its pool).
//
// The system calls are raw: the descriptor is non-blocking, so they never
// wait, and it is open as long as dead is false, which changes under the same
// lock.
type socket struct {
	conn *net.TCPConn
	raw  syscall.RawConn
	fd   uintptr
	dead atomic.Bool // closed by us

	buf *buffer // storage of in; nil while in is empty
	in  []byte  // read and not used
	out []byte  // to be written when the kernel takes more; at most one read's worth and a head

	readable bool // the kernel may hold more to read: no EAGAIN since the last edge
	short    bool // the last read took all there was
	eof      bool // the peer sent FIN
	flushing bool // a goroutine waits for writability
}

func (k *socket) init(c *net.TCPConn) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	k.conn, k.raw = c, raw
	return raw.Control(func(fd uintptr) { k.fd = fd })
}

// fill reads once, behind what is in already. It returns false when nothing
// came: the kernel is drained, the buffer full, or the stream over (eof).
func (k *socket) fill() (bool, error) {
	if !k.readable || k.eof {
		return false, nil
	}
	if k.buf == nil {
		k.buf = buffers.Get().(*buffer)
		k.in = k.buf[:0]
	}
	off, used := len(k.buf)-cap(k.in), len(k.in)
	if off > 0 && off+used > readSize/2 {
		k.in = k.buf[:copy(k.buf[:], k.in)]
		off = 0
	}
	room := readSize - off - used
	if room <= 0 {
		return false, nil
	}
	n, err := k.read(k.in[used : used+room])
	if n > 0 {
		k.short = n < room
		k.in = k.in[:used+n]
		return true, nil
	}
	k.used(0) // gives an empty buffer back
	return false, err
}

// settle says that a whole message was read. When the last read was short the
// kernel is drained and the edge-triggered poller tells of the next byte: the
// read that would only say EAGAIN is saved. While a message is incomplete a
// short read is not trusted, since a FIN may have come with its last byte and
// has no edge of its own.
func (k *socket) settle() {
	if k.short && len(k.in) == 0 {
		k.readable = false
	}
}

// bulk reads content of a body, with nothing in, in reads larger than a head's
// and gives it to pass. It returns false when nothing came, as fill does.
func (k *socket) bulk(b *body, lim Limits, pass func([]byte)) (bool, error) {
	if !k.readable || k.eof {
		return false, nil
	}
	buf := bigs.Get().(*[bigSize]byte)
	defer bigs.Put(buf)
	room := int(min(b.bulk(), bigSize))
	n, err := k.read(buf[:room])
	if n == 0 {
		return false, err
	}
	k.short = n < room
	_, _, _ = b.next(buf[:n], lim) // content only: nothing that could be wrong
	pass(buf[:n])
	return true, nil
}

// full reports whether no more can be read until some of in is used.
func (k *socket) full() bool { return len(k.in) >= readSize }

// used drops the first n bytes of in, and its storage once nothing is left.
func (k *socket) used(n int) {
	k.in = k.in[n:]
	if len(k.in) == 0 && k.buf != nil {
		buffers.Put(k.buf)
		k.buf, k.in = nil, nil
	}
}

// read is read(2). 0 without an error means EAGAIN or, with eof set, the end.
func (k *socket) read(p []byte) (int, error) {
	for {
		n, _, e := syscall.RawSyscall(syscall.SYS_READ, k.fd, uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)))
		switch e {
		case 0:
			if n == 0 {
				k.eof = true
				k.readable = false
			}
			return int(n), nil
		case syscall.EAGAIN:
			k.readable = false
			return 0, nil
		case syscall.EINTR:
		default:
			k.readable = false
			return 0, e
		}
	}
}

// pending reports whether the kernel holds bytes that were not read.
func (k *socket) pending() bool {
	n, err := unix.IoctlGetInt(int(k.fd), unix.TIOCINQ)
	return err == nil && n > 0
}

// quiet reports whether an idle connection has nothing to read and is not
// closed by its peer, without taking anything from it.
func (k *socket) quiet() bool {
	var b [1]byte
	_, _, e := syscall.RawSyscall6(syscall.SYS_RECVFROM, k.fd, uintptr(unsafe.Pointer(&b[0])), 1,
		unix.MSG_PEEK|unix.MSG_DONTWAIT, 0, 0)
	return e == syscall.EAGAIN || e == syscall.EINTR
}

// write is send(2) without SIGPIPE; a short count without an error is EAGAIN.
func (k *socket) write(p []byte) (done int, err error) {
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

// send writes p, and keeps what the kernel does not take. The caller stops
// producing while out is not empty: that is the back-pressure.
func (k *socket) send(p []byte) error {
	if len(k.out) > 0 {
		k.out = append(k.out, p...)
		return nil
	}
	n, err := k.write(p)
	if err == nil && n < len(p) {
		k.out = append(k.out[:0], p[n:]...)
	}
	return err
}

// flush writes out as far as the kernel takes it.
func (k *socket) flush() error {
	n, err := k.write(k.out)
	k.out = k.out[n:]
	if len(k.out) == 0 {
		k.out = nil
	}
	return err
}

// close ends the connection's use: from now on nobody touches the descriptor,
// and its goroutine leaves the poller and closes it. (net.Conn.Close would wait
// for that goroutine, which may be our caller.)
func (k *socket) close() {
	if k.dead.Swap(true) {
		return
	}
	if k.buf != nil {
		buffers.Put(k.buf)
	}
	k.buf, k.in, k.out, k.readable = nil, nil, nil, false
	_ = k.conn.SetDeadline(past)
}
