// Package server speaks xDS: the aggregated discovery service over gRPC, state
// of the world and delta, by name, out of a cache. It knows no platform; what
// clients say of themselves it hands to Hooks.
package server

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/meshd/meshd/xds/cache"
	"github.com/meshd/meshd/xds/resource"
)

// Config is what a Server needs. Zero limits mean the defaults.
type Config struct {
	Cache  *cache.Cache
	Hooks  Hooks
	Logger *slog.Logger

	// Settled is closed when the cache holds all that there is. Before that, a
	// client that comes back with configuration of its own is heard, and
	// registered, but told nothing: it would be told that instances are gone
	// which are only not back yet. nil: it always does.
	Settled <-chan struct{}

	MaxStreams int // at one time; default 20,000
	MaxNames   int // subscribed to on one stream, all types; default 20,000
}

// Hooks learn which instances are connected. Join may be nil.
type Hooks struct {
	// Join is called once a stream names an instance. It and the functions it
	// returns are called from the stream's goroutine and must not block.
	Join func(resource.Instance) (Member, error)
}

// A Member is an instance whose stream is open.
type Member struct {
	// Update is called when the instance says something new of itself.
	Update func(resource.Instance) error
	// Gone is called when the stream ended, or names another instance now.
	// It is not called when it is the server that ends.
	Gone func()
}

// A Server implements AggregatedDiscoveryService.
type Server struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	cfg     Config
	closing atomic.Bool
	streams sync.WaitGroup // readers of requests, which outlive their stream's handler a little

	mu      sync.Mutex
	clients map[*client]struct{}
}

// New returns a Server; Register makes it reachable.
func New(cfg Config) *Server {
	cfg.MaxStreams = cmp.Or(cfg.MaxStreams, 20_000)
	cfg.MaxNames = cmp.Or(cfg.MaxNames, 20_000)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg, clients: map[*client]struct{}{}}
}

// Register adds the service to g.
func (s *Server) Register(g grpc.ServiceRegistrar) {
	discovery.RegisterAggregatedDiscoveryServiceServer(g, s)
}

// Options are what a grpc.Server that carries xDS should have: it finds a peer
// that is dead within 5 s, lets clients ping, and bounds a message.
func Options() []grpc.ServerOption {
	return []grpc.ServerOption{
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 2 * time.Second, Timeout: 3 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: time.Second, PermitWithoutStream: true}),
		grpc.MaxRecvMsgSize(4 << 20),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.WaitForHandlers(true), // so that after Stop no stream uses the cache
	}
}

// Closing is called before the grpc.Server stops: streams that end from now
// on say nothing about their instances.
func (s *Server) Closing() { s.closing.Store(true) }

// Wait returns when all goroutines of ended streams have; called after the
// grpc.Server has stopped.
func (s *Server) Wait() { s.streams.Wait() }

// A Client is a stream, for people to look at.
type Client struct {
	ID        string // node.id
	Service   string
	Namespace string
	Admin     string // HOST:PORT of its sidecar's admin port, by its own account; empty: none
	Version   string // of its sidecar; empty: not known
	Connected time.Time
	Acked     uint64
	Nacked    uint64
	LastNack  string
	Has       []Has // by type, in the order in which they were first accepted or rejected
}

// Has is what a client has of one type.
type Has struct {
	Type      string // type_url
	Resources int    // that it had been told of when it last accepted a response
	Rejected  string // why it keeps older ones of what it was sent, the newest reason; empty: it does not
}

// Clients lists the open streams that have said who they are, by ID.
func (s *Server) Clients() []Client {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Client, 0, len(s.clients))
	for c := range s.clients {
		if info := c.info(); info.ID != "" || info.Service != "" {
			out = append(out, info)
		}
	}
	slices.SortFunc(out, func(a, b Client) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), a.Connected.Compare(b.Connected))
	})
	return out
}

// StreamAggregatedResources is state-of-the-world xDS.
func (s *Server) StreamAggregatedResources(stream grpc.BidiStreamingServer[discovery.DiscoveryRequest, discovery.DiscoveryResponse]) error {
	return serve(s, stream, func(c *client) protocol[discovery.DiscoveryRequest] {
		return &sotw{client: c, send: stream.Send, types: map[string]*sotwType{}}
	})
}

// DeltaAggregatedResources is incremental xDS.
func (s *Server) DeltaAggregatedResources(stream grpc.BidiStreamingServer[discovery.DeltaDiscoveryRequest, discovery.DeltaDiscoveryResponse]) error {
	return serve(s, stream, func(c *client) protocol[discovery.DeltaDiscoveryRequest] {
		return &delta{client: c, send: stream.Send, types: map[string]*deltaType{}}
	})
}

// A protocol is what the two variants differ in. One goroutine calls it.
type protocol[Req any] interface {
	request(*Req) error // a request came
	push() error        // the cache may have changes
}

// serve is a stream's life. The handler's goroutine does everything but
// receive, so that a client that does not read stalls itself only: the cache
// never waits for a stream.
func serve[Req, Resp any](s *Server, stream grpc.BidiStreamingServer[Req, Resp], start func(*client) protocol[Req]) error {
	c, err := s.enter()
	if err != nil {
		return err
	}
	defer s.leave(c)
	p := start(c)

	ctx := stream.Context()
	requests := make(chan *Req)
	ended := make(chan error, 1)
	s.streams.Go(func() {
		for {
			req, err := stream.Recv()
			if err != nil {
				ended <- err
				return
			}
			select {
			case requests <- req:
			case <-ctx.Done():
				ended <- ctx.Err()
				return
			}
		}
	})
	settled := s.cfg.Settled
	for {
		select {
		case req := <-requests:
			err = p.request(req)
		case <-settled:
			settled = nil
			err = p.push()
		case <-c.sub.Changed():
			err = p.push()
		case <-ended: // the client closed its side, or the connection broke
			return nil
		case <-ctx.Done():
			return nil
		}
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, context.Canceled) {
				s.cfg.Logger.Warn("xDS stream ended by us", "client", c.info().ID, "error", err,
					"next", "the client connects again by itself; see its log if it does not")
			}
			return err
		}
	}
}

func (s *Server) enter() (*client, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.clients) >= s.cfg.MaxStreams {
		return nil, status.Errorf(codes.ResourceExhausted, "meshd serves at most %d xDS streams at a time", s.cfg.MaxStreams)
	}
	c := &client{s: s, sub: s.cfg.Cache.Subscribe(), namespace: resource.DefaultNamespace}
	c.shown.Connected = time.Now()
	s.clients[c] = struct{}{}
	return c, nil
}

func (s *Server) leave(c *client) {
	c.sub.Close()
	s.mu.Lock()
	delete(s.clients, c)
	s.mu.Unlock()
	if c.member != nil && !s.closing.Load() {
		c.member.Gone()
	}
}
