// Package call is the life of one call, whatever protocol carries it: route,
// admission, choice of an endpoint, attempts, retries within a budget, and the
// record of what came of it, each part exactly once
// (docs/design/002-call.md).
//
// Nothing here blocks or does I/O. Protocols drive a Call with events.
package call

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/balancer"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
	"github.com/meshd/meshd/xds/resource"
)

// An Authority is what the name that an application calls stands for. It is
// immutable; a new configuration makes a new one.
type Authority struct {
	Name   string
	Routes []*Route // the first that matches is taken
}

// Match finds the route of a path (with or without a query), or nil. req is
// asked only if a route looks at more than that; where it is nil, no such
// route matches.
func (a *Authority) Match(path []byte, req Request) *Route {
	for _, r := range a.Routes {
		if r.matches(path) && r.suits(req) {
			return r
		}
	}
	return nil
}

// Route finds a route by name; nil if there is none, or no authority.
func (a *Authority) Route(name string) *Route {
	if a != nil {
		for _, r := range a.Routes {
			if r.Name == name {
				return r
			}
		}
	}
	return nil
}

// A Route is a resource.Route with its clusters and counters looked up.
type Route struct {
	resource.Route
	Version        string // of the RouteConfiguration that it is of
	Server         bool   // inbound: the spans and metrics are a server's
	Stats          *stats.Route
	Service        *stats.Service
	Host           string          // server.address of spans
	Port           int             // server.port
	Clusters       []*Cluster      // beside Route.Clusters
	Mesh           bool            // the other end is the mesh's: see Tell
	Gate           *Gateway        // inbound: what stands before the application; nil: nothing
	Bucket         *breaker.Bucket // of its RateLimit; nil: none
	MirrorClusters []*Cluster      // beside Route.Mirrors
	// Mirror sends a copy of a call to another cluster; nil: no mirrors.
	Mirror func(Mirrored)

	usually  *breaker.Quantile // how long heads of answers take; nil: nothing is slow
	hedge    *breaker.Hedge
	priority breaker.Priority // of calls that say none
	// attributes are those of spans: see spans.
	attributes atomic.Pointer[tracing.Attributes]
	usual      [2]struct { // the timeouts of calls and attempts
		ms   int64
		text string
	}
}

// nearlyAll is the quantile of latencies that a slow call takes many times of.
const nearlyAll = 0.985

// Init is due once a Route is made. What is known of latencies, and hedges, live on with their
// route's name when its configuration changes; kept is the Route of before, or nil.
func (r *Route) Init(kept *Route, now func() int64) {
	if p, err := breaker.ParsePriority(r.Route.Priority); err == nil {
		r.priority = p
	}
	if kept != nil {
		r.usually = kept.usually
	}
	if r.usually == nil {
		r.usually = breaker.NewQuantile(nearlyAll)
	}
	for i, d := range []time.Duration{r.Timeout, r.AttemptTimeout} {
		if d > 0 {
			r.usual[i].ms = d.Milliseconds()
			r.usual[i].text = strconv.FormatInt(d.Milliseconds(), 10)
		}
	}
	if share := r.Hedge.Share; !r.Hedge.Disabled && share > 0 && !r.Server {
		if kept != nil && kept.hedge != nil && kept.Hedge.Share == share {
			r.hedge = kept.hedge
		} else {
			r.hedge = breaker.NewHedge(share, now)
		}
	}
}

// UsualTimeout is the text of a Tell's Timeout, where it is all that the route
// gives a call or an attempt.
func (r *Route) UsualTimeout(ms int64) (text string, ok bool) {
	for i := range r.usual {
		if u := &r.usual[i]; u.ms == ms && ms > 0 {
			return u.text, true
		}
	}
	return "", false
}

// ShareRate is this client's part of the route's RateLimit, in calls a second,
// where that is shared; of the burst it has as large a part.
func (r *Route) ShareRate(rate float64) {
	if l := r.RateLimit; r.Bucket != nil && l.Shared {
		rate = min(rate, l.PerSecond)
		r.Bucket.Set(rate, l.Burst*rate/l.PerSecond)
	}
}

// Looks reports whether the call's request is looked into for more than where
// it goes: Said.Request is then needed.
func (r *Route) Looks() bool {
	return len(r.Hash) > 0 || r.Session.Cookie != "" || len(r.Fault.Headers) > 0
}

// suits reports whether a request has what the route asks for beside the path.
func (r *Route) suits(req Request) bool {
	if len(r.Headers) == 0 && len(r.Query) == 0 {
		return true
	}
	return req != nil && matchHeaders(r.Headers, req) && matchQuery(r.Query, req)
}

func (r *Route) matches(path []byte) bool { return matchPath(&r.Route, path) }

// cluster chooses one of the route's clusters by weight.
func (r *Route) cluster() *Cluster {
	if len(r.Clusters) == 1 {
		return r.Clusters[0]
	}
	var total uint32
	for _, w := range r.Route.Clusters {
		total += w.Weight
	}
	if total == 0 {
		return nil
	}
	n := rand.Uint32N(total)
	for i, w := range r.Route.Clusters {
		if n < w.Weight {
			return r.Clusters[i]
		}
		n -= w.Weight
	}
	return nil
}

// A Cluster is a set of endpoints under one policy. Its counters and its
// endpoints' state outlive changes of configuration.
type Cluster struct {
	Name    string
	Factory func(resource.Cluster, resource.Endpoint) any // makes Endpoint.Attachment: the protocol's connection pool
	Retire  func(*endpoint.Endpoint)                      // an endpoint has left the cluster; may be nil
	Now     func() int64                                  // ns, monotonic
	Client  balancer.Client                               // whose calls these are
	Probe   balancer.Prober                               // nil where no endpoint can be asked for its load
	// Changed is told of each configuration and set of endpoints that is in
	// force from now on, by Update's goroutine; may be nil.
	Changed func(resource.Cluster, *endpoint.Set)

	share uint32 // of SharedRequests
	view  atomic.Pointer[view]
	held  atomic.Pointer[held] // nil until a call has waited
}

// view is what a call sees of a cluster: taken once, never changed.
type view struct {
	resource.Cluster
	assigned *resource.Endpoints
	set      *endpoint.Set
	picker   balancer.Picker
	budget   *breaker.Budget
	requests *breaker.Limit
	pending  *breaker.Limit
	byID     *byID
}

// byID finds endpoints by the names of their instances, once somebody wants to.
type byID struct {
	once sync.Once
	of   map[string]*endpoint.Endpoint
}

// Update publishes a configuration, a set of endpoints, or both; nil leaves
// what was. Only one goroutine calls it.
func (c *Cluster) Update(cfg *resource.Cluster, eps *resource.Endpoints) error {
	old := c.view.Load()
	next := &view{set: &endpoint.Set{}}
	if old != nil {
		*next = *old
	}
	if cfg != nil {
		next.configure(cfg, c.most(cfg), c.Now)
	}
	if eps != nil {
		next.assigned = eps
	}
	gone := next.endpoints(c, old, eps != nil)
	picker, err := balancer.New(next.balancing(c), next.set)
	if err != nil {
		return fmt.Errorf("cluster %s: %w", c.Name, err)
	}
	next.picker = picker
	next.byID = new(byID)
	c.view.Store(next)
	if h := c.held.Load(); h != nil && next.set.Len() > 0 {
		h.letGo(firstHeld * next.set.Len())
	}
	if c.Changed != nil {
		c.Changed(next.Cluster, next.set)
	}
	if c.Retire != nil {
		for _, ep := range gone {
			c.Retire(ep)
		}
	}
	return nil
}

func (v *view) balancing(c *Cluster) balancer.Config {
	cfg := balancer.Config{
		Policy: v.Balancer, Balancing: v.Balancing, Client: c.Client, Probe: c.Probe, Now: c.Now(), Time: time.Now(),
	}
	if v.assigned != nil {
		cfg.Overprovisioning = v.assigned.Overprovisioning
	}
	return cfg
}

// Share is this client's part of the cluster's SharedRequests, 0 if it has not
// been told; Update's goroutine calls it.
func (c *Cluster) Share(requests uint32) {
	c.share = requests
	if v := c.view.Load(); v != nil {
		v.requests.Set(c.most(&v.Cluster))
	}
}

// most is how many calls this client may have in flight.
func (c *Cluster) most(cfg *resource.Cluster) uint32 {
	most := cfg.Limits.Requests
	if shared := cfg.SharedRequests; shared > 0 {
		if c.share > 0 {
			shared = min(shared, c.share)
		}
		if most == 0 || shared < most {
			most = shared
		}
	}
	return most
}

func (v *view) configure(cfg *resource.Cluster, most uint32, now func() int64) {
	if v.budget == nil || v.Budget != cfg.Budget {
		v.budget = breaker.NewBudget(cfg.Budget.Ratio, cfg.Budget.MinPerSecond, now)
	}
	if v.requests == nil {
		v.requests = breaker.NewLimit(most)
	} else {
		v.requests.Set(most)
	}
	if v.pending == nil || v.Limits.Pending != cfg.Limits.Pending {
		v.pending = breaker.NewLimit(cfg.Limits.Pending)
	}
	v.Cluster = *cfg
}

// endpoints makes the view's set and returns the endpoints that left. A new
// breaker policy means new breakers: then every endpoint begins anew, but for
// its connections.
func (v *view) endpoints(c *Cluster, old *view, assigned bool) (gone []*endpoint.Endpoint) {
	anew := old != nil && old.Cluster.Breaker != v.Cluster.Breaker
	if !assigned && !anew {
		return nil
	}
	before := v.set
	from := before
	if anew {
		from = nil
	}
	v.set, _ = from.Update(v.assigned, func(e resource.Endpoint) *endpoint.Endpoint {
		var conns any
		if was := before.ByAddress(e.Addr); was != nil {
			conns = was.Attachment
		} else {
			conns = c.Factory(v.Cluster, e)
		}
		b := breaker.New(e.Addr.String(), breaker.Config(v.Cluster.Breaker), nil)
		return endpoint.New(e, b, conns)
	})
	for _, ep := range before.Endpoints() {
		if v.set.ByAddress(ep.Addr) == nil {
			gone = append(gone, ep)
		}
	}
	return gone
}

// Config is the cluster's configuration of now.
func (c *Cluster) Config() resource.Cluster { return c.view.Load().Cluster }

// Speaks reports whether the endpoints of one of the route's clusters speak
// this protocol, by configuration.
func (r *Route) Speaks(p resource.Protocol) bool {
	for _, c := range r.Clusters {
		if c.view.Load().Protocol == p {
			return true
		}
	}
	return false
}

// Endpoints is the cluster's set of now.
func (c *Cluster) Endpoints() []*endpoint.Endpoint {
	if v := c.view.Load(); v != nil {
		return v.set.Endpoints()
	}
	return nil
}

// Weights is the part of new calls that each endpoint is to get now; it is for
// who looks now and then: see balancer.Picker.
func (c *Cluster) Weights() map[*endpoint.State]float64 {
	if v := c.view.Load(); v != nil {
		return v.picker.Weights(c.Now())
	}
	return nil
}

// InUse are the calls that are active and pending now.
func (c *Cluster) InUse() (active, pending int64) {
	v := c.view.Load()
	return v.requests.InUse(), v.pending.InUse()
}

// DefaultConnectTimeout is used where a cluster has none.
const DefaultConnectTimeout = time.Second
