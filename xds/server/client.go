package server

import (
	"cmp"
	"slices"
	"sync"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meshd/meshd/xds/cache"
	"github.com/meshd/meshd/xds/resource"
)

const (
	maxNameBytes = 512  // of a resource's name
	maxNackBytes = 4096 // of a NACK's text that is kept: what our client sends at most
	maxTypes     = 16   // of resources on one stream
	wildcard     = "*"
)

// A client is the peer of one stream, whichever variant it speaks. The
// stream's goroutine owns it, but for shown.
type client struct {
	s     *Server
	sub   *cache.Subscriber
	names int // subscribed to, all types

	// returning says that the client has configuration from a stream before.
	returning  bool
	identified bool
	id         string // node.id; fixed by the first node
	namespace  string // for names without one; fixed by the first node
	instance   resource.Instance
	member     *Member // nil while no instance has joined

	mu    sync.Mutex
	shown Client // guarded by mu
}

// held reports whether the client is to be told nothing yet: see Config.Settled.
func (c *client) held() bool {
	if !c.returning || c.s.cfg.Settled == nil {
		return false
	}
	select {
	case <-c.s.cfg.Settled:
		return false
	default:
		return true
	}
}

func (c *client) info() Client {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.shown
	out.Has = slices.Clone(out.Has)
	return out
}

// node takes what a request says of the client. Requests after the first
// mostly carry none.
func (c *client) node(n *core.Node) {
	if n == nil {
		return
	}
	in, err := resource.DecodeInstance(n)
	if err != nil {
		// It is served as a client: a wrong registration must not cost it its
		// configuration.
		c.s.cfg.Logger.Warn("instance not registered", "client", n.GetId(), "error", err,
			"next", "change the sidecar's flags as the error says and start it again")
		in = resource.Instance{Namespace: c.namespace, Service: n.GetCluster()}
		if c.member != nil {
			return // what it last said stays
		}
	}
	if !c.identified {
		c.identified = true
		c.id, c.namespace = n.GetId(), in.Namespace
		c.sub.SetOwner(c.id)
		c.mu.Lock()
		c.shown.ID, c.shown.Service, c.shown.Namespace = n.GetId(), in.Service, in.Namespace
		c.shown.Admin, c.shown.Version = in.Admin, in.Version
		c.mu.Unlock()
	}
	if in == c.instance || c.s.cfg.Hooks.Join == nil {
		return
	}
	old := c.instance
	c.instance = in
	if c.member != nil && old.ID == in.ID && old.Service == in.Service && old.Namespace == in.Namespace {
		if err := c.member.Update(in); err != nil {
			c.s.cfg.Logger.Warn("instance not updated", "client", n.GetId(), "error", err,
				"next", "change the sidecar's flags as the error says and start it again")
		}
		return
	}
	if c.member != nil {
		c.member.Gone()
		c.member = nil
	}
	if !in.Registers() {
		return
	}
	m, err := c.s.cfg.Hooks.Join(in)
	if err != nil {
		c.s.cfg.Logger.Warn("instance not registered", "client", n.GetId(), "error", err,
			"next", "change the sidecar's flags as the error says and start it again")
		return
	}
	c.member = &m
}

// key is the cache's key of a name as this client means it.
func (c *client) key(typ, name string) cache.Key {
	return cache.Key{Type: typ, Namespace: c.scope(typ), Name: name}
}

// scope is the namespace in keys of a type. An authority means different things
// to clients of different namespaces, and of Shares each client has its own:
// their key says who asks, so that nobody is told another's.
func (c *client) scope(typ string) string {
	switch typ {
	case resource.ListenerType:
		return c.namespace
	case resource.SharesType:
		return c.id
	}
	return ""
}

func (c *client) keys(typ string, names []string) []cache.Key {
	keys := make([]cache.Key, 0, len(names))
	for _, n := range names {
		keys = append(keys, c.key(typ, n))
	}
	return keys
}

// subscribe adds names of a type, within bounds.
func (c *client) subscribe(typ string, names []string) error {
	for _, n := range names {
		if len(n) > maxNameBytes {
			return status.Errorf(codes.InvalidArgument, "a resource name of %d bytes; at most %d are accepted", len(n), maxNameBytes)
		}
	}
	if c.names += len(names); c.names > c.s.cfg.MaxNames {
		return status.Errorf(codes.ResourceExhausted, "more than %d resource names on one stream", c.s.cfg.MaxNames)
	}
	c.sub.Add(c.keys(typ, names)...)
	return nil
}

// unsubscribe drops names that subscribe added.
func (c *client) unsubscribe(typ string, names []string) {
	c.names -= len(names)
	c.sub.Remove(c.keys(typ, names)...)
}

// answered counts the client's verdict on a response, with which it has been told
// of so many resources of the type, and returns why it refused; empty: it did not.
func (c *client) answered(typ string, nack *rpcstatus.Status, resources int) (why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.IndexFunc(c.shown.Has, func(h Has) bool { return h.Type == typ })
	if i < 0 { // maxTypes at most
		i = len(c.shown.Has)
		c.shown.Has = append(c.shown.Has, Has{Type: typ})
	}
	if nack == nil {
		c.shown.Acked++
		c.shown.Has[i].Resources = resources
		return ""
	}
	why = nack.GetMessage()
	if len(why) > maxNackBytes {
		why = why[:maxNackBytes]
	}
	why = cmp.Or(why, "no reason given")
	c.shown.Nacked++
	c.shown.LastNack = why
	c.s.cfg.Logger.Warn("client rejected configuration", "client", c.shown.ID, "type", typ, "error", why,
		"next", "meshctl status shows the client and the error; change the object that it names")
	return why
}

// rejects shows why the client refuses what it has been sent of a type, or that
// it does not.
func (c *client) rejects(typ, why string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i := slices.IndexFunc(c.shown.Has, func(h Has) bool { return h.Type == typ }); i >= 0 {
		c.shown.Has[i].Rejected = why
	}
}
