package sidecar

import (
	"context"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/protocol/detect"
	"github.com/meshd/meshd/sidecar/protocol/h1"
	"github.com/meshd/meshd/sidecar/protocol/tcp"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/xds/resource"
)

const (
	// proofTime is how long after connecting an endpoint must not have hung up
	// without a word to count as one that works.
	proofTime = time.Second
	// helloTime is how long the rest of a ClientHello may take; what came of it
	// goes on then, without its name.
	helloTime = time.Second
)

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

// peekOutbound is h1.Config.Peek: it knows a connection that nobody looks into
// by where it is going.
func (p *Proxy) peekOutbound(original netip.AddrPort, silent bool, opaque func()) bool {
	name := original.String()
	if a := p.snapshot.lookup([]byte(name)); a != nil {
		return speaksTCP(a)
	}
	if !silent {
		p.snapshot.ask(name, func(a *call.Authority) {
			if a != nil && speaksTCP(a) {
				opaque()
			}
		})
	}
	return false
}

// peekInbound does so for calls to the application: as its sidecar was told,
// or else, where a caller says nothing, as the mesh knows of its service.
func (p *Proxy) peekInbound(original netip.AddrPort, silent bool, opaque func()) bool {
	if p.besideApp(original) || p.cfg.AppProtocol != AppAuto {
		return p.cfg.AppProtocol == AppTCP && !p.besideApp(original)
	}
	own := p.cfg.ownAuthority()
	if a := p.snapshot.lookup([]byte(own)); a != nil {
		return speaksTCP(a)
	}
	if silent {
		p.snapshot.ask(own, func(a *call.Authority) {
			if a != nil && speaksTCP(a) {
				opaque()
			}
		})
	}
	return false
}

// speaksTCP reports whether the endpoints of an authority speak what nobody
// looks into.
func speaksTCP(a *call.Authority) bool {
	r := a.Match([]byte("/"))
	return r != nil && r.Speaks(resource.ProtocolTCP)
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

// connect makes the call that an opaque connection is, and relays until it ends.
func (p *Proxy) connect(ctx context.Context, c *net.TCPConn, a *call.Authority, first []byte) {
	r := a.Match([]byte("/"))
	if r == nil {
		p.refuse(c, stats.ErrDestinationNotFound)
		return
	}
	if p.opaque.Add(1) > int64(p.cfg.MaxTCP) {
		p.opaque.Add(-1)
		p.refuse(c, stats.ErrConnectionLimitReached)
		return
	}
	defer p.opaque.Add(-1)
	o := &connection{p: p, down: c, sent: &r.Service.TCP().Sent, received: &r.Service.TCP().Received}
	if r.Server {
		o.sent, o.received = o.received, o.sent
	}
	e := o.call.BeginConnection(p.tracer, r, peerOf(c), p.now())
	if e == stats.ErrNone {
		e = o.run(ctx, first)
	}
	_ = c.SetLinger(0) // does nothing where the relay has closed it
	_ = c.Close()
	o.mu.Lock()
	defer o.mu.Unlock()
	sent, received := o.moved[0], o.moved[1]
	if r.Server {
		sent, received = received, sent
	}
	o.call.EndConnection(p.now(), e, sent, received)
	o.ended = true
}

func peerOf(c *net.TCPConn) string {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap().String()
	}
	return ""
}

// A connection is one that nobody looks into, and its call.
type connection struct {
	p              *Proxy
	down           *net.TCPConn
	sent, received *stats.Counter // of what comes from down, and of what goes there
	moved          [2]int64       // the same of this connection

	mu    sync.Mutex // guards the call once connected: the verdict comes by a timer
	call  call.Call
	ended bool
}

// run connects and relays, and says how it ended.
func (o *connection) run(ctx context.Context, first []byte) stats.ErrorType {
	up, e := o.dial(ctx)
	if e != stats.ErrNone {
		return e
	}
	o.p.stats.Upstream.Inc()
	defer o.p.stats.Upstream.Dec()
	proof := time.AfterFunc(proofTime, func() { o.judge(false) })
	defer proof.Stop()
	began := time.Now()
	// How a connection ends is its peers' affair; both sockets are closed.
	res, _ := tcp.Relay(ctx, o.down, up, tcp.Options{
		IdleTimeout: o.p.cfg.TCPIdle, FirstAtoB: first, CountAtoB: o.sent, CountBtoA: o.received,
	})
	o.moved = [2]int64{res.AtoB, res.BtoA}
	switch res.Reason {
	case tcp.Closed:
		return stats.ErrNone
	case tcp.Idle:
		return stats.ErrConnectionReadTimeout
	case tcp.Canceled:
		return stats.ErrProxyInternalResponse
	}
	if res.Culprit == tcp.A {
		return stats.ErrClientClosed
	}
	if res.BtoA == 0 && time.Since(began) < proofTime {
		o.judge(true)
	}
	return stats.ErrConnectionTerminated
}

func (o *connection) judge(failed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ended {
		o.call.Judge(o.p.now(), failed)
	}
}

// dial connects to an endpoint, and to others while that fails and the policy
// allows it.
func (o *connection) dial(ctx context.Context) (*net.TCPConn, stats.ErrorType) {
	p, e := o.p, stats.ErrDestinationUnavailable
	for {
		ep := o.call.Pick(p.now())
		if ep == nil {
			return nil, e
		}
		if o.call.Crowded() {
			o.call.Cancel(p.now())
			return nil, stats.ErrConnectionLimitReached
		}
		d := p.dialer
		d.Timeout = o.call.ConnectTimeout()
		up, err := d.DialContext(ctx, "tcp", ep.Address)
		now := p.now()
		if err == nil {
			o.call.Connected(now)
			return up.(*net.TCPConn), stats.ErrNone
		}
		if ctx.Err() != nil {
			o.call.Cancel(now)
			return nil, stats.ErrProxyInternalResponse
		}
		e = h1.DialError(err)
		o.call.Done(now, 0, e, now-o.call.Began())
		delay, again := o.call.Retry(now, stats.RetryConnectFailure, true)
		if !again {
			return nil, e
		}
		sleep(ctx, delay)
	}
}

// relayBytes is h1.Config.Relay.
func (p *Proxy) relayBytes(ctx context.Context, a, b *net.TCPConn, fromA, fromB []byte) {
	_, _ = tcp.Relay(ctx, a, b, tcp.Options{IdleTimeout: p.cfg.TCPIdle, FirstAtoB: fromA, FirstBtoA: fromB})
}
