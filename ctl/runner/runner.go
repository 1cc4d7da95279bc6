// Package runner runs the instances of one service under supervision and
// keeps their number at what meshd says.
package runner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/internal/wait"
	"github.com/meshd/meshd/supervise"
)

// A Config is one service.
type Config struct {
	Meshed supervise.Meshed
	// Prefix of the instances' names, Meshed.Name if empty.
	Prefix string
	// Replicas at the start. Told to meshd if Set, else only if meshd has no
	// count for the service.
	Replicas int
	Set      bool
	// Max bounds what meshd may ask for.
	Max       int
	Backoff   supervise.Backoff
	Intensity supervise.Intensity
	Meshd     *api.Client
	// RetryAfter is the pause before meshd is asked again.
	RetryAfter time.Duration
	// OnEvent is as in supervise.PoolConfig.
	OnEvent func(supervise.Event)
	Log     *slog.Logger
}

// A Service is one that runs.
type Service struct {
	cfg  Config
	pool *supervise.Pool

	mu      sync.Mutex
	wanted  int
	givenUp error // the last, of an instance
}

// New checks nothing and starts nothing.
func New(cfg Config) *Service {
	s := &Service{cfg: cfg}
	s.pool = supervise.NewPool(supervise.PoolConfig{
		Name: cmp.Or(cfg.Prefix, cfg.Meshed.Name), Ports: cfg.Meshed.Ports(), Build: cfg.Meshed.Build,
		Backoff: cfg.Backoff, Intensity: cfg.Intensity,
		OnEvent: func(e supervise.Event) {
			if e.Kind == supervise.GivenUp {
				s.mu.Lock()
				s.givenUp = e.Err
				s.mu.Unlock()
			}
			if cfg.OnEvent != nil {
				cfg.OnEvent(e)
			}
		},
	})
	return s
}

// Pool is the service's instances.
func (s *Service) Pool() *supervise.Pool { return s.pool }

// Run starts the instances and follows meshd's count until ctx ends; it
// returns nil once everything is drained. It returns an error when the first
// instances cannot be set up, or when none is left because all were given up.
// Without meshd it runs at the count it has.
func (s *Service) Run(ctx context.Context) error {
	defer s.pool.Wait()
	defer s.pool.Stop()
	if err := s.scale(s.cfg.Replicas); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var wg sync.WaitGroup
	wg.Go(func() { s.follow(ctx) })
	defer wg.Wait()
	defer cancel()
	for {
		changed := s.pool.Changed()
		if done, err := s.finished(); done {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// Kill ends everything at once; Run still has to return.
func (s *Service) Kill() { s.pool.Kill() }

// finished reports that instances are wanted and none is left.
func (s *Service) finished() (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.wanted == 0 || s.pool.Size() > 0 {
		return false, nil
	}
	if s.givenUp != nil {
		return true, fmt.Errorf("no instance of %s is left: %w", s.cfg.Meshed.Name, s.givenUp)
	}
	return true, nil
}

func (s *Service) scale(n int) error {
	if n > s.cfg.Max {
		s.cfg.Log.Warn("more instances asked for than allowed here", "service", s.cfg.Meshed.Name, "asked", n, "run", s.cfg.Max,
			"next", "run more of them elsewhere, or ask for fewer")
		n = s.cfg.Max
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wanted = n
	return s.pool.Scale(n)
}

// follow keeps the count at meshd's, through losses of meshd.
func (s *Service) follow(ctx context.Context) {
	log := s.cfg.Log.With("service", s.cfg.Meshed.Name)
	lost := false
	tell := s.cfg.Set
	for ctx.Err() == nil {
		err := s.announce(ctx, tell)
		if err == nil {
			tell = false
			if lost {
				log.Info("meshd is back")
				lost = false
			}
			err = s.cfg.Meshd.WatchScale(ctx, s.cfg.Meshed.Namespace, s.cfg.Meshed.Name, func(sc api.Scale) {
				if err := s.scale(sc.Replicas); err != nil {
					log.Error("cannot scale", "replicas", sc.Replicas, "error", err,
						"next", "see the instances' own output; it is tried again when another number is asked for")
				}
			})
		}
		if ctx.Err() != nil {
			return
		}
		if gone := (*api.Unreachable)(nil); !errors.As(err, &gone) {
			log.Warn("meshd does not say how many instances to run", "error", err,
				"next", "see that meshd runs and that its address is right; it is asked again")
		} else if !lost {
			lost = true
			log.Warn("meshd is not reachable: running on with the instances that there are", "instances", s.pool.Size(), "error", err,
				"next", "see that meshd runs and that its address is right; it is asked again")
		}
		if wait.For(ctx, s.cfg.RetryAfter) != nil {
			return
		}
	}
}

// announce tells meshd the count: when it was asked for, or when meshd has
// none.
func (s *Service) announce(ctx context.Context, tell bool) error {
	if !tell {
		sc, err := s.cfg.Meshd.Scale(ctx, s.cfg.Meshed.Namespace, s.cfg.Meshed.Name)
		if err != nil && !api.IsNotFound(err) {
			return err
		}
		if err == nil && sc.Replicas > 0 {
			return nil
		}
	}
	s.mu.Lock()
	wanted := s.wanted
	s.mu.Unlock()
	return s.cfg.Meshd.SetScale(ctx, s.cfg.Meshed.Namespace, s.cfg.Meshed.Name, wanted)
}
