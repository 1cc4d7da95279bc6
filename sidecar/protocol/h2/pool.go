package h2

import (
	"net"
	"slices"
	"time"

	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/pool"
	"github.com/meshd/meshd/sidecar/protocol/h1"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/xds/resource"
)

// A shared is the connections to one endpoint that streams share. It is
// guarded by its server's lock. There is one connection until it holds calls
// up: because the peer allows no more streams, or because what is to be sent
// waits for the kernel or for the connection's window.
type shared struct {
	srv     *Server
	conns   []*conn // that take new streams
	dialing int
	queue   []*waiter
	closed  bool // the endpoint has left its cluster
	max     int  // connections of each kind; 0: no cap
	one     exclusive
	old     int64 // the endpoint does not answer HTTP/2: not asked again until then
}

// oldFor is how long an endpoint counts as one that speaks HTTP/1.1 only.
const oldFor = time.Minute

// A waiter is a stream that waits for a connection.
type waiter struct {
	s   *stream
	one bool // of HTTP/1.1
}

// next takes the stream that has waited longest out of a queue.
func next(queue *[]*waiter) *stream {
	s := (*queue)[0].s
	*queue = (*queue)[1:]
	s.wait = nil
	s.call.Unpend()
	return s
}

// NewPool makes what the Shared of an endpoint's pool.Pair is, with room for
// so many connections of each kind; 0 is no cap but that of Limits.
func (srv *Server) NewPool(maxConns uint32) any { return &shared{srv: srv, max: int(maxConns)} }

// sharedOf finds the connections to an endpoint.
func sharedOf(ep *endpoint.Endpoint) *shared {
	p, _ := ep.Attachment.(*pool.Pair).Shared.(*shared)
	return p
}

// best is the connection with the fewest streams of those that take more, and
// whose peer reads: what is said to it has no bound of its own.
func (p *shared) best() (best *conn) {
	for _, c := range p.conns {
		if len(c.streams) < c.streamsMax && !c.paused() && (best == nil || len(c.streams) < len(best.streams)) {
			best = c
		}
	}
	return best
}

// congested reports whether calls wait on a connection for its sake.
func (c *conn) congested() bool { return c.stuck != 0 || len(c.waiting) > 0 && c.sendWindow <= 0 }

func (p *shared) room() bool {
	n := len(p.conns) + p.dialing
	return n < p.srv.Limits.Connections && (p.max == 0 || n < p.max)
}

// live is best, after a look at one that may have been closed while it was idle.
func (p *shared) live() *conn {
	c := p.best()
	if c != nil && c.unsure && len(c.streams) == 0 {
		c.unsure = false
		if !c.Quiet() { // most likely it was closed a moment ago
			p.srv.work.Go(c.read)
			p.drop(c)
			c.goingAway = true
			c = p.best()
		}
	}
	return c
}

// join gives s a connection, now or when there is one; false: too many wait.
func (p *shared) join(s *stream) bool {
	if c := p.live(); c != nil {
		if c.congested() && p.dialing == 0 && p.room() {
			p.dial(s)
		}
		s.attach(c)
		return true
	}
	if !s.call.Pending() {
		return false
	}
	s.wait = &waiter{s: s}
	p.queue = append(p.queue, s.wait)
	if p.room() && len(p.queue) > p.dialing*streamsBeforeAllowed {
		p.dial(s)
	}
	return true
}

// leave takes a stream out of the queue.
func (p *shared) leave(s *stream) {
	queue := &p.queue
	if s.wait.one {
		queue = &p.one.queue
	}
	for i, w := range *queue {
		if w == s.wait {
			*queue = append((*queue)[:i], (*queue)[i+1:]...)
			break
		}
	}
	s.wait = nil
	s.call.Unpend()
}

// serve gives connections to those who wait.
func (p *shared) serve() {
	for len(p.queue) > 0 {
		c := p.best()
		if c == nil {
			return
		}
		next(&p.queue).attach(c)
	}
	p.queue = nil
}

// dial opens a shared connection, to the endpoint of s.
func (p *shared) dial(s *stream) {
	p.dialing++
	until := int64(time.Since(p.srv.epoch) + s.call.ConnectTimeout())
	p.open(s, func(nc *net.TCPConn) (*link, error) {
		c, err := newConn(p.srv, nc)
		if err != nil {
			return nil, err
		}
		c.client, c.pool, c.settleBy = true, p, until
		c.decoder.SetMaxStringLength(answerBlock)
		return &c.link, nil
	}, func(e stats.ErrorType) {
		p.dialing--
		p.failed(e)
	})
}

// open dials, in a goroutine that becomes the connection's.
func (p *shared) open(s *stream, make func(*net.TCPConn) (*link, error), failed func(stats.ErrorType)) {
	srv, addr, timeout := p.srv, s.call.Endpoint().Address, s.call.ConnectTimeout()
	srv.work.Go(func() {
		d := srv.Dialer
		d.Timeout = timeout
		nc, err := d.DialContext(srv.ctx, "tcp", addr)
		var c *link
		if err == nil {
			if c, err = make(nc.(*net.TCPConn)); err != nil {
				_ = nc.Close()
			}
		}
		if err != nil {
			srv.event(nil, func() { failed(h1.DialError(err)) })
			return
		}
		srv.Stats.Upstream.Add(1)
		defer srv.Stats.Upstream.Add(-1)
		c.run()
	})
}

// failed follows a dial that came to nothing.
func (p *shared) failed(e stats.ErrorType) {
	if len(p.conns) > 0 || p.dialing > 0 {
		return // those who wait have others to wait for
	}
	queue := p.queue
	p.queue = nil
	for _, w := range queue {
		w.s.wait = nil
		w.s.call.Unpend()
		if p.translates(w.s) {
			w.s.connect(w.s.call.Endpoint())
			continue
		}
		w.s.attemptFailed(e, stats.RetryConnectFailure, true)
	}
}

// translates reports whether a call is made in HTTP/1.1 because the endpoint
// has shown that it speaks nothing else, and nothing says that it should.
func (p *shared) translates(s *stream) bool {
	return p.srv.now < p.old && s.call.Protocol() == resource.ProtocolAuto && !s.req.grpc
}

// ready follows the first SETTINGS of a new connection.
func (p *shared) ready(c *conn) {
	p.dialing--
	if p.closed {
		c.goingAway = true
		if len(p.queue) == 0 {
			c.fail(problem{0, codeNone, ""})
			return
		}
	}
	p.conns = append(p.conns, c)
	p.serve()
}

// drop takes a connection out of those that take streams.
func (p *shared) drop(c *conn) {
	for i, k := range p.conns {
		if k == c {
			p.conns = append(p.conns[:i], p.conns[i+1:]...)
			break
		}
	}
}

// leaving follows a GOAWAY: calls under way end on the connection, others go
// to another. One that ends before it took a call is a failed connection: the
// next would hardly be better, and would be dialled over and over.
func (p *shared) leaving(c *conn, e stats.ErrorType) {
	p.drop(c)
	if c.lastID == 0 {
		p.failed(e)
		return
	}
	p.hurry()
}

// hurry dials when there is nothing else that those who wait could wait for.
func (p *shared) hurry() {
	if len(p.queue) > 0 && len(p.conns) == 0 && p.dialing == 0 {
		p.dial(p.queue[0].s)
	}
}

// gone follows the end of a connection.
func (p *shared) gone(c *conn, e stats.ErrorType) {
	if e == stats.ErrNone {
		e = stats.ErrConnectionTerminated
	}
	if !c.settled {
		p.dialing--
		p.failed(e)
		return
	}
	p.leaving(c, e)
}

// Retire closes the connections to an endpoint that has left its cluster;
// those in use close after their last stream.
func Retire(ep *endpoint.Endpoint) {
	p := sharedOf(ep)
	if p == nil {
		return
	}
	p.srv.event(nil, func() {
		p.closed = true
		for _, c := range slices.Clone(p.conns) {
			c.goingAway = true
			p.drop(c)
			if len(c.streams) == 0 {
				c.fail(problem{0, codeNone, ""})
			}
		}
		p.hurry()
		for _, c := range slices.Clone(p.one.idle) {
			c.bury(stats.ErrNone)
		}
	})
}

// Sweep closes connections to an endpoint that have had no stream for longer
// than limit.
func Sweep(ep *endpoint.Endpoint, limit time.Duration) {
	p := sharedOf(ep)
	if p == nil {
		return
	}
	p.srv.event(nil, func() {
		for _, c := range slices.Clone(p.conns) {
			if len(c.streams) == 0 && p.srv.now-c.idleSince > int64(limit) {
				c.goingAway = true
				c.fail(problem{0, codeNone, "idle"})
			}
		}
		for _, c := range slices.Clone(p.one.idle) {
			if p.srv.now-c.idleSince > int64(limit) {
				c.bury(stats.ErrNone)
			}
		}
	})
}

// PoolStats are the numbers of an endpoint's shared connections.
func PoolStats(ep *endpoint.Endpoint) (out pool.Stats) {
	p := sharedOf(ep)
	if p == nil {
		return out
	}
	p.srv.mu.Lock()
	defer p.srv.mu.Unlock()
	out.Open, out.Waiting = len(p.conns)+p.one.open, len(p.queue)+len(p.one.queue)
	out.Idle = len(p.one.idle)
	for _, c := range p.conns {
		if len(c.streams) == 0 {
			out.Idle++
		}
	}
	return out
}
