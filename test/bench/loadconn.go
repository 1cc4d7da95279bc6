package main

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// A conn is one connection.
type conn struct {
	fd      int
	wire    wire
	flights []flight // requests without an answer, of different streams
	out     []byte   // to be written
	buf     [32 << 10]byte
	n       int
	done    func(stream uint32, failure error) error
}

// A flight is a request without an answer.
type flight struct {
	stream uint32
	due    time.Time
}

// send has a request that was due at due written by the next flush.
func (c *conn) send(due time.Time) error {
	out, stream, err := c.wire.request(c.out)
	if err != nil {
		return err
	}
	c.out = out
	c.flights = append(c.flights, flight{stream, due})
	return nil
}

func (g *generator) open() (err error) {
	g.poll, g.timer = -1, -1
	defer func() {
		if err != nil {
			g.close()
		}
	}()
	if g.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return fmt.Errorf("epoll_create1: %w", err)
	}
	if g.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return fmt.Errorf("timerfd_create: %w", err)
	}
	e := unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(g.timer)}
	if err = unix.EpollCtl(g.poll, unix.EPOLL_CTL_ADD, g.timer, &e); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	for range g.Connections {
		c := &conn{fd: -1}
		c.done = func(stream uint32, failure error) error { return g.answered(c, stream, failure) }
		g.conns = append(g.conns, c)
		if err = g.dial(c); err != nil {
			return err
		}
		g.idle = append(g.idle, c)
	}
	return nil
}

func (g *generator) close() {
	for _, c := range g.conns {
		closeFD(c.fd)
	}
	closeFD(g.timer)
	closeFD(g.poll)
}

func closeFD(fd int) {
	if fd >= 0 {
		unix.Close(fd)
	}
}

// dial connects c and has the poller watch it.
func (g *generator) dial(c *conn) error {
	to, err := netip.ParseAddrPort(g.Addr)
	if err != nil || !to.Addr().Is4() {
		return fmt.Errorf("address %q: want an IPv4 address with a port", g.Addr)
	}
	c.n, c.flights = 0, c.flights[:0]
	if c.wire, c.out, err = newWire(g.load, c.out[:0]); err != nil {
		return err
	}
	if c.fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return fmt.Errorf("socket: %w", err)
	}
	if err := unix.Connect(c.fd, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}); err != nil {
		return fmt.Errorf("connect to %s: %w", g.Addr, err)
	}
	if err := unix.SetsockoptInt(c.fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1); err != nil {
		return fmt.Errorf("TCP_NODELAY: %w", err)
	}
	if err := unix.SetNonblock(c.fd, true); err != nil {
		return fmt.Errorf("O_NONBLOCK: %w", err)
	}
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.fd), Pad: int32(slices.Index(g.conns, c))}
	if err := unix.EpollCtl(g.poll, unix.EPOLL_CTL_ADD, c.fd, &e); err != nil {
		return fmt.Errorf("epoll_ctl: %w", err)
	}
	return nil
}

// flush writes what the connections have to say, each in one piece; whole says
// that none broke.
func (g *generator) flush() (whole bool, err error) {
	whole = true
	for _, c := range g.conns {
		if len(c.out) == 0 {
			continue
		}
		n, err := unix.Write(c.fd, c.out)
		if err != nil || n < len(c.out) {
			if err := g.broken(c, fmt.Sprintf("write: %d of %d bytes, %v", n, len(c.out), err)); err != nil {
				return false, err
			}
			whole = false
			continue
		}
		c.out = c.out[:0]
	}
	return whole, nil
}

// read takes what has come on c.
func (g *generator) read(c *conn) error {
	n, err := unix.Read(c.fd, c.buf[c.n:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return nil
	case err != nil:
		return g.broken(c, "read: "+err.Error())
	case n <= 0:
		return g.broken(c, "closed by the proxy")
	}
	c.n += n
	used, out, err := c.wire.take(c.buf[:c.n], c.out, c.done)
	c.out = out
	switch {
	case err != nil:
		return g.broken(c, err.Error())
	case used == 0 && c.n == len(c.buf):
		return g.broken(c, fmt.Sprintf("a message of more than %d bytes", len(c.buf)))
	}
	c.n = copy(c.buf[:], c.buf[used:c.n])
	return nil
}

// broken counts the requests in flight on c as failures and puts a new
// connection in its place. A connection that breaks while it is idle is a
// failure too: the next request would have met it.
func (g *generator) broken(c *conn, why string) error {
	lost := len(c.flights)
	for range max(lost, 1) {
		g.fail(why)
	}
	g.busy -= lost
	if lost == g.Streams {
		g.idle = append(g.idle, c)
	} // else it is in g.idle already
	closeFD(c.fd)
	c.fd = -1
	if err := g.dial(c); err != nil {
		return fmt.Errorf("after %q: %w", why, err)
	}
	return nil
}

// wake ends the next wait after d.
func (g *generator) wake(d time.Duration) error {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(d.Nanoseconds())}
	if err := unix.TimerfdSettime(g.timer, 0, &spec, nil); err != nil {
		return fmt.Errorf("timerfd_settime: %w", err)
	}
	return nil
}
