package sidecar

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/balancer"
	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/health"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/xds/client"
	"github.com/meshd/meshd/xds/resource"
)

const (
	// resolveWait is how long a call waits for meshd to say what a name is.
	resolveWait = 2 * time.Second
	// forgetAfter is how long an authority may go uncalled before its
	// subscription ends, in minutes of the sweeper.
	forgetAfter = 10
	// maxUnknown bounds the names remembered as not known.
	maxUnknown = 4096
)

// A snapshot is what the sidecar knows of the mesh: for each authority that
// the application called, its routes; for each cluster, its endpoints. Calls
// read it through one atomic pointer; one goroutine, the xDS client's, writes.
type snapshot struct {
	log    *slog.Logger
	stats  *stats.Registry
	now    func() int64
	pools  func(resource.Cluster, resource.Endpoint) any
	as     balancer.Client // whose calls they are
	client *client.Client  // nil without a control plane
	direct *direct
	health *health.Monitor
	mirror func(*stats.Service, call.Mirrored)
	probe  balancer.Prober
	self   string                 // the authority of this instance's own service, which is never forgotten
	own    string                 // the cluster that this instance belongs to
	onOwn  func(resource.Cluster) // hears of its configuration

	hosts  atomic.Pointer[map[string]*known]
	minute atomic.Uint32 // counts the sweeper's minutes
	up     atomic.Bool   // meshd is connected
	grace  time.Duration // after the start in which it counts as that

	mu       sync.Mutex
	waiting  map[string][]*waiter
	unknown  map[string]bool // authorities that the control plane does not know; it says when it does
	clusters map[string]*call.Cluster
	shares   resource.Shares            // the newest
	buckets  map[string]*breaker.Bucket // of rate limits, by what is limited
	byName   sync.Map                   // clusters, without mu
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// known is an authority and when it was last called.
type known struct {
	*call.Authority
	used atomic.Uint32 // minute
}

func newSnapshot(log *slog.Logger, reg *stats.Registry, now func() int64, dial dialFunc) *snapshot {
	s := &snapshot{
		log: log, stats: reg, now: now,
		waiting: map[string][]*waiter{}, unknown: map[string]bool{},
		clusters: map[string]*call.Cluster{}, buckets: map[string]*breaker.Bucket{},
	}
	s.hosts.Store(&map[string]*known{})
	s.health = health.New(health.Config{Now: now, Dial: dial, Active: s.calling, Event: s.healthEvent})
	return s
}

// lookup is h1.Config.Lookup.
func (s *snapshot) lookup(authority []byte) *call.Authority {
	k := (*s.hosts.Load())[string(authority)]
	if k == nil {
		return nil
	}
	if m := s.minute.Load(); k.used.Load() != m {
		k.used.Store(m)
	}
	return k.Authority
}

// resolve is h1.Config.Resolve: it asks meshd for a name that the application
// calls for the first time, and falls back to where the call was going.
func (s *snapshot) resolve(name string, original netip.AddrPort, done func(*call.Authority, stats.ErrorType)) {
	canonical := strings.ToLower(name)
	if canonical == "" { // HTTP/1.0: the address is all that there is to know
		canonical = original.String()
	}
	s.ask(canonical, func(a *call.Authority) {
		if a == nil {
			s.direct.resolve(canonical, original, done)
			return
		}
		done(a, stats.ErrNone)
	})
}

// ask asks meshd what a name or an address, in lower case, stands for: nil if
// it is nothing of the mesh, or if meshd does not say. done is called once, on
// a goroutine of its own.
func (s *snapshot) ask(canonical string, done func(*call.Authority)) {
	if s.client == nil || !s.worthAsking(canonical) {
		go done(nil)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if k := (*s.hosts.Load())[canonical]; k != nil {
		go done(k.Authority)
		return
	}
	if s.unknown[canonical] {
		go done(nil)
		return
	}
	if err := s.client.Watch(canonical); err != nil {
		s.log.Warn("too many names are called", "name", canonical, "error", err,
			"next", "see which of the application's calls go to ever new names; what is known goes on working")
		go done(nil)
		return
	}
	w := &waiter{done: done}
	s.waiting[canonical] = append(s.waiting[canonical], w)
	w.timer = time.AfterFunc(resolveWait, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		i := slices.Index(s.waiting[canonical], w)
		if i < 0 {
			return // answered
		}
		if s.waiting[canonical] = slices.Delete(s.waiting[canonical], i, i+1); len(s.waiting[canonical]) == 0 {
			delete(s.waiting, canonical)
		}
		go done(nil)
	})
}

// A waiter is one who has asked, until there is an answer or it is too late.
type waiter struct {
	done  func(*call.Authority)
	timer *time.Timer
}

// worthAsking is false for addresses that no service has. Others are asked for
// only while meshd is there to answer: most are not the mesh's, and calls past
// the mesh must not wait for it.
func (s *snapshot) worthAsking(authority string) bool {
	addr, err := netip.ParseAddr(strings.Trim(authority, "[]"))
	if ap, e := netip.ParseAddrPort(authority); e == nil {
		addr, err = ap.Addr(), nil
	}
	if err != nil {
		return true // a name
	}
	addr = addr.Unmap()
	there := s.up.Load() || s.now() < int64(s.grace)
	return there && addr.IsGlobalUnicast() && addr.Zone() == ""
}

// events is what the xDS client calls.
func (s *snapshot) events() client.Events {
	return client.Events{Route: s.onRoute, Cluster: s.onCluster, Endpoints: s.onEndpoints, Shares: s.onShares, Connected: func(up bool) {
		s.up.Store(up)
		s.log.Info("control plane", "connected", up)
	}}
}

func (s *snapshot) onRoute(authority string, rc *resource.RouteConfig) {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := maps.Clone(*s.hosts.Load())
	var a *call.Authority
	if rc == nil {
		delete(next, authority)
		if len(s.unknown) >= maxUnknown {
			s.forgetUnknown()
		}
		s.unknown[authority] = true
	} else {
		delete(s.unknown, authority)
		a = s.authority(authority, rc)
		k := &known{Authority: a}
		k.used.Store(s.minute.Load())
		next[authority] = k
	}
	s.hosts.Store(&next)
	for _, w := range s.waiting[authority] {
		w.timer.Stop()
		go w.done(a)
	}
	delete(s.waiting, authority)
}

// forgetUnknown makes room: names that nobody offers are asked for again when
// they are called again.
func (s *snapshot) forgetUnknown() {
	for name := range s.unknown {
		s.client.Unwatch(name)
	}
	clear(s.unknown)
}

// authority builds what a name stands for.
func (s *snapshot) authority(name string, rc *resource.RouteConfig) *call.Authority {
	a := &call.Authority{Name: name}
	var before *call.Authority
	if k := (*s.hosts.Load())[name]; k != nil {
		before = k.Authority
	}
	vh := virtualHost(rc, name)
	if vh == nil {
		return a
	}
	for i := range vh.Routes {
		a.Routes = append(a.Routes, s.route(&vh.Routes[i], rc.Version, before))
	}
	return a
}

// route makes a route, which keeps what one of the same name in before has learnt.
func (s *snapshot) route(r *resource.Route, version string, before *call.Authority) *call.Route {
	svc := s.stats.Client(r.Service)
	out := &call.Route{Route: *r, Version: version, Service: svc, Stats: svc.Route(r.Name), Mesh: true}
	out.Init(before.Route(r.Name), s.now)
	s.limit(out)
	out.Host, out.Port = hostPort(r.Service)
	for _, w := range r.Clusters {
		out.Clusters = append(out.Clusters, s.cluster(w.Name))
	}
	for _, m := range r.Mirrors {
		out.MirrorClusters = append(out.MirrorClusters, s.cluster(m.Cluster))
	}
	if len(r.Mirrors) > 0 {
		out.Mirror = func(m call.Mirrored) { s.mirror(svc, m) }
	}
	clusters := out.Clusters
	svc.SetEndpoints(func() []stats.EndpointStat { return endpointStats(out, s.now()) })
	svc.SetFigures(func() []stats.Figure { return clusterFigures(clusters, s.health.Stats) })
	return out
}

// cluster finds or makes a cluster, with mu held.
func (s *snapshot) cluster(name string) *call.Cluster {
	c := s.clusters[name]
	if c == nil {
		c = &call.Cluster{Name: name, Factory: s.pools, Retire: retireEndpoint, Now: s.now, Client: s.as, Changed: s.changed, Probe: s.probe}
		s.update(c, &resource.Cluster{Name: name, Outlier: resource.Outlier{Disabled: true}}, nil)
		c.Share(uint32(s.shares.Requests[name]))
		s.clusters[name] = c
		s.byName.Store(name, c)
	}
	return c
}

func (s *snapshot) update(c *call.Cluster, cfg *resource.Cluster, eps *resource.Endpoints) {
	if err := c.Update(cfg, eps); err != nil {
		s.log.Error("a cluster is not as it should be; the last good one stays", "error", err,
			"next", "change the object behind it, which meshctl status names")
	}
}

func (s *snapshot) onCluster(name string, cfg *resource.Cluster) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cfg != nil {
		s.update(s.cluster(name), cfg, nil)
		if name == s.own {
			s.onOwn(*cfg)
		}
		return
	}
	if c := s.clusters[name]; c != nil {
		s.update(c, nil, &resource.Endpoints{Cluster: name})
		s.health.Remove(name)
		s.byName.Delete(name)
		delete(s.clusters, name)
	}
}

func (s *snapshot) onEndpoints(cluster string, eps *resource.Endpoints) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.clusters[cluster]; c != nil || eps != nil {
		if eps == nil {
			eps = &resource.Endpoints{Cluster: cluster}
		}
		s.update(s.cluster(cluster), nil, eps)
	}
}

// busy reports whether calls or connections are under way, which endpoints
// known anew would not be charged for.
func (k *known) busy() bool {
	return slices.ContainsFunc(k.Routes, func(r *call.Route) bool { return r.Service.Busy() })
}

// sweepMinute ends the subscriptions of authorities that are not called any more.
func (s *snapshot) sweepMinute() {
	minute := s.minute.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.unknown) > 0 && minute%forgetAfter == 0 {
		s.forgetUnknown()
	}
	var next map[string]*known
	for name, k := range *s.hosts.Load() {
		if minute-k.used.Load() < forgetAfter || k.busy() || name == s.self {
			continue
		}
		if next == nil {
			next = maps.Clone(*s.hosts.Load())
		}
		delete(next, name)
		s.client.Unwatch(name)
	}
	if next != nil {
		s.hosts.Store(&next)
	}
}

// all lists the clusters of now.
func (s *snapshot) all() []*call.Cluster {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*call.Cluster, 0, len(s.clusters))
	for _, c := range s.clusters {
		out = append(out, c)
	}
	return append(out, s.direct.clusters()...)
}

// virtualHost is the search of Envoy's RouteConfiguration: exact domain, then
// the longest suffix wildcard, then the longest prefix wildcard, then "*". A
// domain without a port stands for every port.
func virtualHost(rc *resource.RouteConfig, authority string) *resource.VirtualHost {
	host, _ := splitAuthority(authority)
	var best *resource.VirtualHost
	rank := -1
	for i := range rc.VirtualHosts {
		for _, d := range rc.VirtualHosts[i].Domains {
			r := -1
			switch d = strings.ToLower(d); {
			case d == authority, d == host:
				r = 1 << 20
			case d == "*":
				r = 0
			case strings.HasPrefix(d, "*") && (strings.HasSuffix(authority, d[1:]) || strings.HasSuffix(host, d[1:])):
				r = 1<<10 + len(d)
			case strings.HasSuffix(d, "*") && strings.HasPrefix(authority, d[:len(d)-1]):
				r = len(d)
			}
			if r > rank {
				best, rank = &rc.VirtualHosts[i], r
			}
		}
	}
	return best
}

// splitAuthority splits host and port; the port is 0 where there is none.
func splitAuthority(authority string) (string, int) {
	i := strings.LastIndexByte(authority, ':')
	if i < 0 || strings.HasSuffix(authority, "]") {
		return strings.Trim(authority, "[]"), 0
	}
	port, err := strconv.ParseUint(authority[i+1:], 10, 16)
	if err != nil {
		return authority, 0
	}
	return strings.Trim(authority[:i], "[]"), int(port)
}

// hostPort is server.address and server.port of a canonical service name.
func hostPort(service string) (string, int) {
	if i := strings.IndexByte(service, '/'); i >= 0 {
		ns, rest := service[:i], service[i+1:]
		host, port := splitAuthority(rest)
		return fmt.Sprintf("%s.%s", host, ns), port
	}
	return splitAuthority(service)
}
