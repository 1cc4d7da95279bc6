// Package listener binds the sidecar's ports and accepts connections on them: TCP only, no
// HTTP. It bounds how many connections there are, since peers decide how many they open,
// and survives running out of descriptors. What a connection says, and which connections
// are open, is the engine's to know.
package listener

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Options of a Listener. The zero value will do.
type Options struct {
	// Flag is what the person set the address with, such as "--outbound"; errors name it.
	Flag string
	// MaxConns bounds the connections being handled. At the bound nothing is accepted
	// until one ends: new ones wait in the kernel's queue, whose length is
	// net.core.somaxconn, and the kernel ignores further attempts, which clients repeat.
	// 0: half of what RLIMIT_NOFILE allows, since a connection may cost another upstream.
	MaxConns int
	// Transparent sets IP_TRANSPARENT, for connections that TPROXY rules bring with their
	// original address. It needs CAP_NET_ADMIN.
	Transparent bool
	// KeepAlive of accepted connections; the zero value is Go's (idle 15 s, interval
	// 15 s, 9 probes).
	KeepAlive net.KeepAliveConfig
	// Log hears once when accepting begins to fail and once when it works again. nil: no one.
	Log *slog.Logger
}

// Listener is a bound port. Create it with Listen.
type Listener struct {
	ln      *net.TCPListener
	accept  func() (*net.TCPConn, error) // ln.AcceptTCP; a test's own
	log     *slog.Logger
	addr    netip.AddrPort
	slots   chan struct{} // holds one per connection being handled
	closing chan struct{} // closed by Close

	mu      sync.Mutex // guards closed, and that serving does not grow after it
	closed  bool
	serving sync.WaitGroup // accept loops
	conns   sync.WaitGroup // handlers
}

// Listen binds addr, an IP address and a port such as 127.0.0.1:15001 or [::]:15006; no
// host means all addresses, IPv4 and IPv6, and port 0 a free one. The error names
// Options.Flag, the address and what to do. SO_REUSEADDR is set, so that a restart does not
// wait for the connections of the process before.
func Listen(addr string, o Options) (*Listener, error) {
	subject := "listen on " + addr
	if o.Flag != "" {
		subject = o.Flag + " " + addr
	}
	if err := check(addr); err != nil {
		return nil, fmt.Errorf("%s: %w", subject, err)
	}
	lc := net.ListenConfig{KeepAliveConfig: o.KeepAlive}
	if o.KeepAlive == (net.KeepAliveConfig{}) {
		lc.KeepAliveConfig.Enable = true
	}
	lc.SetMultipathTCP(false) // splice and SO_ORIGINAL_DST want plain TCP
	if o.Transparent {
		lc.Control = transparent
	}
	ln, err := lc.Listen(context.Background(), "tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("%s: %w%s", subject, cause(err), hint(err, addr))
	}
	limit := o.MaxConns
	if limit <= 0 {
		limit = defaultMaxConns()
	}
	tcp := ln.(*net.TCPListener)
	l := &Listener{
		ln: tcp, accept: tcp.AcceptTCP, log: o.Log, addr: tcp.Addr().(*net.TCPAddr).AddrPort(),
		slots: make(chan struct{}, limit), closing: make(chan struct{}),
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	return l, nil
}

// Addr is the bound address with the real port.
func (l *Listener) Addr() netip.AddrPort { return l.addr }

// MaxConns is the bound in force.
func (l *Listener) MaxConns() int { return cap(l.slots) }

// Conns is how many connections are being handled now. Safe from any goroutine.
func (l *Listener) Conns() int { return len(l.slots) }

// Close stops accepting, closes the socket and returns when no accept loop runs any more.
// Connections being handled go on: end them as the engine sees fit, then Wait. Safe to
// call more than once and from any goroutine.
func (l *Listener) Close() error {
	l.mu.Lock()
	var err error
	if !l.closed {
		l.closed = true
		close(l.closing)
		err = l.ln.Close()
	}
	l.mu.Unlock()
	l.serving.Wait()
	return err
}

// Wait returns when every handler has returned; call it after Close.
func (l *Listener) Wait() { l.conns.Wait() }

// check takes IP:PORT and :PORT; names are refused, because what they resolve to may change
// between two starts.
func check(addr string) error {
	host, _, err := net.SplitHostPort(addr)
	if err == nil && host == "" {
		_, err = netip.ParseAddrPort("0.0.0.0" + addr)
	} else if err == nil {
		_, err = netip.ParseAddrPort(addr)
	}
	if err != nil {
		return errors.New("must be IP:PORT such as 127.0.0.1:15001, [::1]:15001 or, for all addresses, [::]:15006")
	}
	return nil
}

func transparent(network, _ string, c syscall.RawConn) error {
	var err error
	cerr := c.Control(func(fd uintptr) {
		// A dual-stack socket takes both; one of them is unknown to the other sort.
		err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_TRANSPARENT, 1)
		if network == "tcp6" {
			err = unix.SetsockoptInt(int(fd), unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1)
		}
	})
	return errors.Join(cerr, err)
}

// cause strips what package net adds, which repeats the subject.
func cause(err error) error {
	var sys syscall.Errno
	if errors.As(err, &sys) {
		return sys
	}
	return err
}

func hint(err error, addr string) string {
	_, port, _ := net.SplitHostPort(addr)
	switch {
	case errors.Is(err, unix.EADDRINUSE):
		return fmt.Sprintf(": stop what listens there (`ss -ltnp 'sport = :%s'` names it) or choose another port", port)
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return ": no interface here has this address; use one of this machine, 127.0.0.1, or [::] for all"
	case errors.Is(err, unix.EACCES):
		return ": ports below 1024 need root or CAP_NET_BIND_SERVICE; choose a higher one"
	case errors.Is(err, unix.EPERM):
		return ": a transparent listener needs CAP_NET_ADMIN"
	case errors.Is(err, unix.EAFNOSUPPORT):
		return ": IPv6 is switched off here; use an IPv4 address"
	}
	return ""
}

const minConns, backoffMin, backoffMax = 64, 5 * time.Millisecond, time.Second

func defaultMaxConns() int {
	var rl unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &rl); err != nil {
		return minConns
	}
	return int(min(max(rl.Cur/2, minConns), 1<<20))
}
