// Package control is meshd put together: what files and the registry say
// becomes a state of the mesh, the state becomes xDS, and the HTTP interface
// of docs/reference/wire.md lets people look and change.
package control

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"

	"github.com/meshd/meshd/dashboard"
	"github.com/meshd/meshd/internal/swift"
	"github.com/meshd/meshd/registry"
	"github.com/meshd/meshd/telemetry"
	"github.com/meshd/meshd/xds/cache"
	"github.com/meshd/meshd/xds/discovery"
	"github.com/meshd/meshd/xds/server"
)

// Config is what a meshd is started with; cmd/meshd has the flags.
type Config struct {
	// ConfigPath is a file or folder with objects; empty: there are only those
	// that are applied over HTTP.
	ConfigPath string
	XDSAddr    string // host:port of xDS and OTLP
	HTTPAddr   string // host:port of the HTTP interface
	// HTTPHosts are names that Host may have, beside addresses and localhost.
	HTTPHosts []string
	Registry  registry.Config // its Logger is set by Run
	// TraceMemory is how many MiB of spans are kept; 0: 24.
	TraceMemory int
	Version     string
	Logger      *slog.Logger
	// LogLevel answers for the Logger's level over HTTP; nil: nobody does.
	LogLevel http.Handler
	// Ready, if not nil, is called once both ports are served.
	Ready func(xds, http net.Addr)
}

// maxTraceMemory is more than a person means, in MiB.
const maxTraceMemory = 64 << 10

// Run runs a meshd until ctx ends, and returns nil then. The instances that
// are registered stay so, under their leases.
func Run(ctx context.Context, cfg Config) error {
	started := time.Now()
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if cfg.TraceMemory < 0 || cfg.TraceMemory > maxTraceMemory {
		return fmt.Errorf("--trace-memory %d: 1 to %d MiB is accepted", cfg.TraceMemory, maxTraceMemory)
	}
	// First of all, so that a mistake shows at once, and so that clients which
	// come back during a restart wait for us instead of being turned away.
	xdsListener, err := listen(ctx, "--xds-addr", cfg.XDSAddr, log)
	if err != nil {
		return err
	}
	defer xdsListener.Close()
	httpListener, err := listen(ctx, "--http-addr", cfg.HTTPAddr, log)
	if err != nil {
		return err
	}
	defer httpListener.Close()

	cfg.Registry.Logger = log
	reg, err := registry.Open(ctx, cfg.Registry)
	if err != nil {
		return err
	}
	defer reg.Close()
	secret, err := reg.Secret(ctx)
	if err != nil {
		return err
	}

	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	defer work.Wait()
	defer cancel()

	var files *objects
	if cfg.ConfigPath != "" {
		var ended <-chan struct{}
		files, ended, err = follow(ctx, &discovery.File{Path: cfg.ConfigPath}, log)
		if err != nil {
			return fmt.Errorf("--config: %w", err)
		}
		work.Go(func() { <-ended })
	}
	resources := cache.New()
	divider := &shares{cache: resources, log: log}
	asm := newAssembler(files, reg, resources, divider, secret, log)
	store := telemetry.NewStore(telemetry.Config{Logger: log, Instances: asm.counts, MaxTraces: cfg.TraceMemory << 20})
	asm.note = store.Note
	work.Go(func() { asm.run(ctx) })
	work.Go(func() { store.Run(ctx) })
	divider.limits, divider.follow, divider.demands = asm.limits(), store.Follow, store.Demands
	notice := reg.Notice()
	divider.notice, divider.others = notice.Tell, notice.Others
	work.Go(func() { divider.run(ctx, returning(reg)) })
	xds := server.New(server.Config{Cache: resources, Hooks: members(reg), Logger: log, Settled: settled(ctx, reg)})
	work.Go(func() { rejections(ctx, xds.Clients, store.Note) })
	page, err := dashboard.New(dashboard.Config{
		Store:   store,
		Logger:  log,
		Clients: func() []dashboard.Client { return listed(xds) },
		Scale: func(namespace, name string, replicas int) error {
			return asm.scale(ctx, service{namespace, name}, replicas)
		},
		Replicas: func(namespace, name string) (int, bool) {
			n, ok := asm.current.Load().scales[service{namespace, name}]
			return n, ok
		},
	})
	if err != nil {
		return err
	}

	rpc := grpc.NewServer(append(server.Options(), reportOptions()...)...)
	xds.Register(rpc)
	store.Register(rpc)
	web := &http.Server{
		Handler: (&api{
			assembler: asm,
			version:   cfg.Version,
			started:   started,
			clients:   func() []clientStatus { return connected(xds) },
			watching:  watching{store},
			rest:      page,
			level:     cfg.LogLevel,
			hosts:     cfg.HTTPHosts,
		}).handler(),
		BaseContext:       func(net.Listener) context.Context { return ctx }, // ends event streams
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}

	failed := make(chan error, 2)
	work.Go(func() { failed <- rpc.Serve(swift.Listener(xdsListener)) })
	work.Go(func() { failed <- web.Serve(httpListener) })
	log.Info("meshd is ready", "xds", xdsListener.Addr().String(), "http", "http://"+httpListener.Addr().String(),
		"services", len(asm.current.Load().state.Keys()), "instances", len(asm.current.Load().instances),
		"took", time.Since(started).Round(time.Millisecond))
	if cfg.Ready != nil {
		cfg.Ready(xdsListener.Addr(), httpListener.Addr())
	}
	select {
	case <-ctx.Done():
		err = nil
	case err = <-failed:
	}

	xds.Closing() // what ends from here on is no news of an instance
	cancel()
	shut, done := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer done()
	if web.Shutdown(shut) != nil {
		web.Close()
	}
	rpc.Stop()
	xds.Wait()
	log.Info("meshd has stopped; instances stay registered until they are back or their leases end")
	return err
}

// listen opens a port; its errors name the flag.
func listen(ctx context.Context, flag, addr string, log *slog.Logger) (net.Listener, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", addr)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s %s: the port is in use, perhaps by another meshd; give another %s", flag, addr, flag)
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w; HOST:PORT of this machine is accepted", flag, addr, err)
	}
	if a, ok := l.Addr().(*net.TCPAddr); ok && !a.IP.IsLoopback() {
		log.Warn("reachable from other machines, and nobody is asked who they are", "flag", flag, "addr", l.Addr().String(),
			"next", "listen on loopback, or let only those you trust reach the port")
	}
	return l, nil
}

// counts is how many instances of each service take calls.
func (a *assembler) counts() map[telemetry.Service]int {
	out := map[telemetry.Service]int{}
	for _, in := range a.current.Load().instances {
		if takesCalls(&in) {
			out[telemetry.Service{Namespace: in.Namespace, Name: in.Service}]++
		}
	}
	return out
}

// settleTime is how long clients that come back to a meshd without instances
// are told nothing: below the time after which our sidecars take silence for
// an answer (5 s), above that in which the instances have reconnected.
const settleTime = 2 * time.Second

// settled is closed when the registry can be believed: at once if it knows an
// instance, else, since its data may have been lost while the instances were
// not, when those have had time to register again.
func settled(ctx context.Context, reg *registry.Registry) <-chan struct{} {
	c := make(chan struct{})
	if len(reg.Snapshot().Instances) > 0 {
		close(c)
		return c
	}
	stop := time.AfterFunc(settleTime, func() { close(c) }).Stop
	context.AfterFunc(ctx, func() { stop() })
	return c
}
