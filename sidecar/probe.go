package sidecar

import (
	"context"
	"net"
	"sync"

	"github.com/meshd/meshd/sidecar/balancer"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/load"
)

// probes are what is asked and answered between sidecars of the load of their
// applications, for the balancer hcl.
type probes struct {
	p        *Proxy
	once     sync.Once
	asker    *load.Asker // nil until somebody asks
	answerer *net.UDPConn
	done     sync.WaitGroup
}

// answer answers on the inbound listener's port; where that is taken, or datagrams
// do not go through, callers that go by load do as least_request.
func (o *probes) answer(ctx context.Context) {
	c, err := o.listen(ctx, o.p.inboundAddr().String())
	if err != nil {
		o.p.cfg.Logger.Warn("nobody can ask for the load of this instance, which the balancer hcl does", "error", err,
			"next", "free the UDP port of --inbound, or choose another balancer")
		return
	}
	o.answerer = c
	o.done.Go(func() { load.Answer(c, o.p.gateway.Load) })
}

// listen is a socket that our own redirection leaves alone.
func (o *probes) listen(ctx context.Context, addr string) (*net.UDPConn, error) {
	lc := net.ListenConfig{Control: o.p.dialer.Control}
	c, err := lc.ListenPacket(ctx, "udp", addr)
	if err != nil {
		return nil, err
	}
	return c.(*net.UDPConn), nil
}

// ask is a balancer.Prober.
func (o *probes) ask(pool *balancer.Pool, to *endpoint.Endpoint) {
	o.once.Do(func() {
		c, err := o.listen(context.Background(), ":0")
		if err != nil {
			o.p.cfg.Logger.Warn("the load of instances cannot be asked for", "error", err,
				"next", "choose another balancer than hcl, or allow a UDP socket")
			return
		}
		o.asker = load.NewAsker(c, o.p.now)
	})
	if o.asker != nil {
		o.asker.Ask(pool, to)
	}
}

func (o *probes) close() {
	if o.answerer != nil {
		_ = o.answerer.Close()
	}
	o.once.Do(func() {}) // nobody asks from now on
	if o.asker != nil {
		o.asker.Close()
	}
	o.done.Wait()
}
