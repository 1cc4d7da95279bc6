package sidecar

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/protocol/detect"
	"github.com/meshd/meshd/sidecar/stats"
)

// helloTime is how long the rest of a ClientHello may take; what came of it
// goes on then, without its name.
const helloTime = time.Second

// passOpaque takes a redirected connection that the application opened and
// that does not speak HTTP: a call to the service that has the address, or to
// the one that TLS names.
func (p *Proxy) passOpaque(ctx context.Context, c *net.TCPConn, original netip.AddrPort, first []byte) {
	var a *call.Authority
	name, first := serverName(c, first)
	if name != "" {
		a = p.whatIs(ctx, name+":"+strconv.Itoa(int(original.Port())))
	}
	if a == nil {
		a = p.whatIs(ctx, original.String())
	}
	if a != nil {
		p.connect(ctx, c, a, first)
		return
	}
	p.passTo(ctx, c, p.snapshot.direct, original.String(), original, first)
}

// besideApp reports that a redirected inbound connection was going to another
// port than the application's: a metrics port, sshd.
func (p *Proxy) besideApp(original netip.AddrPort) bool {
	app, err := netip.ParseAddrPort(p.cfg.App)
	return err == nil && original.IsValid() && original.Port() != app.Port()
}

// opaqueInbound takes what comes in and does not speak HTTP. Beside the
// application it goes to the very address that was called, so that what listens
// on loopback only is reached by nobody else.
func (p *Proxy) opaqueInbound(ctx context.Context, c *net.TCPConn, original netip.AddrPort, first []byte) {
	if p.besideApp(original) {
		p.passTo(ctx, c, p.beside, original.String(), original, first)
		return
	}
	if p.cfg.AppProtocol != AppAuto && p.cfg.AppProtocol != AppTCP {
		// The application was said to speak HTTP, and would not understand it.
		p.stats.Refuse(stats.ErrHTTPRequestError)
		_ = c.Close()
		return
	}
	p.connect(ctx, c, p.inboundTo, first)
}

// passTo takes a connection to what the mesh does not know. It may block on DNS.
func (p *Proxy) passTo(ctx context.Context, c *net.TCPConn, d *direct, name string, original netip.AddrPort, first []byte) {
	var a *call.Authority
	var why stats.ErrorType
	d.resolve(name, original, func(found *call.Authority, e stats.ErrorType) { a, why = found, e })
	switch {
	case a != nil:
		p.connect(ctx, c, a, first)
	case why == stats.ErrHTTPRequestDenied:
		p.refuse(c, stats.ErrDestinationIPProhibited)
	default:
		p.refuse(c, why)
	}
}

// whatIs is what a name or an address is in the mesh, or nil. It blocks until
// meshd has said so, or resolveWait.
func (p *Proxy) whatIs(ctx context.Context, name string) *call.Authority {
	if a := p.snapshot.lookup([]byte(name)); a != nil {
		return a
	}
	answer := make(chan *call.Authority, 1)
	p.snapshot.ask(name, func(a *call.Authority) { answer <- a })
	select {
	case a := <-answer:
		return a
	case <-ctx.Done():
		return nil
	}
}

// serverName is the name in the ClientHello that a connection opens with, and
// the bytes read of it by then.
func serverName(c *net.TCPConn, first []byte) (string, []byte) {
	if detect.Detect(first) != detect.TLS {
		return "", first
	}
	_ = c.SetReadDeadline(time.Now().Add(helloTime))
	defer c.SetReadDeadline(time.Time{})
	for {
		name, more := detect.ServerName(first)
		if !more {
			return name, first
		}
		var b [4096]byte
		n, err := c.Read(b[:])
		if first = append(first, b[:n]...); err != nil {
			return "", first // the end, if it is one, is met again
		}
	}
}

// refuse closes a connection that is not let through, as a kernel would.
func (p *Proxy) refuse(c *net.TCPConn, why stats.ErrorType) {
	p.stats.Refuse(why)
	_ = c.SetLinger(0)
	_ = c.Close()
}
