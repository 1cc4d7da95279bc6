package main

import (
	"context"
	"errors"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/meshd/meshd/control"
	"github.com/meshd/meshd/internal/cliflag"
	"github.com/meshd/meshd/registry"
)

// command is meshd's command line; it logs to stderr and calls run with what
// the flags and the environment say.
func command(version string, getenv func(string) string, stderr io.Writer, run func(context.Context, control.Config) error) *cobra.Command {
	cfg := control.Config{Version: version}
	var level, format string
	cmd := &cobra.Command{
		Use:   "meshd",
		Short: "The control plane of the mesh",
		Long: `meshd tells sidecars where services are and how to call them (xDS), keeps what
they measure (OTLP), and says how many instances of each service there should be.

What it knows comes from --config, from objects applied with "meshctl apply",
and from the sidecars that are connected. The last two are kept in etcd: in one
that is built in, with its data in --data-dir, or in an external one that several
meshds share. A restart loses nothing.

Every flag is an environment variable too: --xds-addr is MESHD_XDS_ADDR. The
flag counts where both are given.`,
		Example: `  # on this machine, with the objects of a folder
  meshd --config ./mesh

  # nothing kept from the last run, another port
  meshd --data-dir "$(mktemp -d)" --xds-addr 127.0.0.1:25010 --http-addr 127.0.0.1:25020

  # one of several, on an etcd cluster
  meshd --etcd-endpoints http://10.0.0.1:2379,http://10.0.0.2:2379,http://10.0.0.3:2379`,
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
			cfg.Logger, cfg.LogLevel = log, live
			err = run(cmd.Context(), cfg)
			if cmd.Context().Err() != nil && errors.Is(err, context.Canceled) {
				return nil // stopped while starting
			}
			return err
		},
	}
	f := cmd.Flags()
	f.SortFlags = false
	f.StringVar(&cfg.ConfigPath, "config", "", "file or folder of objects (YAML, JSON), read again when it changes")
	f.StringVar(&cfg.XDSAddr, "xds-addr", "127.0.0.1:15010", "host:port for sidecars: xDS and OTLP, over gRPC")
	f.StringVar(&cfg.HTTPAddr, "http-addr", "127.0.0.1:15020", "host:port for people and meshctl: HTTP")
	f.StringSliceVar(&cfg.HTTPHosts, "http-hosts", nil, "names under which --http-addr may be called, beside addresses and localhost")
	f.StringVar(&cfg.Registry.DataDir, "data-dir", dataDir(getenv), "folder for what is kept; not used with --etcd-endpoints")
	f.StringSliceVar(&cfg.Registry.Endpoints, "etcd-endpoints", nil, "URLs of an external etcd, instead of the one built in")
	f.DurationVar(&cfg.Registry.LeaseTTL, "lease-ttl", registry.DefaultLeaseTTL, "how long instances outlive the meshd that they were connected to; whole seconds")
	f.IntVar(&cfg.TraceMemory, "trace-memory", 24, "MiB of spans to keep, compressed; the oldest traces make place for new ones")
	f.StringVar(&level, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&format, "log-format", "text", "text or json")
	return cmd
}

// dataDir is the default of --data-dir: the XDG base directory specification's
// place for state.
func dataDir(getenv func(string) string) string {
	switch {
	case filepath.IsAbs(getenv("XDG_STATE_HOME")):
		return filepath.Join(getenv("XDG_STATE_HOME"), "meshd")
	case filepath.IsAbs(getenv("HOME")):
		return filepath.Join(getenv("HOME"), ".local", "state", "meshd")
	}
	return "meshd-data"
}
