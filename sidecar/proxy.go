package sidecar

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshd/meshd/internal/swift"
	"github.com/meshd/meshd/internal/wait"
	"github.com/meshd/meshd/sidecar/accesslog"
	"github.com/meshd/meshd/sidecar/admin"
	"github.com/meshd/meshd/sidecar/balancer"
	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/listener"
	"github.com/meshd/meshd/sidecar/protocol/h1"
	"github.com/meshd/meshd/sidecar/protocol/h2"
	"github.com/meshd/meshd/sidecar/redirect"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/sidecar/tap"
	"github.com/meshd/meshd/tracing"
	"github.com/meshd/meshd/xds/client"
	"github.com/meshd/meshd/xds/resource"
)

const (
	sweepEvery = 5 * time.Second
	// poolIdle is how long upstream connections stay idle where the cluster
	// does not say: below the 75 s after which nginx closes, and so on.
	poolIdle = 60 * time.Second
	// leaveTime is how long a draining instance goes on taking calls after it
	// has told meshd: callers hear of it within that time.
	leaveTime = time.Second
)

// A Proxy is one running sidecar.
type Proxy struct {
	cfg       Config
	epoch     time.Time
	dialer    net.Dialer
	stats     *stats.Registry
	telemetry *tracing.Telemetry
	access    *accesslog.Log // nil: there is none
	snapshot  *snapshot
	client    *client.Client // nil without a control plane
	outbound  *h1.Server
	inbound   *h1.Server
	outbound2 *h2.Server // the connections of outbound that speak HTTP/2
	inbound2  *h2.Server
	tracer    *call.Tracer
	gateway   *call.Gateway // before the application
	mirrors   *mirrors
	probes    *probes
	app       *call.Cluster
	inboundTo *call.Authority // the application
	opaque    atomic.Int64    // connections that nobody looks into
	named     []namedListener
	beside    *direct // to what else listens here
	out, in   []*listener.Listener
	admin     *admin.Server
	taps      *tap.Hub
	member    *member
	serving   atomic.Bool
	bound     map[netip.AddrPort]bool
	work      sync.WaitGroup
}

// Run is a sidecar from its start to the end of ctx, and then its drain:
// meshd is told, calls under way end, and no call is refused that a caller
// could not know better about. A second cancellation, of force, ends it at once.
func Run(ctx, force context.Context, cfg Config) error {
	if err := cfg.validate(); err != nil {
		return err
	}
	// What serves calls lives until force ends or the drain is over.
	serve, stop := context.WithCancel(force)
	defer stop()
	p := &Proxy{cfg: cfg, epoch: time.Now(), stats: stats.NewRegistry(), bound: map[netip.AddrPort]bool{}}
	if err := p.start(serve); err != nil {
		stop()
		p.finish()
		return err
	}
	cfg.Logger.Info("serving", "service", cfg.Service, "instance", cfg.Instance,
		"outbound", cfg.Outbound, "inbound", cfg.Inbound, "app", cfg.App, "admin", cfg.Admin)
	select {
	case <-ctx.Done():
	case <-serve.Done():
	}
	p.drain(serve)
	stop()
	p.finish()
	return nil
}

// now is the clock of everything on the request path: ns since the start.
func (p *Proxy) now() int64 { return int64(time.Since(p.epoch)) }

func (p *Proxy) start(ctx context.Context) error {
	p.dialer.Control = redirect.Marker(p.cfg.Mark)
	if err := p.listen(); err != nil {
		return err
	}
	self, err := p.cfg.instance(p.inboundAddr())
	if err != nil {
		return err
	}
	if err := p.observe(ctx); err != nil {
		return err
	}
	p.gateway = call.NewGateway(p.now)
	p.mirrors = newMirrors(p.dialer.DialContext, p.now)
	p.snapshot = newSnapshot(p.cfg.Logger, p.stats, p.now, p.dialer.DialContext)
	p.probes = &probes{p: p}
	p.snapshot.mirror, p.snapshot.probe = p.mirrors.send, p.probes.ask
	p.snapshot.own, p.snapshot.onOwn = p.cfg.serviceName(), func(c resource.Cluster) { p.gateway.Configure(c.Admission) }
	p.snapshot.pools = p.outboundPools
	p.snapshot.as = balancer.Client{ID: p.cfg.Instance, Region: p.cfg.Region, Zone: p.cfg.Zone}
	p.snapshot.direct = p.direct(p.cfg.Policy, p.outboundPools)
	p.beside = p.direct(Passthrough, p.besidePools) // the policy is of what the application calls
	if p.cfg.Meshd != "" {
		p.client, err = client.New(client.Config{
			Addr: p.cfg.Meshd, Instance: self, Logger: p.cfg.Logger, StateDir: p.cfg.StateDir,
			Events: p.snapshot.events(), Dial: p.dial,
		})
		if err != nil {
			return err
		}
		p.snapshot.client, p.snapshot.grace = p.client, resolveWait
	}
	p.member = &member{self: self, client: p.client, app: p.cfg.App, log: p.cfg.Logger}
	p.assemble(ctx)
	if p.client != nil { // not before: what it restores makes pools of what was assembled
		p.work.Go(func() {
			if err := p.client.Run(ctx); err != nil && ctx.Err() == nil {
				p.cfg.Logger.Error("the control plane's client has ended", "error", err,
					"next", "start the sidecar again; what is known stays in force until then")
			}
		})
	}
	p.serve(p.out, p.outbound)
	p.serveNamed(ctx)
	if p.cfg.Inbound != "" {
		p.snapshot.watchSelf(p.cfg.ownAuthority())
		p.probes.answer(ctx)
		p.serve(p.in, p.inbound)
		p.work.Go(func() { p.member.watch(ctx) })
	}
	p.work.Go(func() { p.sweep(ctx) })
	p.work.Go(func() { keepSmall(ctx, p.cfg.Getenv) })
	p.serving.Store(true)
	return nil
}

// listen binds every port before anything starts, so that a port in use is
// an error at once.
func (p *Proxy) listen() (err error) {
	opt := func(flag string) listener.Options {
		return listener.Options{Flag: flag, MaxConns: p.cfg.MaxConns, Log: p.cfg.Logger}
	}
	if p.cfg.Outbound != "" {
		if p.out, err = listener.ListenBoth(p.cfg.Outbound, opt("--outbound")); err != nil {
			return err
		}
	}
	if p.cfg.Inbound != "" {
		l, err := listener.Listen(p.cfg.Inbound, opt("--inbound"))
		if err != nil {
			return err
		}
		p.in = []*listener.Listener{l}
	}
	if err := p.listenNamed(opt("--tcp-listen")); err != nil {
		return err
	}
	if p.cfg.Admin != "" {
		p.admin, err = admin.Listen(p.cfg.Admin, admin.Config{
			Stats: p.stats, Ready: p.serving.Load, Dump: p.dump, Why: p.why, Tap: p.serveTap, Logger: p.cfg.Logger,
			LogLevel: p.cfg.LogLevel,
		})
		if err != nil {
			return err
		}
		p.bound[p.admin.Addr()] = true
		p.cfg.Admin = p.admin.Addr().String() // as meshd is told: its port may have been 0
	}
	for _, l := range p.listeners() {
		p.bound[l.Addr()] = true
	}
	return nil
}

// listeners are all but the admin's.
func (p *Proxy) listeners() []*listener.Listener {
	all := slices.Concat(p.out, p.in)
	for _, n := range p.named {
		all = append(all, n.Listener)
	}
	return all
}

func (p *Proxy) inboundAddr() netip.AddrPort {
	if len(p.in) == 0 {
		return netip.AddrPort{}
	}
	return p.in[0].Addr()
}

// direct makes the way to what the mesh does not know.
func (p *Proxy) direct(policy OutboundPolicy, pools func(resource.Cluster, resource.Endpoint) any) *direct {
	return &direct{
		policy: policy, stats: p.stats, now: p.now, pools: pools,
		resolver: net.DefaultResolver, own: p.own, known: map[string]*destination{},
	}
}

// own reports whether an address is one of our own ports, which must never be
// a destination: that would be a loop.
func (p *Proxy) own(a netip.AddrPort) bool {
	addr := a.Addr().Unmap()
	for b := range p.bound {
		if b.Port() == a.Port() && (b.Addr().Unmap() == addr || b.Addr().IsUnspecified() && local(addr)) {
			return true
		}
	}
	return false
}

// local reports whether an address is this machine's, as far as can be told.
func local(a netip.Addr) bool {
	if a.IsLoopback() || a.IsUnspecified() {
		return true
	}
	addrs, _ := net.InterfaceAddrs()
	return slices.ContainsFunc(addrs, func(has net.Addr) bool {
		p, err := netip.ParsePrefix(has.String())
		return err == nil && p.Addr().Unmap() == a.WithZone("")
	})
}

// dial reaches the control plane around our own redirection.
func (p *Proxy) dial(ctx context.Context, addr string) (net.Conn, error) {
	c, err := p.dialer.DialContext(ctx, "tcp", addr)
	return swift.Conn(c), err
}

func (p *Proxy) serve(ls []*listener.Listener, srv *h1.Server) {
	for _, l := range ls {
		p.work.Go(func() { _ = l.Serve(srv.Serve) })
	}
}

// sweep closes idle connections and forgets what is not called any more.
func (p *Proxy) sweep(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, c := range p.clusters() {
			limit := c.Config().IdleTimeout
			if limit <= 0 {
				limit = poolIdle
			}
			for _, ep := range c.Endpoints() {
				p.outbound.Sweep(ep, limit)
				h2.Sweep(ep, limit)
			}
		}
		if p.client != nil && n%int(time.Minute/sweepEvery) == 0 {
			p.snapshot.sweepMinute()
		}
	}
}

// clusters are all that there are now, the application's included.
func (p *Proxy) clusters() []*call.Cluster {
	all := append(p.snapshot.all(), p.beside.clusters()...)
	if p.app != nil {
		all = append(all, p.app)
	}
	return all
}

// drain leaves the mesh without a failed call: first nobody is sent here any
// more, then what is under way ends.
func (p *Proxy) drain(ctx context.Context) {
	p.serving.Store(false)
	ctx, cancel := context.WithTimeout(ctx, p.cfg.Drain)
	defer cancel()
	if p.cfg.Inbound != "" {
		p.member.leave()
		if p.client != nil {
			_ = wait.For(ctx, leaveTime)
		}
		p.inbound.Drain()
		p.inbound2.Drain()
		await(ctx, func() bool { return p.inbound.Active() == 0 })
	}
	p.outbound.Drain()
	p.outbound2.Drain()
	await(ctx, func() bool { return p.outbound.Active() == 0 && p.opaque.Load() == 0 })
}

// finish releases everything; the serving context has ended.
func (p *Proxy) finish() {
	for _, l := range p.listeners() {
		_ = l.Close()
	}
	if p.taps != nil {
		p.taps.Close()
	}
	if p.admin != nil {
		p.admin.Close()
	}
	if p.outbound != nil {
		for _, c := range p.clusters() {
			for _, ep := range c.Endpoints() {
				retireEndpoint(ep)
			}
		}
		p.outbound.Wait()
		p.outbound2.Wait()
	}
	if p.inbound != nil {
		p.inbound.Wait()
		p.inbound2.Wait()
	}
	for _, l := range p.listeners() {
		l.Wait()
	}
	if p.snapshot != nil {
		p.snapshot.health.Close()
		p.mirrors.close()
		p.probes.close()
	}
	p.work.Wait()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	p.flush(ctx)
}

// await polls until done or the end of ctx.
func await(ctx context.Context, done func() bool) {
	for !done() && ctx.Err() == nil {
		_ = wait.For(ctx, 5*time.Millisecond)
	}
}

// why lists the records of calls for the admin port.
func (p *Proxy) why(q call.RecordQuery) []call.Record {
	if !p.serving.Load() {
		return nil // the records are made at the start
	}
	return p.tracer.Records.Query(q)
}

// serveTap is GET /tap on the admin port.
func (p *Proxy) serveTap(w http.ResponseWriter, r *http.Request) {
	if !p.serving.Load() {
		http.Error(w, "not ready: starting or draining", http.StatusServiceUnavailable)
		return
	}
	p.taps.ServeHTTP(w, r)
}

// dump is what the admin port tells of the configuration.
func (p *Proxy) dump() any {
	type reportDump struct { // what the endpoint says of its load, and how long ago
		endpoint.LoadReport
		AgeMs float64
	}
	type endpointDump struct {
		Address, ID, Breaker string
		Weight               uint32
		InFlight             int64
		LatencyMs            float64
		Open, Idle, Waiting  int
		Reported             *reportDump `json:",omitempty"`
	}
	type clusterDump struct {
		Name, Balancer  string
		Active, Pending int64
		Endpoints       []endpointDump
	}
	out := struct {
		Service, Instance string
		Ready             bool
		Authorities       []string
		Clusters          []clusterDump
	}{Service: p.cfg.serviceName(), Instance: p.cfg.Instance, Ready: p.serving.Load()}
	if !out.Ready {
		return out
	}
	for name := range *p.snapshot.hosts.Load() {
		out.Authorities = append(out.Authorities, name)
	}
	for _, c := range p.snapshot.all() {
		cfg := c.Config()
		d := clusterDump{Name: c.Name, Balancer: cfg.Balancer}
		d.Active, d.Pending = c.InUse()
		for _, ep := range c.Endpoints() {
			s, shared := h1.PoolStats(ep), h2.PoolStats(ep)
			d.Endpoints = append(d.Endpoints, endpointDump{
				Address: ep.Address, ID: ep.ID, Breaker: ep.Breaker.State().String(), Weight: ep.Weight,
				InFlight: ep.Load.InFlight(), LatencyMs: float64(ep.Load.Latency()) / float64(time.Millisecond),
				Open: s.Open + shared.Open, Idle: s.Idle + shared.Idle, Waiting: s.Waiting + shared.Waiting,
			})
			if report, age, ok := ep.Reported.Get(p.now()); ok {
				d.Endpoints[len(d.Endpoints)-1].Reported = &reportDump{report, float64(age) / float64(time.Millisecond)}
			}
		}
		out.Clusters = append(out.Clusters, d)
	}
	return out
}
