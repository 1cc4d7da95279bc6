package sidecar

import (
	"context"
	"net"
	"net/netip"
	"time"

	"github.com/meshd/meshd/sidecar/protocol/tcp"
)

// opaqueIdle ends a tunnel on which nothing moves.
const opaqueIdle = time.Hour

// passOpaque relays a redirected connection that does not speak HTTP/1 to
// where it was going.
func (p *Proxy) passOpaque(ctx context.Context, c *net.TCPConn, original netip.AddrPort, first []byte) {
	if p.cfg.Policy == Deny || p.own(original) {
		_ = c.SetLinger(0)
		_ = c.Close()
		return
	}
	p.relayTo(ctx, c, original.String(), first)
}

// besideApp reports that a redirected inbound connection was going to another
// port than the application's: a metrics port, sshd.
func (p *Proxy) besideApp(original netip.AddrPort) bool {
	app, err := netip.ParseAddrPort(p.cfg.App)
	return err == nil && original.IsValid() && original.Port() != app.Port()
}

// opaqueInbound relays what does not speak HTTP/1. Beside the application it
// goes to the very address that was called, so that what listens on loopback
// only is reached by nobody else.
func (p *Proxy) opaqueInbound(ctx context.Context, c *net.TCPConn, original netip.AddrPort, first []byte) {
	to := p.cfg.App
	if p.besideApp(original) {
		to = original.String()
	}
	p.relayTo(ctx, c, to, first)
}

func (p *Proxy) relayTo(ctx context.Context, c *net.TCPConn, addr string, first []byte) {
	d := p.dialer
	d.Timeout = 5 * time.Second
	up, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		_ = c.SetLinger(0)
		_ = c.Close()
		return
	}
	relayBytes(ctx, c, up.(*net.TCPConn), first, nil)
}

func relayBytes(ctx context.Context, a, b *net.TCPConn, fromA, fromB []byte) {
	// How a tunnel ends is its peers' affair; both connections are closed.
	_, _ = tcp.Relay(ctx, a, b, tcp.Options{IdleTimeout: opaqueIdle, FirstAtoB: fromA, FirstBtoA: fromB})
}
