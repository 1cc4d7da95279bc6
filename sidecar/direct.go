package sidecar

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/xds/resource"
)

const (
	// directTTL is how long the address of a name outside the mesh is used
	// before it is looked up again.
	directTTL = 30 * time.Second
	// maxDirect bounds the destinations outside the mesh that are remembered.
	maxDirect  = 1024
	dnsTimeout = 2 * time.Second
	// passthroughName is the service under which calls outside the mesh count:
	// one, whatever they call, so that metrics stay bounded.
	passthroughName = "passthrough"
)

// direct sends calls that the mesh does not know to where they were going.
type direct struct {
	policy   OutboundPolicy
	stats    *stats.Registry
	now      func() int64
	pools    func(resource.Cluster, resource.Endpoint) any
	resolver *net.Resolver
	own      func(netip.AddrPort) bool // is one of our own listeners

	mu    sync.Mutex
	known map[string]*destination
}

type destination struct {
	authority *call.Authority
	cluster   *call.Cluster
	until     int64
}

// resolve finds the way to a name outside the mesh. It may block on DNS.
func (d *direct) resolve(name string, original netip.AddrPort, done func(*call.Authority, stats.ErrorType)) {
	if d.policy == Deny {
		done(nil, stats.ErrHTTPRequestDenied)
		return
	}
	d.stats.Passthrough.Inc()
	key := name
	if original.IsValid() {
		key = original.String()
	}
	if a := d.cached(key); a != nil {
		done(a, stats.ErrNone)
		return
	}
	addrs, e := d.addresses(name, original)
	if e != stats.ErrNone {
		done(nil, e)
		return
	}
	a, err := d.remember(key, addrs)
	if err != nil {
		done(nil, stats.ErrProxyInternalError)
		return
	}
	done(a, stats.ErrNone)
}

func (d *direct) cached(key string) *call.Authority {
	d.mu.Lock()
	defer d.mu.Unlock()
	if k := d.known[key]; k != nil && d.now() < k.until {
		return k.authority
	}
	return nil
}

// addresses are where a call goes: the original destination if there was one,
// else what DNS says of the name.
func (d *direct) addresses(name string, original netip.AddrPort) ([]netip.AddrPort, stats.ErrorType) {
	var addrs []netip.AddrPort
	if original.IsValid() {
		addrs = []netip.AddrPort{original}
	} else {
		host, port := splitAuthority(name)
		if port == 0 {
			port = 80
		}
		ctx, cancel := context.WithTimeout(context.Background(), dnsTimeout)
		defer cancel()
		ips, err := d.resolver.LookupNetIP(ctx, "ip", host)
		if err != nil {
			var dns *net.DNSError
			if errors.As(err, &dns) && dns.IsTimeout {
				return nil, stats.ErrDNSTimeout
			}
			return nil, stats.ErrDestinationNotFound
		}
		for _, ip := range ips {
			addrs = append(addrs, netip.AddrPortFrom(ip.Unmap(), uint16(port)))
		}
	}
	for _, a := range addrs {
		if d.own(a) {
			return nil, stats.ErrProxyLoopDetected
		}
	}
	return addrs, stats.ErrNone
}

// remember makes the authority of a destination, or gives a known one its new addresses.
func (d *direct) remember(key string, addrs []netip.AddrPort) (*call.Authority, error) {
	eps := &resource.Endpoints{Cluster: key}
	for _, a := range addrs {
		eps.Endpoints = append(eps.Endpoints, resource.Endpoint{Addr: a, Weight: 1})
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	k := d.known[key]
	if k == nil {
		if len(d.known) >= maxDirect {
			d.evict()
		}
		svc := d.stats.Client(passthroughName)
		k = &destination{cluster: &call.Cluster{Name: key, Factory: d.pools, Retire: retireEndpoint, Now: d.now}}
		route := &call.Route{
			Route: resource.Route{
				Prefix: "/", Service: passthroughName, TraceRatio: -1,
				Clusters: []resource.WeightedCluster{{Name: key, Weight: 1}},
			},
			Service: svc, Stats: svc.Route(""), Clusters: []*call.Cluster{k.cluster},
		}
		route.Host, route.Port = splitAuthority(key)
		k.authority = &call.Authority{Name: key, Routes: []*call.Route{route}}
		d.known[key] = k
		// No breaker and no retries of ours: to the application it is as if
		// we were not there. A dial that fails moves to the next address.
		route.Retry = resource.Retry{Attempts: min(len(addrs)-1, 2), On: resource.RetryConnectFailure}
	}
	cfg := &resource.Cluster{
		Name: key, ConnectTimeout: 5 * time.Second, Balancer: "round_robin",
		Breaker: resource.Breaker{Disabled: true}, Budget: resource.Budget{Ratio: 0.2, MinPerSecond: 3},
	}
	if err := k.cluster.Update(cfg, eps); err != nil {
		return nil, err
	}
	k.until = d.now() + int64(directTTL)
	return k.authority, nil
}

// evict drops the destinations that are out of date, or else any one, with mu held.
func (d *direct) evict() {
	now := d.now()
	for key, k := range d.known {
		if now >= k.until {
			d.drop(key, k)
		}
	}
	for key, k := range d.known {
		if len(d.known) < maxDirect {
			return
		}
		d.drop(key, k)
	}
}

func (d *direct) drop(key string, k *destination) {
	delete(d.known, key)
	for _, ep := range k.cluster.Endpoints() {
		retireEndpoint(ep)
	}
}

func (d *direct) clusters() []*call.Cluster {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := make([]*call.Cluster, 0, len(d.known))
	for _, k := range d.known {
		out = append(out, k.cluster)
	}
	return out
}
