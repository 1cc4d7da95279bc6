package ctl

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/runner"
	"github.com/meshd/meshd/internal/wait"
	"github.com/meshd/meshd/supervise"
)

// retryMeshd is the pause before a meshd that is away is asked again.
const retryMeshd = 500 * time.Millisecond

type runFlags struct {
	cfg      runner.Config
	restart  string
	tcp      []string
	stateDir string
}

func (a *App) runCommand() *cobra.Command {
	f := runFlags{cfg: runner.Config{
		Backoff: supervise.DefaultBackoff(), Intensity: supervise.DefaultIntensity(), RetryAfter: retryMeshd,
	}}
	m := &f.cfg.Meshed
	cmd := &cobra.Command{
		Use:   "run --name NAME --port PORT [flags] -- COMMAND [ARG…]",
		Short: "Run instances of a service, each with a sidecar",
		Long: `Run instances of a service, each with a sidecar, and keep them running.

An instance finds the port to listen on in $PORT; callers use the service's own
(--port) and never see it. Calls to other services go through the sidecar at
$MESHD_OUTBOUND, which HTTP_PROXY names too. What ends is started again with
back-off; what ends too often is given up. The number of instances follows
meshctl scale. Ctrl-C drains and stops them all; a second one kills them.`,
		Example: `  meshctl run --name checkout --port 8080 -- ./checkout --listen-on-env-port
  meshctl run --name web --port 80 --replicas 3 -- sh -c 'python3 -m http.server $PORT'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("no command: want meshctl run --name NAME --port PORT -- COMMAND")
			}
			return nil
		},
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			m.Command = args
			f.cfg.Set = cmd.Flags().Changed("replicas")
			return a.run(cmd, &f)
		}),
	}
	flags := cmd.Flags()
	flags.SetInterspersed(false)
	flags.StringVar(&m.Name, "name", "", "the service's name")
	flags.IntVar(&m.Port, "port", 0, "the port that callers name")
	flags.StringVarP(&m.Namespace, "namespace", "n", "default", "the service's namespace")
	flags.IntVar(&f.cfg.Replicas, "replicas", runtime.NumCPU(), "instances at the start")
	flags.Lookup("replicas").DefValue = "one a core"
	flags.StringVar(&f.cfg.Prefix, "instance-prefix", "", "instances are called PREFIX-0, PREFIX-1, … (default the service's name)")
	flags.IntVar(&f.cfg.Max, "max-replicas", 64, "never run more than this, whatever meshd says")
	flags.StringVar(&m.MeshdXDS, "meshd-xds", "127.0.0.1:15010", "meshd's xDS address, for the sidecars")
	flags.StringVar(&m.Sidecar, "sidecar", "", "the sidecar program; default beside meshctl or on PATH")
	flags.StringVar(&f.restart, "restart", "permanent", "when the application ends: permanent (always start it again), transient (if it failed), temporary (never)")
	flags.IntVar(&f.cfg.Intensity.Max, "max-restarts", f.cfg.Intensity.Max, "give an instance up after more restarts than this …")
	flags.DurationVar(&f.cfg.Intensity.Window, "restart-window", f.cfg.Intensity.Window, "… within this time")
	flags.StringVar(&m.ReadyPath, "ready-path", "", "ready when GET of this path answers 2xx; default: when the port accepts")
	flags.DurationVar(&m.Drain, "drain", 30*time.Second, "time for a sidecar to finish calls when its instance stops")
	flags.DurationVar(&m.Grace, "grace", 10*time.Second, "time for the application between SIGTERM and SIGKILL")
	flags.BoolVar(&m.ProxyEnv, "proxy-env", true, "set HTTP_PROXY and http_proxy for the application")
	flags.StringArrayVar(&m.Env, "env", nil, "NAME=VALUE for the application; may be repeated")
	flags.StringVar(&m.AppProtocol, "app-protocol", "auto", "what the application speaks: auto, http, h2c, grpc or tcp")
	flags.StringArrayVar(&f.tcp, "tcp-listen", nil, "SERVICE:PORT that is not HTTP: its address is in $MESHD_TCP_SERVICE_PORT; IP:PORT=SERVICE:PORT is at that address; may be repeated")
	flags.StringVar(&f.stateDir, "state-dir", "", "where sidecars keep their last good configuration (default ~/.local/state/meshd)")
	return cmd
}

func (a *App) run(cmd *cobra.Command, f *runFlags) error {
	m := &f.cfg.Meshed
	if err := a.checkRun(f); err != nil {
		return err
	}
	var err error
	if m.Sidecar, err = runner.FindBinary("sidecar", m.Sidecar); err != nil {
		return err
	}
	client, err := a.client()
	if err != nil {
		return err
	}
	defer client.Close()
	if err := unique(cmd.Context(), client, m.Namespace, m.Name, f.cfg.Prefix); err != nil {
		return err
	}
	a.wire(f, client)

	s := runner.New(f.cfg)
	ended := make(chan struct{})
	defer close(ended)
	go func() {
		select {
		case <-a.second:
			s.Kill()
		case <-ended:
		}
	}()
	return s.Run(cmd.Context())
}

func (a *App) checkRun(f *runFlags) error {
	m := &f.cfg.Meshed
	switch {
	case !validName(m.Name):
		return usagef("--name %q: want lower-case letters, digits and -, at most 63", m.Name)
	case !validName(m.Namespace):
		return usagef("--namespace %q: want lower-case letters, digits and -, at most 63", m.Namespace)
	case f.cfg.Prefix != "" && !validName(f.cfg.Prefix):
		return usagef("--instance-prefix %q: want lower-case letters, digits and -, at most 63", f.cfg.Prefix)
	case !slices.Contains([]string{"auto", "http", "h2c", "grpc", "tcp"}, m.AppProtocol):
		return usagef("--app-protocol %q: want auto, http, h2c, grpc or tcp", m.AppProtocol)
	case m.Port < 1 || m.Port > 65535:
		return usagef("--port %d: want 1 to 65535, the port that callers name", m.Port)
	case f.cfg.Replicas < 0 || f.cfg.Replicas > f.cfg.Max:
		return usagef("--replicas %d: want 0 to %d (--max-replicas)", f.cfg.Replicas, f.cfg.Max)
	}
	var err error
	if m.Restart, err = supervise.ParseRestart(f.restart); err != nil {
		return usagef("--%v", err)
	}
	m.TCPListen = nil
	for _, s := range f.tcp {
		l, err := supervise.ParseTCPListen(s)
		if err != nil {
			return usagef("--tcp-listen %v", err)
		}
		if l.Addr != "" && f.cfg.Max > 1 {
			return usagef("--tcp-listen %q: one instance can have the address: want --max-replicas 1, or --tcp-listen %s", s, l.Service)
		}
		m.TCPListen = append(m.TCPListen, l)
	}
	if f.stateDir == "" {
		state := a.Getenv("XDG_STATE_HOME")
		if state == "" {
			state = filepath.Join(a.Getenv("HOME"), ".local", "state")
		}
		f.stateDir = filepath.Join(state, "meshd")
	}
	m.StateDir = filepath.Join(f.stateDir, m.Namespace)
	return nil
}

// uniqueWait is how long names may still be taken: by instances whose
// supervisor has just been ended.
const uniqueWait = 3 * time.Second

// unique refuses names that instances in the mesh have: two supervisors with
// the same would hide each other's instances. Without meshd nothing is known.
func unique(ctx context.Context, client *api.Client, namespace, service, prefix string) error {
	prefix = cmp.Or(prefix, service) + "-"
	deadline := time.Now().Add(uniqueWait)
	for {
		status, err := client.Status(ctx)
		if err != nil {
			return ctx.Err()
		}
		taken := takenBy(status, namespace, service, prefix)
		if taken == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s runs already (%s, pid %d): change its number with meshctl scale, or give these another --instance-prefix",
				taken.ID, taken.Address, taken.PID)
		}
		if err := wait.For(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
}

// takenBy is an instance of the service whose name is prefix and a number.
func takenBy(status api.Status, namespace, service, prefix string) *api.Instance {
	for _, s := range status.Services {
		if s.Namespace != namespace || s.Name != service {
			continue
		}
		for _, i := range s.Instances {
			if number, ok := strings.CutPrefix(i.ID, prefix); ok && number != "" && strings.Trim(number, "0123456789") == "" {
				return &i
			}
		}
	}
	return nil
}

// wire sends the children's output and the supervisor's news to the terminal.
func (a *App) wire(f *runFlags, client *api.Client) {
	f.cfg.Meshd = client
	f.cfg.Meshed.Stdout = supervise.NewOutput(a.Out)
	errOut := supervise.NewOutput(a.Err)
	f.cfg.Meshed.Stderr = errOut
	f.cfg.Log = slog.New(slog.NewTextHandler(errOut, nil))
	f.cfg.OnEvent = func(e supervise.Event) {
		fmt.Fprintf(errOut, "meshctl: %v\n", e)
	}
}

// validName is an RFC 1123 label, as Kubernetes wants of a Service.
func validName(s string) bool {
	if s == "" || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for _, c := range s {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return false
		}
	}
	return true
}
