package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/runner"
	"github.com/meshd/meshd/supervise"
)

// A Setup is what the demo and the experiments have in common.
type Setup struct {
	// Self is run as `Self demo service …`.
	Self, Sidecar, Meshd string
	// SelfEnv is added to the environment of Self, SidecarEnv to that of a sidecar, MeshdEnv to meshd's.
	SelfEnv, SidecarEnv, MeshdEnv []string
	// XDSAddr and HTTPAddr are meshd's; free ones are taken if these are not.
	XDSAddr, HTTPAddr string
	// Log receives what all processes print; nil keeps the last lines only,
	// to be shown when the demo cannot start.
	Log io.Writer
	// Say tells the user one line.
	Say func(string)
	// Kill, when closed, ends everything at once.
	Kill <-chan struct{}
}

// MaxInstances of one service.
const MaxInstances = 16

// Where meshd serves if nobody is there already.
const (
	DefaultXDSAddr  = "127.0.0.1:15010"
	DefaultHTTPAddr = "127.0.0.1:15020"
)

const (
	startTimeout = 30 * time.Second
	drain        = 10 * time.Second // nobody calls any more when the demo drains
	servicePort  = 80
)

// A rig is a running meshd, services with their sidecars, and the sidecar
// through which load is sent.
type rig struct {
	Setup
	dir       string
	xds, http string // host:port
	client    *api.Client
	output    io.Writer
	tail      *tail
	outbound  string // of the load's sidecar

	meshd, gate *supervise.Supervisor
	board       *board
	running     []*running
	closing     atomic.Bool
}

// running is one service.
type running struct {
	*runner.Service
	stop  context.CancelFunc
	ended chan struct{}
	err   error // set before ended is closed
}

// startRig starts meshd and the load's sidecar. What was started is ended by
// close, also after an error.
func startRig(ctx context.Context, setup Setup) (*rig, error) {
	r := &rig{Setup: setup, board: newBoard()}
	var err error
	if r.dir, err = os.MkdirTemp("", "meshd-demo-"); err != nil {
		return r, err
	}
	r.output = setup.Log
	if r.output == nil {
		r.tail = &tail{}
		r.output = r.tail
	}
	r.output = supervise.NewOutput(r.output)
	if r.xds, err = freeAddr(setup.XDSAddr); err != nil {
		return r, err
	}
	if r.http, err = freeAddr(setup.HTTPAddr); err != nil {
		return r, err
	}
	for asked, got := range map[string]string{setup.XDSAddr: r.xds, setup.HTTPAddr: r.http} {
		if asked != got && !strings.HasSuffix(asked, ":0") {
			setup.Say(fmt.Sprintf("%s is taken: meshd serves on %s instead", asked, got))
		}
	}
	if r.client, err = api.NewClient("http://" + r.http); err != nil {
		return r, err
	}
	r.meshd = r.single(supervise.Spec{
		Name: "meshd", Path: setup.Meshd, Env: setup.MeshdEnv,
		Args:  []string{"--xds-addr", r.xds, "--http-addr", r.http, "--data-dir", filepath.Join(r.dir, "meshd")},
		Ready: supervise.Probe{HTTP: "http://" + r.http + "/readyz"},
	})
	if err := r.board.await(ctx, "meshd"); err != nil {
		return r, r.explain(err)
	}
	ports, err := supervise.FreePorts(2, nil)
	if err != nil {
		return r, err
	}
	r.outbound = loopback(ports[0])
	admin := loopback(ports[1])
	r.gate = r.single(supervise.Spec{
		Name: "load", Path: setup.Sidecar, Env: setup.SidecarEnv,
		Args: []string{"--service", "load", "--meshd", r.xds, "--outbound", r.outbound, "--inbound", "", "--admin", admin,
			"--state-dir", filepath.Join(r.dir, "load")},
		Ready: supervise.Probe{HTTP: "http://" + admin + "/ready"},
	})
	return r, r.explain(r.board.await(ctx, "load"))
}

// single supervises one process under its own name.
func (r *rig) single(spec supervise.Spec) *supervise.Supervisor {
	spec.Grace, spec.Stdout, spec.Stderr, spec.Prefix = drain, r.output, r.output, spec.Name+" | "
	return supervise.Start(supervise.Config{
		Name: spec.Name, Children: []supervise.Spec{spec},
		Backoff: supervise.DefaultBackoff(), Intensity: supervise.Intensity{Max: 5, Window: time.Minute}, OnEvent: r.event,
	})
}

// run starts n instances of a role and waits until they are ready.
func (r *rig) run(ctx context.Context, role string, n int, args ...string) (*running, error) {
	before := r.board.count(role)
	s := &running{ended: make(chan struct{}), Service: runner.New(runner.Config{
		Meshed: supervise.Meshed{
			Name: role, Namespace: "default", Port: servicePort,
			Command: append([]string{r.Self, "demo", "service", "--role", role}, args...), Env: r.SelfEnv,
			Sidecar: r.Sidecar, SidecarEnv: r.SidecarEnv, MeshdXDS: r.xds, StateDir: r.dir,
			Drain: drain, Grace: drain, Stdout: r.output, Stderr: r.output,
		},
		Replicas: n, Set: true, Max: MaxInstances,
		Backoff: supervise.DefaultBackoff(), Intensity: supervise.DefaultIntensity(),
		Meshd: r.client, RetryAfter: time.Second, OnEvent: r.event,
		Log: slog.New(slog.NewTextHandler(r.output, nil)),
	})}
	var runCtx context.Context
	runCtx, s.stop = context.WithCancel(context.Background()) // ended by close, in its turn
	r.running = append(r.running, s)
	go func() {
		defer close(s.ended)
		s.err = s.Run(runCtx)
	}()
	return s, r.explain(r.board.awaitCount(ctx, role, before+n))
}

// end drains one service.
func (s *running) end() {
	s.stop()
	<-s.ended
}

// close drains the services, then stops meshd, and leaves nothing behind.
func (r *rig) close() {
	r.closing.Store(true)
	over, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-r.Kill:
			for _, s := range r.running {
				s.Kill()
			}
			for _, s := range []*supervise.Supervisor{r.gate, r.meshd} {
				if s != nil {
					s.Kill()
				}
			}
		case <-over:
		}
	}()
	for _, s := range r.running {
		s.stop()
	}
	for _, s := range r.running {
		<-s.ended
	}
	for _, s := range []*supervise.Supervisor{r.gate, r.meshd} {
		if s != nil {
			s.Stop()
			<-s.Done()
		}
	}
	close(over)
	<-watched
	if r.client != nil {
		r.client.Close()
	}
	if r.dir != "" {
		os.RemoveAll(r.dir) // what cannot be removed is in the system's temporary directory
	}
}

// event keeps the board and tells the user what is worth it.
func (r *rig) event(e supervise.Event) {
	r.board.note(e)
	whole := e.Process == ""
	failed := e.Kind == supervise.Exited && (e.Code != 0 || e.Signal != 0 || e.Err != nil)
	switch {
	case r.closing.Load() && !failed:
	case failed, e.Kind == supervise.GivenUp, whole && e.Kind != supervise.Exited:
		r.Say(e.String())
	}
}

// explain adds the processes' last words to an error.
func (r *rig) explain(err error) error {
	if err == nil || r.tail == nil || errors.Is(err, context.Canceled) {
		return err
	}
	if last := r.tail.String(); last != "" {
		return fmt.Errorf("%w; the last output was:\n%s", err, last)
	}
	return err
}

// freeAddr is addr if nobody listens there, else another port of its host.
func freeAddr(addr string) (string, error) {
	l, err := net.Listen("tcp", addr)
	if err == nil {
		defer l.Close()
		return l.Addr().String(), nil
	}
	ports, err := supervise.FreePorts(1, nil)
	if err != nil {
		return "", err
	}
	return loopback(ports[0]), nil
}

func loopback(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// A tail keeps the last lines written to it.
type tail struct {
	mu    sync.Mutex
	lines [][]byte
}

const tailLines = 30

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, append([]byte(nil), p...))
	if len(t.lines) > tailLines {
		t.lines = t.lines[1:]
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []byte
	for _, line := range t.lines {
		all = append(all, line...)
	}
	return string(all)
}
