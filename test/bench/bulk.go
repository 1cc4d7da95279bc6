package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// The load of TCP: the client writes one byte, the backend sends thePattern
// again and again until the client closes its side, then how many bytes that
// were, in 8 bytes, and closes. The client has the kernel throw most of it
// away (MSG_TRUNC) and compares some of it.

const (
	compareEvery = 256 << 20 // bytes; so often some are compared
	compareSize  = 256 << 10
)

// bulk runs a load of tcp: OK and Failed are connections.
func (l load) bulk() (report, error) {
	r := report{Causes: map[string]int64{}}
	pattern, start := thePattern(), time.Now()
	var mu sync.Mutex
	var wg sync.WaitGroup
	var broken error
	for range l.Connections {
		wg.Go(func() {
			c, err := net.DialTimeout("tcp4", l.Addr, l.Stall)
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				broken = err
				return
			}
			defer c.Close()
			b := bulk{conn: c.(*net.TCPConn), pattern: pattern}
			err = b.run(l)
			mu.Lock()
			defer mu.Unlock()
			r.Bytes += b.n
			if err != nil {
				r.fail(err.Error())
			} else {
				r.OK++
			}
		})
	}
	wg.Wait()
	r.Seconds = time.Since(start).Seconds()
	return r, broken
}

// A bulk is one connection of that load.
type bulk struct {
	conn    *net.TCPConn
	pattern []byte
	n       int64 // bytes received
}

func (b *bulk) run(l load) error {
	b.conn.SetDeadline(time.Now().Add(l.Stall))
	if _, err := b.conn.Write([]byte{'g'}); err != nil {
		return err
	}
	raw, err := b.conn.SyscallConn()
	if err != nil {
		return err
	}
	buf := make([]byte, 4<<20)
	for end := time.Now().Add(l.Duration); ; {
		now := time.Now()
		if !now.Before(end) && b.n > 0 {
			break
		}
		b.conn.SetReadDeadline(now.Add(l.Stall))
		if b.n%compareEvery < compareSize {
			n, err := b.conn.Read(buf[:compareSize])
			if err == io.EOF {
				return errors.New("closed by the proxy")
			} else if err != nil {
				return fmt.Errorf("read: %w", err)
			}
			if err := b.compare(buf[:n]); err != nil {
				return err
			}
			continue
		}
		most := min(len(buf), int(compareEvery-b.n%compareEvery))
		n, err := discard(raw, buf[:most])
		if err != nil {
			return err
		}
		b.n += int64(n)
	}
	return b.rest(buf, l.Stall)
}

// rest closes our side and reads what is still on its way, to the very end.
func (b *bulk) rest(buf []byte, stall time.Duration) error {
	if err := b.conn.CloseWrite(); err != nil {
		return fmt.Errorf("close our side: %w", err)
	}
	kept := 0 // at the start of buf: of the 8 bytes that may be the last
	for {
		b.conn.SetReadDeadline(time.Now().Add(stall))
		n, err := b.conn.Read(buf[kept:])
		kept += n
		if sure := kept - 8; sure > 0 {
			if err := b.compare(buf[:sure]); err != nil {
				return err
			}
			kept = copy(buf, buf[sure:kept])
		}
		switch {
		case err == io.EOF && kept < 8:
			return fmt.Errorf("ends after %d bytes", b.n)
		case err == io.EOF:
			if sent := int64(binary.BigEndian.Uint64(buf)); sent != b.n {
				return fmt.Errorf("%d bytes received, %d sent", b.n, sent)
			}
			return nil
		case err != nil:
			return fmt.Errorf("read after our side is closed: %w", err)
		}
	}
}

// compare takes p for the next bytes of the stream.
func (b *bulk) compare(p []byte) error {
	for len(p) > 0 {
		at := int(b.n % int64(len(b.pattern)))
		n := min(len(p), len(b.pattern)-at)
		if string(p[:n]) != string(b.pattern[at:at+n]) {
			return errors.New("other bytes than were sent")
		}
		p, b.n = p[n:], b.n+int64(n)
	}
	return nil
}

// discard has the kernel drop up to len(buf) bytes of what has come, and waits
// until something has.
func discard(raw interface {
	Read(func(uintptr) bool) error
}, buf []byte) (n int, err error) {
	waited := raw.Read(func(fd uintptr) bool {
		n, _, err = unix.Recvfrom(int(fd), buf, unix.MSG_TRUNC)
		return err != unix.EAGAIN && err != unix.EINTR
	})
	switch {
	case waited != nil:
		return 0, fmt.Errorf("read: %w", waited)
	case err != nil:
		return 0, fmt.Errorf("read: %w", err)
	case n == 0:
		return 0, errors.New("closed by the proxy")
	}
	return n, nil
}
