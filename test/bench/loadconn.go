package main

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

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
	c.n = 0
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

// broken counts a failure and puts a new connection in c's place. A connection
// that breaks while it is idle is a failure too: the next request would have
// met it.
func (g *generator) broken(c *conn, why string) error {
	g.fail(why)
	closeFD(c.fd)
	c.fd = -1
	if err := g.dial(c); err != nil {
		return fmt.Errorf("after %q: %w", why, err)
	}
	if c.busy {
		g.free(c)
	} // else it is in g.idle already
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
