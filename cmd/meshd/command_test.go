package main

import (
	"context"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meshd/meshd/control"
	"github.com/meshd/meshd/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// parse runs the command with args, space-separated, and an environment, and
// returns what meshd would have been started with.
func parse(t *testing.T, args string, env map[string]string) (control.Config, error) {
	t.Helper()
	var got control.Config
	cmd := command("v1", func(k string) string { return env[k] }, io.Discard, func(_ context.Context, c control.Config) error {
		got = c
		return nil
	})
	cmd.SetArgs(strings.Fields(args))
	cmd.SetOut(io.Discard)
	err := cmd.ExecuteContext(t.Context())
	if err == nil && (got.Logger == nil || got.LogLevel == nil) {
		t.Error("no logger, or none whose level can be changed")
	}
	got.Logger, got.LogLevel = nil, nil
	return got, err
}

func TestFlags(t *testing.T) {
	defaults := control.Config{
		XDSAddr: "127.0.0.1:15010", HTTPAddr: "127.0.0.1:15020", TraceMemory: 24, Version: "v1",
		Registry: registry.Config{DataDir: "/home/x/.local/state/meshd", LeaseTTL: 5 * time.Second},
	}
	with := func(mod func(*control.Config)) control.Config { c := defaults; mod(&c); return c }
	for _, c := range []struct {
		args string
		env  map[string]string
		want control.Config
	}{
		{"", nil, defaults},
		{"--config mesh --lease-ttl 3s", nil, with(func(c *control.Config) { c.ConfigPath, c.Registry.LeaseTTL = "mesh", 3*time.Second })},
		{"", map[string]string{"MESHD_XDS_ADDR": "[::1]:1", "MESHD_ETCD_ENDPOINTS": "http://a:1,http://b:1"}, with(func(c *control.Config) {
			c.XDSAddr, c.Registry.Endpoints = "[::1]:1", []string{"http://a:1", "http://b:1"}
		})},
		{"--xds-addr 127.0.0.1:2", map[string]string{"MESHD_XDS_ADDR": "127.0.0.1:1"}, with(func(c *control.Config) { c.XDSAddr = "127.0.0.1:2" })},
		{"", map[string]string{"XDG_STATE_HOME": "/state"}, with(func(c *control.Config) { c.Registry.DataDir = "/state/meshd" })},
		{"--log-format json --log-level debug --data-dir d", nil, with(func(c *control.Config) { c.Registry.DataDir = "d" })},
	} {
		env := map[string]string{"HOME": "/home/x"}
		for k, v := range c.env {
			env[k] = v
		}
		if got, err := parse(t, c.args, env); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%q %v:\n got %+v, %v\nwant %+v", c.args, c.env, got, err, c.want)
		}
	}
}

func TestRefused(t *testing.T) {
	for _, c := range []struct {
		args string
		env  map[string]string
		want string
	}{
		{"extra", nil, `unknown command "extra"`},
		{"--lease-ttl soon", nil, `--lease-ttl`},
		{"", map[string]string{"MESHD_LEASE_TTL": "soon"}, "MESHD_LEASE_TTL"},
		{"--log-level loud", nil, `--log-level "loud": debug, info, warn or error is accepted`},
		{"--log-format xml", nil, `--log-format "xml": text or json is accepted`},
	} {
		if _, err := parse(t, c.args, c.env); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q %v: %v, want %s", c.args, c.env, err, c.want)
		}
	}
}

func TestDataDirWithoutHome(t *testing.T) {
	if got := dataDir(func(string) string { return "" }); got != "meshd-data" {
		t.Errorf("data directory %q", got)
	}
}
