// Package registry knows the instances that live outside Kubernetes, the
// objects that people applied and how many instances each service should
// have. All of it is in etcd: a member embedded in this process, or an
// external cluster that several meshds share. Above the client the code is
// the same.
//
// An instance is a key under a lease that the meshd serving its sidecar keeps
// alive; every meshd sees every instance by watching.
package registry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Config says where the registry is and how patient it is.
type Config struct {
	// DataDir holds the embedded member's data in its folder etcd. Not used
	// with Endpoints.
	DataDir string
	// Endpoints of an external cluster, such as "http://10.0.0.5:2379"; none:
	// embedded.
	Endpoints []string
	// LeaseTTL is how long an instance outlives the meshd that serves it;
	// whole seconds, MinLeaseTTL or more; default DefaultLeaseTTL.
	LeaseTTL time.Duration
	// NoSync leaves out fsync in the embedded member: for tests.
	NoSync bool
	// Logger receives what happens in the background; default: nothing.
	Logger *slog.Logger
}

// DefaultLeaseTTL is LeaseTTL where none is given. MinLeaseTTL is the shortest
// that is accepted: keep-alives go out three times a lease.
const (
	DefaultLeaseTTL = 5 * time.Second
	MinLeaseTTL     = 2 * time.Second
)

func (c *Config) setDefaults() error {
	if c.LeaseTTL == 0 {
		c.LeaseTTL = DefaultLeaseTTL
	}
	if c.LeaseTTL < MinLeaseTTL || c.LeaseTTL%time.Second != 0 {
		return fmt.Errorf("registry: lease TTL (--lease-ttl) %v: whole seconds, %v or more, are accepted", c.LeaseTTL, MinLeaseTTL)
	}
	if len(c.Endpoints) == 0 && c.DataDir == "" {
		return errors.New("registry: neither a data directory for the embedded etcd nor endpoints of an external one are given")
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

// A Registry is one connection to the shared picture. Its methods may be
// called from any goroutine.
type Registry struct {
	cfg    Config
	log    *slog.Logger
	client *clientv3.Client
	member *embedded // nil with an external cluster

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	picture picture

	mu   sync.Mutex
	regs map[string]*Registration // by key, the newest of each; guarded by mu
}

// Open starts the embedded member, or connects, and returns once the whole
// picture has been read. It gives up when ctx ends.
func Open(ctx context.Context, cfg Config) (*Registry, error) {
	if err := cfg.setDefaults(); err != nil {
		return nil, err
	}
	r := &Registry{cfg: cfg, log: cfg.Logger, regs: map[string]*Registration{}}
	r.picture.init()
	r.ctx, r.cancel = context.WithCancel(context.Background())
	var err error
	if len(cfg.Endpoints) > 0 {
		r.client, err = dial(cfg.Endpoints, r.log)
	} else {
		r.member, r.client, err = startEmbedded(filepath.Join(cfg.DataDir, "etcd"), cfg.NoSync, r.log)
	}
	if err != nil {
		r.cancel()
		return nil, fmt.Errorf("registry: %w", err)
	}
	rev, err := r.load(ctx)
	if err != nil {
		r.Close()
		if len(cfg.Endpoints) > 0 {
			return nil, fmt.Errorf("registry: read from etcd at %v: %w", cfg.Endpoints, err)
		}
		return nil, fmt.Errorf("registry: %w", err)
	}
	r.wg.Go(func() { r.watch(rev) })
	return r, nil
}

// dial returns a client of an external cluster. It does not wait for the
// connection.
func dial(endpoints []string, log *slog.Logger) (*clientv3.Client, error) {
	c, err := clientv3.New(clientv3.Config{
		Endpoints:            endpoints,
		DialTimeout:          5 * time.Second,
		DialKeepAliveTime:    5 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		Logger:               zapTo(log),
	})
	if err != nil {
		return nil, fmt.Errorf("etcd endpoints %v: %w", endpoints, err)
	}
	return c, nil
}

// Close stops everything that the registry does in the background and, where
// there is one, the embedded member. Leases are kept: the instances stay known
// until their sidecars are back, here or at another meshd, or the leases end.
func (r *Registry) Close() {
	r.cancel()
	r.wg.Wait()
	r.client.Close()
	if r.member != nil {
		r.member.close()
	}
}

// Ready says whether etcd answers, within ctx.
func (r *Registry) Ready(ctx context.Context) error {
	if _, err := r.client.Get(ctx, root, clientv3.WithCountOnly()); err != nil {
		return fmt.Errorf("registry: %w", err)
	}
	return nil
}
