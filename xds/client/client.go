// Package client is the sidecar's side of xDS: one ADS stream to a control
// plane, on which it asks by name for what the application calls, follows
// each Listener to its routes, clusters and endpoints, and forgets what nobody
// names any more. What was received stays in force when the stream breaks, and
// across restarts where there is a state directory.
//
// One goroutine owns everything that is known (Run's); the stream's goroutines
// only carry bytes to and from it.
package client

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/meshd/meshd/xds/resource"
)

// MaxWatches bounds the authorities watched at a time.
const MaxWatches = 10_000

// ErrTooMany is returned by Watch when MaxWatches authorities are watched.
var ErrTooMany = fmt.Errorf("xds client: more than %d authorities watched", MaxWatches)

// Protocol is the variant of ADS.
type Protocol uint8

// Delta is meshd's choice; SotW, state of the world, is for control planes
// that speak nothing else. In it a name that does not exist is only known by
// its absence: that takes 100 ms for Listeners and Clusters, and AnswerTimeout
// for the others.
const (
	Delta Protocol = iota
	SotW
)

// Config of a Client. Addr and Logger are needed.
type Config struct {
	Addr     string            // host:port of the control plane
	Instance resource.Instance // what the Node says; see SetInstance
	Logger   *slog.Logger
	StateDir string // for the last good configuration; empty: none is kept
	Protocol Protocol
	Events   Events
	// Dial replaces net.Dialer where connections need a mark; nil: TCP.
	Dial func(ctx context.Context, addr string) (net.Conn, error)

	// AnswerTimeout is how long a name may go unanswered before it counts as
	// not known; 0 is 5 s.
	AnswerTimeout time.Duration
	// SaveDelay collects changes before the state is written; 0 is 1 s.
	SaveDelay time.Duration
}

// Events are called from Run's goroutine, never concurrently; they must not
// block. A nil func is not called. The values are shared and must not be
// changed.
type Events struct {
	// Route gives the routes of an authority. It comes after Cluster and
	// Endpoints of every cluster that it names; until those are there, what it
	// replaces stays in force. nil: the control plane does not know the
	// authority, or has never given a valid answer.
	Route func(authority string, rc *resource.RouteConfig)
	// Cluster gives a cluster that some route names; nil: it does not exist,
	// or no route names it any more.
	Cluster func(name string, c *resource.Cluster)
	// Endpoints gives a cluster's endpoints under the cluster's name, whatever
	// its EDS name; nil: gone, as for Cluster.
	Endpoints func(cluster string, e *resource.Endpoints)
	// Shares gives this client's parts of the limits that it has in common with
	// others, each time they change. They are asked for while a cluster or route
	// in use has such a limit. What was given stays in force, whatever becomes
	// of the control plane; it is never nil. A limit without an entry, or before
	// the first Shares, is not divided yet.
	Shares func(*resource.Shares)
	// Connected says whether the stream is up.
	Connected func(bool)
}

// A Client follows the authorities watched. Its methods may be called from any
// goroutine and do not block, except Run.
type Client struct {
	cfg  Config
	wake chan struct{} // capacity 1: something below has changed

	mu       sync.Mutex
	wanted   map[string]struct{}
	changes  []change // of wanted, not yet seen by Run
	instance resource.Instance
	renode   bool // instance is to be sent
}

type change struct {
	authority string
	add       bool
}

// New checks the configuration. Nothing happens before Run.
func New(cfg Config) (*Client, error) {
	if _, _, err := net.SplitHostPort(cfg.Addr); err != nil {
		return nil, fmt.Errorf("xds client: address %q is not valid, want host:port: %w", cfg.Addr, err)
	}
	if cfg.Logger == nil {
		return nil, errors.New("xds client: no logger")
	}
	if cfg.AnswerTimeout == 0 {
		cfg.AnswerTimeout = 5 * time.Second
	}
	if cfg.SaveDelay == 0 {
		cfg.SaveDelay = time.Second
	}
	cfg.Events = cfg.Events.filled()
	return &Client{
		cfg: cfg, wake: make(chan struct{}, 1), wanted: map[string]struct{}{},
		instance: cfg.Instance, renode: true,
	}, nil
}

func (e Events) filled() Events {
	if e.Route == nil {
		e.Route = func(string, *resource.RouteConfig) {}
	}
	if e.Cluster == nil {
		e.Cluster = func(string, *resource.Cluster) {}
	}
	if e.Endpoints == nil {
		e.Endpoints = func(string, *resource.Endpoints) {}
	}
	if e.Shares == nil {
		e.Shares = func(*resource.Shares) {}
	}
	if e.Connected == nil {
		e.Connected = func(bool) {}
	}
	return e
}

// Watch asks for an authority, such as "checkout:8080", or for the virtual
// address of a connection that says none, such as "10.96.0.5:5432" or
// "[fd00:96::5]:5432"; Events.Route answers.
// Watching it again changes nothing. The error is ErrTooMany. The authorities
// found in the state directory count as watched from the start of Run.
func (c *Client) Watch(authority string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.wanted[authority]; ok {
		return nil
	}
	if len(c.wanted) >= MaxWatches {
		return ErrTooMany
	}
	c.wanted[authority] = struct{}{}
	c.changed(change{authority, true})
	return nil
}

// Unwatch forgets an authority, and the clusters that only it named.
// Events.Route is not called for it again.
func (c *Client) Unwatch(authority string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.wanted[authority]; ok {
		delete(c.wanted, authority)
		c.changed(change{authority, false})
	}
}

// SetInstance replaces what the Node says and sends it again if the stream is
// up; otherwise the next stream begins with it. Its NodeID must stay that of
// Config.Instance.
func (c *Client) SetInstance(i resource.Instance) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if i != c.instance {
		c.instance, c.renode = i, true
		c.signal()
	}
}

func (c *Client) changed(ch change) {
	c.changes = append(c.changes, ch)
	c.signal()
}

func (c *Client) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// takeChanges returns what has happened to wanted since the last call.
func (c *Client) takeChanges() []change {
	c.mu.Lock()
	defer c.mu.Unlock()
	ch := c.changes
	c.changes = nil
	return ch
}

// takeNode returns the serialised Node if it is to be sent: at the start of a
// stream, when first is set, or because the instance has changed.
func (c *Client) takeNode(first bool) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.renode && !first {
		return nil
	}
	c.renode = false
	return appendNode(nil, c.instance)
}
