package client

import (
	"bytes"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meshd/meshd/xds/resource"
)

// A graph is what is known of the resources that the watched authorities lead
// to. An authority uses one Listener, at most one RouteConfiguration, and the
// Clusters of the routes in force and of those that wait to be; a Cluster uses
// its endpoints; one whose limit is shared, this client's Shares. What nobody uses is unsubscribed. Only Run's goroutine calls
// it.
type graph struct {
	events  Events
	proto   protocol
	timeout time.Duration // for an answer, while connected
	own     string        // the name of this client's Shares

	entries   [kinds]map[string]*entry
	watches   map[string]*watch
	waiting   map[*watch]struct{} // those whose next routes wait for clusters
	unexpired []deadline          // in order
	connected bool
	seed      map[seedKey]record // resources of the state file, while it is restored
	onBad     func(k kind, name string, err error)
	changed   bool // the state file is out of date
}

// An entry is one resource asked for.
type entry struct {
	users   set  // authorities; for endpoints, clusters; for shares, see share
	known   bool // there was an answer, if only that it does not exist
	doubted bool // it was missing where it should have been listed
	version string
	raw     []byte // serialised; nil: it does not exist

	listener  *resource.Listener
	routes    *resource.RouteConfig
	cluster   *resource.Cluster
	endpoints *resource.Endpoints
}

// A watch is one authority.
type watch struct {
	authority string
	routeName string                // the RouteConfiguration followed, if any
	told      bool                  // Events.Route was called
	current   *resource.RouteConfig // with this
	next      *resource.RouteConfig // waits until its clusters are known
	clusters  set                   // of current and next
}

func newGraph(cfg Config, proto protocol) *graph {
	g := &graph{
		events: cfg.Events, proto: proto, timeout: cfg.AnswerTimeout, own: resource.SharesName(cfg.Instance.NodeID()),
		watches: map[string]*watch{}, waiting: map[*watch]struct{}{},
	}
	for k := range kinds {
		g.entries[k] = map[string]*entry{}
	}
	return g
}

func (g *graph) watch(authority string) {
	if g.watches[authority] != nil {
		return
	}
	w := &watch{authority: authority, clusters: set{}}
	g.watches[authority] = w
	g.acquire(listener, authority, authority)
}

func (g *graph) unwatch(authority string) {
	w := g.watches[authority]
	if w == nil {
		return
	}
	g.changed = true
	delete(g.watches, authority)
	delete(g.waiting, w)
	w.current, w.next = nil, nil
	g.releaseClusters(w)
	if w.routeName != "" {
		g.release(route, w.routeName, authority)
	}
	g.release(listener, authority, authority)
}

// acquire returns the entry, which is asked for if it is new.
func (g *graph) acquire(k kind, name, user string) *entry {
	e := g.entries[k][name]
	if e != nil {
		e.users.add(user)
		return e
	}
	e = &entry{users: set{user: {}}}
	g.entries[k][name] = e
	g.proto.subscribe(k, name)
	if g.connected {
		g.unexpired = append(g.unexpired, deadline{time.Now().Add(g.timeout), k, name, e})
	}
	if r, ok := g.seed[seedKey{k, name}]; ok {
		if err := g.update(k, name, r.version, r.value); err != nil {
			g.onBad(k, name, err)
		}
	}
	return e
}

func (g *graph) release(k kind, name, user string) {
	e := g.entries[k][name]
	if e == nil {
		return
	}
	delete(e.users, user)
	if len(e.users) > 0 {
		return
	}
	delete(g.entries[k], name)
	g.proto.unsubscribe(k, name)
	if e.cluster != nil {
		g.events.Cluster(name, nil)
		g.dropEndpoints(e.cluster)
	}
	g.share(k, name, nil)
}

// update takes a resource that was received. The error says why it is refused;
// what was there before stays, and where nothing was, the name counts as not
// known.
func (g *graph) update(k kind, name, version string, value []byte) error {
	e := g.entries[k][name]
	if e == nil {
		return nil // no longer wanted
	}
	if e.raw != nil && bytes.Equal(e.raw, value) {
		e.version = version
		return nil
	}
	if err := g.decode(k, name, version, e, value); err != nil {
		if !e.known {
			g.absent(k, name)
		}
		return err
	}
	g.share(k, name, e)
	// A copy, so as not to hold the whole response.
	e.known, e.version, e.raw, g.changed = true, version, bytes.Clone(value), true
	return nil
}

// decode replaces the entry's value and passes the news on.
func (g *graph) decode(k kind, name, version string, e *entry, value []byte) error {
	a := &anypb.Any{TypeUrl: typeURLs[k], Value: value}
	if got := resource.NameOf(value); got != name && !(k == shares && g.seed != nil) {
		return fmt.Errorf("%v %q: its own name is %q", k, name, got)
	}
	switch k {
	case listener:
		l, err := resource.DecodeListener(a)
		if err != nil {
			return err
		}
		e.listener = l
		g.follow(g.watches[name], l)
	case route:
		rc, err := resource.DecodeRouteConfig(a)
		if err != nil {
			return err
		}
		rc.Version = version
		e.routes = rc
		for authority := range e.users {
			g.setRoutes(g.watches[authority], rc)
		}
	case cluster:
		c, err := resource.DecodeCluster(a)
		if err != nil {
			return err
		}
		c.Version = version
		old := e.cluster
		e.cluster = c
		g.events.Cluster(name, c)
		if old != nil && old.EDSName == c.EDSName {
			return nil
		}
		shared := g.entries[endpoints][c.EDSName]
		g.acquire(endpoints, c.EDSName, name)
		if shared != nil && shared.endpoints != nil { // another cluster has them already
			g.events.Endpoints(name, shared.endpoints)
		}
		if old != nil {
			g.release(endpoints, old.EDSName, name)
		}
	case endpoints:
		ep, err := resource.DecodeEndpoints(a)
		if err != nil {
			return err
		}
		e.endpoints = ep
		for user := range e.users {
			g.events.Endpoints(user, ep)
		}
	case shares:
		s, err := resource.DecodeShares(a)
		if err != nil {
			return err
		}
		g.events.Shares(s)
	}
	return nil
}

// absent notes that a resource does not exist.
func (g *graph) absent(k kind, name string) {
	e := g.entries[k][name]
	if e == nil || e.known && e.raw == nil {
		return
	}
	if k == shares { // what was given stays in force
		e.known = true
		return
	}
	old := e.cluster
	*e = entry{users: e.users, known: true}
	g.share(k, name, nil)
	g.changed = true
	switch k {
	case listener:
		g.follow(g.watches[name], nil)
	case route:
		for authority := range e.users {
			g.setRoutes(g.watches[authority], nil)
		}
	case cluster:
		g.events.Cluster(name, nil)
		if old != nil {
			g.dropEndpoints(old)
		}
	case endpoints:
		for user := range e.users {
			g.events.Endpoints(user, nil)
		}
	}
}

func (g *graph) dropEndpoints(c *resource.Cluster) {
	g.events.Endpoints(c.Name, nil)
	g.release(endpoints, c.EDSName, c.Name)
}

// follow takes the routes of an authority's Listener: inline or by name.
func (g *graph) follow(w *watch, l *resource.Listener) {
	name := ""
	if l != nil {
		name = l.RouteName
	}
	old := w.routeName
	w.routeName = name
	switch {
	case l == nil:
		g.setRoutes(w, nil)
	case name == "":
		g.setRoutes(w, l.Routes)
	case name != old:
		// Where it is not known yet, the routes in force stay.
		if e := g.acquire(route, name, w.authority); e.known {
			g.setRoutes(w, e.routes)
		}
	}
	if old != "" && old != name {
		g.release(route, old, w.authority)
	}
}
