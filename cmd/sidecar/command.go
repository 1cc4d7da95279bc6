package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/internal/cliflag"
	"github.com/meshd/meshd/sidecar"
	"github.com/meshd/meshd/sidecar/redirect"
)

// command is the sidecar's command line; it logs to stderr and calls run with
// what the flags and the environment say.
func command(version string, getenv func(string) string, stderr io.Writer, run func(sidecar.Config) error) *cobra.Command {
	cfg := sidecar.Config{Version: version, Getenv: getenv}
	var level, format, policy, speaks string
	cmd := &cobra.Command{
		Use:   "sidecar",
		Short: "The data plane of the mesh, next to every instance",
		Long: `sidecar takes the calls that an instance makes (--outbound) and receives
(--inbound), and sends each where the mesh says, with balancing, circuit
breaking, retries, deadlines and traces.

Calls reach it in three ways: redirected by rules ("sidecar redirect install"),
by http_proxy=http://OUTBOUND, or as plain calls to OUTBOUND with the service's
name in Host; what is not HTTP by redirection, or by --tcp-listen. What the mesh does not know passes through to where it was going.

Traces and metrics leave by the standard OTEL_ variables. Every flag is an
environment variable too: --outbound is MESHD_OUTBOUND. The flag counts where
both are given. SIGTERM drains; a second one ends at once.`,
		Example: `  # beside an application on port 8080
  sidecar --service checkout --app 127.0.0.1:8080

  # for calls out of a script only
  sidecar --service batch --inbound ""
  curl -H "Host: checkout:8080" http://127.0.0.1:15001/

  # one whose application speaks PostgreSQL to 127.0.0.1:5432
  sidecar --service web --tcp-listen 127.0.0.1:5432=postgres:5432

  # one that sends its traces to a collector
  OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 sidecar --service checkout`,
		Args:          cobra.NoArgs,
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := cliflag.FromEnvironment(cmd.Flags(), getenv); err != nil {
				return err
			}
			log, live, err := cliflag.Logger(stderr, level, format)
			if err != nil {
				return err
			}
			cfg.LogLevel = live
			cfg.Logger, cfg.Policy, cfg.AppProtocol = log, sidecar.OutboundPolicy(policy), sidecar.AppProtocol(speaks)
			return run(cfg)
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&cfg.Service, "service", "", "the service that this instance belongs to (required)")
	f.StringVar(&cfg.Namespace, "namespace", "default", "its namespace")
	f.StringVar(&cfg.Meshd, "meshd", "127.0.0.1:15010", "host:port of the control plane; empty for none")
	f.StringVar(&cfg.Outbound, "outbound", "127.0.0.1:15001", "IP:port for the application's calls; empty for none")
	f.StringVar(&cfg.Inbound, "inbound", "127.0.0.1:15006", "IP:port for calls to the application; empty for none")
	f.StringVar(&cfg.App, "app", "127.0.0.1:8080", "IP:port on which the application listens")
	f.StringVar(&speaks, "app-protocol", string(sidecar.AppAuto), "what the application speaks: auto, http, h2c, grpc or tcp")
	f.StringSliceVar(&cfg.TCPListen, "tcp-listen", nil, "IP:PORT=SERVICE:PORT: connections to IP:PORT are calls to the service; may be repeated")
	f.StringVar(&cfg.Admin, "admin", "127.0.0.1:15000", "loopback IP:port for probes, metrics and people; empty for none")
	f.Uint16Var(&cfg.ServicePort, "service-port", 0, "the port that callers name (default the port of --app)")
	f.StringVar(&cfg.Instance, "instance", "", "this instance's name, unique in the mesh (default made of service, host and pid)")
	f.StringVar(&cfg.Advertise, "advertise", "", "IP or IP:port under which others reach --inbound (default --inbound itself)")
	f.StringVar(&cfg.Region, "region", "", "where the instance runs")
	f.StringVar(&cfg.Zone, "zone", "", "where in the region")
	f.Uint32Var(&cfg.Weight, "weight", 1, "the instance's share of calls, relative to others")
	f.StringVar(&policy, "outbound-policy", string(sidecar.Passthrough), "calls to what the mesh does not know: passthrough or deny")
	f.StringVar(&cfg.StateDir, "state-dir", "", "folder for the last good configuration, used while meshd is away; empty for none")
	f.Uint32Var(&cfg.Mark, "mark", redirect.Default().Mark, "mark of the sidecar's own sockets, which redirection leaves alone; needs CAP_NET_ADMIN, else not used")
	f.DurationVar(&cfg.Drain, "drain", 30*time.Second, "how long calls may take to end after SIGTERM")
	f.IntVar(&cfg.MaxConns, "max-connections", 0, "connections accepted at a time on each port (default half of the file limit)")
	f.IntVar(&cfg.MaxTCP, "max-tcp-connections", 0, "connections open at a time that nobody looks into, all ports together (default a quarter of the file limit)")
	f.DurationVar(&cfg.TCPIdle, "tcp-idle-timeout", time.Hour, "how long nothing may move on such a connection, or on a tunnel")
	f.StringVar(&cfg.AccessLog, "access-log", "", "file to which calls are written as lines of JSON, - for standard output; empty for none")
	f.StringVar(&cfg.AccessLogFilter, "access-log-filter", "all", "which calls: all, errors (the service could not serve them) or kept (those that have spans)")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&format, "log-format", "text", "text or json")
	cmd.AddCommand(redirectCommand())
	return cmd
}

// redirectCommand installs and removes the rules that bring calls here.
func redirectCommand() *cobra.Command {
	cfg := redirect.Default()
	var dry bool
	cmd := &cobra.Command{
		Use:   "redirect",
		Short: "Install or remove the rules that send connections to the sidecar",
		Long: `redirect programs nftables in this network namespace: connections that the
machine's processes open go to the sidecar's outbound port, those that come in
to its inbound port. The sidecar's own connections are left alone, by user id
and by mark. It needs CAP_NET_ADMIN, and no other program.`,
	}
	install := &cobra.Command{
		Use:   "install",
		Short: "Install the rules, in place of those of before",
		Example: `  sidecar redirect install --outbound-port 15001 --inbound-port 15006 --proxy-uid 1337

  # show the rules, change nothing
  sidecar redirect install --dry-run`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !dry {
				return redirect.Install(cfg)
			}
			if err := cfg.Validate(); err != nil {
				return err
			}
			_, err := fmt.Fprint(cmd.OutOrStdout(), redirect.Describe(cfg))
			return err
		},
	}
	redirect.BindFlags(install.Flags(), &cfg)
	install.Flags().BoolVar(&dry, "dry-run", false, "print the rules and change nothing")
	remove := &cobra.Command{
		Use: "remove", Short: "Remove the rules; nothing happens where there are none",
		Example: "  sidecar redirect remove",
		Args:    cobra.NoArgs,
		RunE:    func(*cobra.Command, []string) error { return redirect.Remove(cfg) },
	}
	redirect.BindRemoveFlags(remove.Flags(), &cfg)
	cmd.AddCommand(install, remove)
	return cmd
}
