package sidecar

import (
	"context"
	"net"
	"runtime/debug"
	"sync"
	"time"

	"github.com/meshd/meshd/internal/wait"
	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/protocol/h1"
	"github.com/meshd/meshd/sidecar/protocol/socket"
	"github.com/meshd/meshd/sidecar/protocol/tcp"
	"github.com/meshd/meshd/sidecar/stats"
)

// proofTime is how long after connecting an endpoint must not have hung up
// without a word to count as one that works.
const proofTime = time.Second

// connect makes the call that an opaque connection is, and relays until it ends.
func (p *Proxy) connect(ctx context.Context, c *net.TCPConn, a *call.Authority, first []byte) {
	r := a.Match([]byte("/"), nil)
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
	o := &connection{p: p, down: c, sent: &r.Service.TCP().Sent, received: &r.Service.TCP().Received, resumed: make(chan *call.Waiter, 1)}
	if r.Server {
		o.sent, o.received = o.received, o.sent
	}
	e := o.goOn(ctx, o.call.BeginConnection(p.tracer, r, socket.PeerOf(c), o, p.now()))
	if e == stats.ErrNone {
		e = o.guarded(ctx, first)
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

// A connection is one that nobody looks into, and its call.
type connection struct {
	p              *Proxy
	down           *net.TCPConn
	sent, received *stats.Counter // of what comes from down, and of what goes there
	moved          [2]int64       // the same of this connection

	resumed chan *call.Waiter

	mu    sync.Mutex // guards the call once connected: the verdict comes by a timer
	call  call.Call
	ended bool
}

// Resume implements call.Owner. A call waits for one thing at a time, and the
// last one is not waited for where the sidecar ends: the channel holds it.
func (o *connection) Resume(w *call.Waiter) { o.resumed <- w }

// Subject implements call.Owner.
func (o *connection) Subject() call.Subject { return call.Subject{} }

// goOn waits as long as the call has to, and says why it may not go on.
func (o *connection) goOn(ctx context.Context, step call.Step) stats.ErrorType {
	for {
		switch step {
		case call.Go:
			return stats.ErrNone
		case call.Refused:
			return o.call.Refusal().Err
		}
		select {
		case <-ctx.Done():
			return stats.ErrProxyInternalResponse
		case w := <-o.resumed:
			step = o.call.Resumed(w, o.p.now())
		}
	}
}

// guarded keeps a panic inside its connection.
func (o *connection) guarded(ctx context.Context, first []byte) (e stats.ErrorType) {
	defer func() {
		if v := recover(); v != nil {
			o.p.stats.Panics.Inc()
			o.p.cfg.Logger.Error("panic in a connection, which is closed", "panic", v, "stack", string(debug.Stack()),
				"next", "report it with the stack; other connections go on")
			e = stats.ErrProxyInternalError
		}
	}()
	return o.run(ctx, first)
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
			if e == stats.ErrDestinationUnavailable {
				if e = o.goOn(ctx, o.call.NoEndpoint(p.now())); e == stats.ErrNone {
					e = stats.ErrDestinationUnavailable
					continue
				}
			}
			return nil, e
		}
		if o.call.Crowded() {
			o.call.Cancel(p.now())
			return nil, stats.ErrConnectionLimitReached
		}
		d := p.dialer
		d.Timeout = o.call.ConnectTimeout()
		up, err := dialApart(ctx, d, ep.Address)
		now := p.now()
		if err == nil {
			o.call.Connected(now)
			return up, stats.ErrNone
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
		_ = wait.For(ctx, delay)
	}
}

// dialApart dials on a goroutine of its own, and waits for it: dialling takes a
// stack four times as deep as what follows, which ours would keep, in most
// cases, for as long as the connection lives.
func dialApart(ctx context.Context, d net.Dialer, addr string) (up *net.TCPConn, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		var c net.Conn
		if c, err = d.DialContext(ctx, "tcp", addr); err == nil {
			up = c.(*net.TCPConn)
		}
	}()
	<-done
	return up, err
}

// relayBytes is h1.Config.Relay.
func (p *Proxy) relayBytes(ctx context.Context, a, b *net.TCPConn, fromA, fromB []byte) {
	_, _ = tcp.Relay(ctx, a, b, tcp.Options{IdleTimeout: p.cfg.TCPIdle, FirstAtoB: fromA, FirstBtoA: fromB})
}
