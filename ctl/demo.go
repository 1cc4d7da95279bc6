package ctl

import (
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/ctl/runner"
	"github.com/meshd/meshd/ctl/show"
	"github.com/meshd/meshd/demo"
)

func (a *App) demoCommand() *cobra.Command {
	cfg := demo.Config{Interval: time.Second}
	var experiment, picture, report, logFile string
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the mesh on a small application under load",
		Long: `Show the mesh on a small application under load: front calls fast and slow for
each of its calls, all through sidecars; slow gets slower the more it is asked.
Scale it, kill an instance, slow one down, and watch what latency does, here and
on meshd's page. Everything runs on this machine and is gone afterwards.

With --experiment it runs one of three experiments by itself, prints a table and
writes a picture and a page with all of it:
  scale     what latency does while the load goes up and down and instances follow
  workers   how the number of workers in a service changes throughput and p99
  servers   how calls spread as servers are added under load`,
		Example: `  meshctl demo
  meshctl demo --rate 400 --duration 30s
  meshctl demo --experiment scale
  meshctl demo --experiment servers --report servers.html`,
		Args: between(0, 0),
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			if err := checkDemo(cfg, experiment); err != nil {
				return err
			}
			closeLog, err := a.setup(&cfg.Setup, logFile)
			if err != nil {
				return err
			}
			defer closeLog()
			if experiment != "" {
				if picture == "" {
					picture = "experiment-" + experiment + ".svg"
				}
				if report == "" {
					report = "experiment-" + experiment + ".html"
				}
				return demo.Experiment(cmd.Context(), demo.ExperimentConfig{
					Setup: cfg.Setup, Name: experiment, Picture: picture, Report: report, Step: cfg.Duration,
					Rate: explicit(cmd, "rate", cfg.Rate), Out: a.Out,
				})
			}
			cfg.Out, cfg.Socket = a.Out, demo.SocketPath(a.Getenv)
			_, in := show.Terminal(a.In)
			_, out := show.Terminal(a.Out)
			cfg.Keys = in && out
			return demo.Run(cmd.Context(), cfg)
		}),
	}
	f := cmd.Flags()
	f.Float64Var(&cfg.Rate, "rate", 200, "calls a second, whatever becomes of them (open loop)")
	f.IntVar(&cfg.Replicas, "replicas", 2, "instances of each service at the start")
	f.DurationVar(&cfg.Duration, "duration", 0, "end by itself after this long; of an experiment: each step's length")
	f.DurationVar(&cfg.Interval, "interval", cfg.Interval, "between two looks")
	f.StringVar(&experiment, "experiment", "", "run an experiment instead: scale, servers or workers")
	f.StringVar(&picture, "picture", "", "where the experiment's picture goes (default experiment-NAME.svg)")
	f.StringVar(&report, "report", "", "where the experiment's page goes (default experiment-NAME.html)")
	f.StringVar(&logFile, "log", "", "keep what all processes print in this file")
	f.StringVar(&cfg.XDSAddr, "xds-addr", demo.DefaultXDSAddr, "meshd's xDS address; a free one if this is taken")
	f.StringVar(&cfg.HTTPAddr, "http-addr", demo.DefaultHTTPAddr, "meshd's HTTP address; a free one if this is taken")
	f.StringVar(&cfg.Sidecar, "sidecar", "", "the sidecar program; default beside meshctl or on PATH")
	f.StringVar(&cfg.Meshd, "meshd-bin", "", "the meshd program; default beside meshctl or on PATH")
	_ = cmd.RegisterFlagCompletionFunc("experiment", cobra.FixedCompletions(demo.Experiments(), cobra.ShellCompDirectiveNoFileComp)) // fails only for an unknown flag

	cmd.AddCommand(a.demoTell("kill SERVICE", "Kill an instance of the running demo", "  meshctl demo kill slow"),
		a.demoTell("slow SERVICE", "Slow an instance of the running demo down", "  meshctl demo slow slow"),
		a.demoTell("reset", "Undo what was done to the running demo", "  meshctl demo reset"),
		a.demoService())
	return cmd
}

func explicit(cmd *cobra.Command, flag string, v float64) float64 {
	if cmd.Flags().Changed(flag) {
		return v
	}
	return 0
}

func checkDemo(cfg demo.Config, experiment string) error {
	switch {
	case cfg.Rate <= 0 || cfg.Rate > 100_000:
		return usagef("--rate %v: want more than 0 and at most 100000", cfg.Rate)
	case cfg.Replicas < 1 || cfg.Replicas > demo.MaxInstances:
		return usagef("--replicas %d: want 1 to %d", cfg.Replicas, demo.MaxInstances)
	case cfg.Interval <= 0:
		return usagef("--interval %v: want more than 0", cfg.Interval)
	case cfg.Duration < 0:
		return usagef("--duration %v: want 0 (no end) or more", cfg.Duration)
	}
	for _, known := range append(demo.Experiments(), "") {
		if experiment == known {
			return nil
		}
	}
	return usagef("--experiment %q: want %s", experiment, strings.Join(demo.Experiments(), ", "))
}

// setup finds the programs and where their output goes.
func (a *App) setup(s *demo.Setup, logFile string) (closeLog func() error, err error) {
	if s.Self, err = os.Executable(); err != nil {
		return nil, err
	}
	if s.Sidecar, err = runner.FindBinary("sidecar", s.Sidecar); err != nil {
		return nil, err
	}
	if s.Meshd, err = runner.FindBinary("meshd", s.Meshd); err != nil {
		return nil, err
	}
	s.Kill = a.second
	s.Say = func(line string) { fmt.Fprintln(a.Out, line) }
	if logFile == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	s.Log = io.Writer(f)
	return f.Close, nil
}

// demoTell is a verb that a running demo does.
func (a *App) demoTell(use, short, example string) *cobra.Command {
	name, _, takesService := strings.Cut(use, " ")
	n := 0
	if takesService {
		n = 1
	}
	return &cobra.Command{
		Use: use, Short: short, Example: example, Args: between(n, n),
		ValidArgs: demo.Roles[:n*len(demo.Roles)],
		RunE: verb(func(cmd *cobra.Command, args []string) error {
			said, err := demo.Tell(cmd.Context(), demo.SocketPath(a.Getenv), name, strings.Join(args, ""))
			if err != nil {
				return err
			}
			fmt.Fprintln(a.Out, said)
			return nil
		}),
	}
}

// demoService is one instance of one of the demo's services.
func (a *App) demoService() *cobra.Command {
	var cfg demo.ServiceConfig
	cmd := &cobra.Command{
		Use: "service", Short: "Be an instance of one of the demo's services", Hidden: true, Args: between(0, 0),
		RunE: verb(func(cmd *cobra.Command, _ []string) error {
			l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", a.Getenv("PORT")))
			if err != nil {
				return err
			}
			cfg.Listener, cfg.Instance, cfg.Outbound = l, a.Getenv("MESHD_INSTANCE"), a.Getenv("MESHD_OUTBOUND")
			return demo.RunService(cmd.Context(), cfg)
		}),
	}
	cmd.Flags().StringVar(&cfg.Role, "role", demo.Fast, strings.Join(demo.Roles, ", "))
	cmd.Flags().IntVar(&cfg.Workers, "workers", 1, "of slow")
	return cmd
}
