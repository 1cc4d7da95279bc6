package sidecar

import (
	"context"
	"net/netip"
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/health"
	"github.com/meshd/meshd/sidecar/listener"
	"github.com/meshd/meshd/sidecar/pool"
	"github.com/meshd/meshd/sidecar/protocol/h1"
	"github.com/meshd/meshd/sidecar/protocol/h2"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/sidecar/tap"
	"github.com/meshd/meshd/tracing"
	"github.com/meshd/meshd/xds/resource"
)

// assemble builds the two paths of a sidecar, in the order in which a call
// takes them:
//
//	outbound  accept -> detect -> head -> route (snapshot, or direct) -> call:
//	          limits, trace, retry within the budget, balancer, breaker
//	          -> pool -> attempt -> answer -> record
//	inbound   the same, with one route, one endpoint (the application), no
//	          retries and a server's span; what was redirected on its way to
//	          another port than the application's goes on to that
func (p *Proxy) assemble(ctx context.Context) {
	p.tracer = &call.Tracer{Sampler: p.telemetry.Sampler(), Emit: p.telemetry.Emit, Epoch: p.epoch, Off: !p.telemetry.Tracing(),
		Joins: call.NewJoins(), Records: call.NewRecords(),
		Log: p.callLog(), LogOnly: logFilters[p.cfg.AccessLogFilter]}
	p.taps = tap.New(&p.tracer.Tap, p.now, p.cfg.Instance)
	if by := p.telemetry.Propagators(); by != (tracing.Propagators{TraceContext: true}) {
		p.tracer.Propagate = &by
	}
	common := h1.Config{
		Original: listener.OriginalDst,
		Relay:    p.relayBytes,
		Tracer:   p.tracer,
		Stats:    p.stats,
		Dialer:   p.dialer,
		Logger:   p.cfg.Logger,
	}

	out := common
	out.Lookup = p.snapshot.lookup
	out.Resolve = p.snapshot.resolve
	out.Opaque, out.Peek = p.passOpaque, p.peekOutbound
	p.outbound2 = newH2(ctx, out, p.epoch)
	out.HTTP2, out.Translate = p.outbound2.Serve, p.outbound2.ServeHTTP1
	p.outbound = h1.NewServer(ctx, out, p.epoch)

	if p.cfg.Inbound == "" {
		return // a client only
	}
	in := common
	var app *call.Authority // made after the server that keeps its connections
	in.Server = true
	in.Lookup = func([]byte) *call.Authority { return app }
	in.Elsewhere = p.besideApp
	in.Resolve = func(name string, original netip.AddrPort, done func(*call.Authority, stats.ErrorType)) {
		go p.beside.resolve(name, original, done)
	}
	in.Opaque, in.Peek = p.opaqueInbound, p.peekInbound
	p.inbound2 = newH2(ctx, in, p.epoch)
	in.HTTP2, in.Translate = p.inbound2.Serve, p.inbound2.ServeHTTP1
	app = p.appAuthority()
	p.inboundTo = app
	p.inbound = h1.NewServer(ctx, in, p.epoch)
}

// newH2 makes the HTTP/2 side of a path: the same call, another codec.
func newH2(ctx context.Context, c h1.Config, epoch time.Time) *h2.Server {
	return h2.NewServer(ctx, h2.Config{
		Lookup: c.Lookup, Resolve: c.Resolve, Elsewhere: c.Elsewhere, Tracer: c.Tracer, Stats: c.Stats,
		Dialer: c.Dialer, Logger: c.Logger, Server: c.Server,
	}, epoch)
}

// appAuthority is what every inbound call goes to.
func (p *Proxy) appAuthority() *call.Authority {
	name := p.cfg.serviceName()
	svc := p.stats.Server(name)
	p.app = &call.Cluster{
		Name: name, Now: p.now, Retire: retireEndpoint,
		Factory: func(resource.Cluster, resource.Endpoint) any { return pools(p.inbound2, 0) },
	}
	eps := &resource.Endpoints{Cluster: name}
	if addr, err := netip.ParseAddrPort(p.cfg.App); err == nil {
		eps.Endpoints = []resource.Endpoint{{Addr: addr, ID: p.cfg.Instance, Weight: 1}}
	}
	cfg := &resource.Cluster{
		Name: name, ConnectTimeout: time.Second, Balancer: "round_robin",
		Breaker: resource.Breaker{Disabled: true}, Protocol: appProtocols[p.cfg.AppProtocol],
	}
	_ = p.app.Update(cfg, eps) // round_robin exists
	r := &call.Route{
		Route: resource.Route{
			Prefix: "/", Service: name, TraceRatio: -1,
			Clusters: []resource.WeightedCluster{{Name: name, Weight: 1}},
		},
		Server: true, Service: svc, Stats: svc.Route(""), Clusters: []*call.Cluster{p.app},
	}
	r.Host, r.Port = hostPort(name)
	r.Gate = p.gateway
	r.Init(nil, p.now)
	svc.SetFigures(func() []stats.Figure { return append(gateFigures(p.gateway), joinFigures(p.tracer.Joins)...) })
	return &call.Authority{Name: name, Routes: []*call.Route{r}}
}

// pools are the connections to an endpoint, of both kinds of HTTP.
func pools(srv *h2.Server, maxConns uint32) *pool.Pair {
	pair := h1.NewPool(maxConns)
	pair.Shared = srv.NewPool(maxConns)
	return pair
}

// outboundPools makes the Attachment of an endpoint of others.
func (p *Proxy) outboundPools(c resource.Cluster, _ resource.Endpoint) any {
	return pools(p.outbound2, c.Limits.Connections)
}

// besidePools makes that of what else listens beside the application.
func (p *Proxy) besidePools(resource.Cluster, resource.Endpoint) any { return pools(p.inbound2, 0) }

func retireEndpoint(ep *endpoint.Endpoint) {
	h1.Retire(ep)
	h2.Retire(ep)
}

// endpointStats is what the endpoints of a route's clusters tell at export time.
func endpointStats(r *call.Route, now int64) []stats.EndpointStat {
	var out []stats.EndpointStat
	total := uint32(0)
	for _, w := range r.Route.Clusters {
		total += w.Weight
	}
	for i, c := range r.Clusters {
		weights := c.Weights()
		part := float64(r.Route.Clusters[i].Weight) / float64(max(total, 1))
		for _, ep := range c.Endpoints() {
			e := stats.EndpointStat{
				Address: ep.Address, ID: ep.ID, Requests: ep.Requests.Load(), Failures: ep.Failures.Load(),
				InFlight: ep.Load.InFlight(), Breaker: stats.BreakerState(ep.Breaker.State()),
				Standing: ep.Standing(now), Weight: part * weights[ep.State],
			}
			if e.Breaker != stats.BreakerClosed {
				e.BreakerRule = ep.Breaker.Rule().String()
			}
			for rule := range ep.Ejections {
				if n := ep.Ejections[rule].Load(); n > 0 {
					if e.Ejections == nil {
						e.Ejections = map[string]uint64{}
					}
					e.Ejections[health.Rule(rule).String()] = uint64(n)
				}
			}
			out = append(out, e)
		}
	}
	return out
}
