package h1

import (
	"sync"

	raw "github.com/meshd/meshd/sidecar/protocol/socket"
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

// A socket is one TCP connection of a session, client's or upstream's, with
// what was read of it and what is still to be written. It belongs to whoever
// holds the session's lock (an idle upstream connection belongs to whoever
// took it out of its pool).
type socket struct {
	raw.Socket

	buf *buffer // storage of in; nil while in is empty
	in  []byte  // read and not used
	out []byte  // to be written when the kernel takes more; at most one read's worth and a head

	short    bool // the last read took all there was
	flushing bool // a goroutine waits for writability
}

// fill reads once, behind what is in already. It returns false when nothing
// came: the kernel is drained, the buffer full, or the stream over (eof).
func (k *socket) fill() (bool, error) {
	if !k.Readable || k.EOF {
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
	n, err := k.Read(k.in[used : used+room])
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
		k.Readable = false
	}
}

// bulk reads content of a body, with nothing in, in reads larger than a head's
// and gives it to pass. It returns false when nothing came, as fill does.
func (k *socket) bulk(b *body, lim Limits, pass func([]byte)) (bool, error) {
	if !k.Readable || k.EOF {
		return false, nil
	}
	buf := bigs.Get().(*[bigSize]byte)
	defer bigs.Put(buf)
	room := int(min(b.bulk(), bigSize))
	n, err := k.Read(buf[:room])
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

// send writes p, and keeps what the kernel does not take. The caller stops
// producing while out is not empty: that is the back-pressure.
func (k *socket) send(p []byte) error {
	if len(k.out) > 0 {
		k.out = append(k.out, p...)
		return nil
	}
	n, err := k.Write(p)
	if err == nil && n < len(p) {
		k.out = append(k.out[:0], p[n:]...)
	}
	return err
}

// flush writes out as far as the kernel takes it.
func (k *socket) flush() error {
	n, err := k.Write(k.out)
	k.out = k.out[n:]
	if len(k.out) == 0 {
		k.out = nil
	}
	return err
}

// close ends the connection's use; its goroutine closes the descriptor.
func (k *socket) close() {
	if !k.Shut() {
		return
	}
	if k.buf != nil {
		buffers.Put(k.buf)
	}
	k.buf, k.in, k.out, k.Readable = nil, nil, nil, false
}
