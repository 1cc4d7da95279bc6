package sidecar

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/meshd/meshd/sidecar/listener"
)

// A namedListener takes connections that are calls to one service: the way for
// what is not HTTP where nothing is redirected.
type namedListener struct {
	*listener.Listener
	service string // the authority called
}

// A tcpListen is what --tcp-listen says: IP:PORT=SERVICE:PORT.
type tcpListen struct{ addr, service string }

func parseTCPListen(s string) (tcpListen, error) {
	addr, service, ok := strings.Cut(s, "=")
	host, port, err := net.SplitHostPort(service)
	number, perr := strconv.ParseUint(port, 10, 16)
	if !ok || err != nil || host == "" || perr != nil || number == 0 || strings.ContainsAny(host, "/@ ") {
		return tcpListen{}, fmt.Errorf("--tcp-listen %q: IP:PORT=SERVICE:PORT is accepted, such as 127.0.0.1:5432=postgres:5432", s)
	}
	return tcpListen{addr, strings.ToLower(service)}, nil // the address is the listener's to judge
}

func (p *Proxy) listenNamed(opt listener.Options) error {
	for _, s := range p.cfg.TCPListen {
		parsed, err := parseTCPListen(s)
		if err != nil {
			return err
		}
		l, err := listener.Listen(parsed.addr, opt)
		if err != nil {
			return err
		}
		p.named = append(p.named, namedListener{l, parsed.service})
	}
	return nil
}

func (p *Proxy) serveNamed(ctx context.Context) {
	for _, n := range p.named {
		p.work.Go(func() {
			_ = n.Serve(func(c *net.TCPConn) { p.callNamed(ctx, c, n.service) })
		})
	}
}

// callNamed makes a connection a call to the service; one that the mesh does
// not know is looked up by DNS.
func (p *Proxy) callNamed(ctx context.Context, c *net.TCPConn, service string) {
	p.stats.Downstream.Inc()
	defer p.stats.Downstream.Dec()
	if a := p.whatIs(ctx, service); a != nil {
		p.connect(ctx, c, a, nil)
		return
	}
	p.passTo(ctx, c, p.snapshot.direct, service, netip.AddrPort{}, nil)
}

// defaultMaxTCP leaves half of the descriptors to HTTP: an opaque connection
// takes two, and four more while it moves bulk.
func defaultMaxTCP() int {
	const least = 64
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return least
	}
	return int(min(max(limit.Cur/4, least), 1<<20))
}
