package ctl

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/ctltest"
)

var update = flag.Bool("update", false, "write the goldens anew")

func TestMain(m *testing.M) {
	time.Local = time.UTC // goldens have times of day
	ctltest.Main()
	goleak.VerifyTestMain(m)
}

// A buffer is written by several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// call runs meshctl once.
func call(meshd, in string, args ...string) (code int, out, err string) {
	var stdout, stderr buffer
	app := App{
		In: strings.NewReader(in), Out: &stdout, Err: &stderr, Version: "v0.1.0",
		Getenv: func(name string) string { return map[string]string{"MESHD_HTTP": meshd, "HOME": "/nowhere"}[name] },
	}
	code = app.Main(args)
	return code, stdout.String(), stderr.String()
}

func filled(t *testing.T) *ctltest.Meshd {
	m := ctltest.NewMeshd(t)
	m.Status = api.Status{
		Version: "v0.2.0", UptimeSeconds: 190,
		Services: []api.Service{
			{Name: "checkout", Namespace: "default", Port: 8080, Protocol: "auto", Source: "registry", Instances: []api.Instance{
				{ID: "checkout-0", Address: "127.0.0.1:31006", Ready: true, Admin: "127.0.0.1:31000", PID: 4711, AgeSeconds: 61},
				{ID: "checkout-1", Address: "127.0.0.1:31016", Ready: true, Draining: true, Region: "eu", Zone: "a", PID: 4712, AgeSeconds: 3},
			}},
			{Name: "cart", Namespace: "shop", Port: 80, Protocol: "http2", Source: "file:mesh.yaml:3"},
		},
		Clients: []api.XDSClient{{ID: "checkout.default/checkout-0", ConnectedSeconds: 61, Acked: 12, Nacked: 1, LastNack: "Cluster default/x:80: lb_policy RANDOM"}},
	}
	m.Metrics = api.Metrics{WindowSeconds: 5, Services: []api.ServiceMetrics{
		{Name: "checkout", Namespace: "default", RPS: 200, Success: 1, P50Ms: 5, P90Ms: 9.5, P99Ms: 30, Instances: 2},
		{Name: "cart", Namespace: "shop"},
	}}
	m.Objects = []api.Object{
		{Kind: "TrafficPolicy", Namespace: "default", Name: "checkout", Source: "api",
			Object: json.RawMessage(`{"apiVersion":"meshd.io/v1alpha1","kind":"TrafficPolicy","metadata":{"name":"checkout"},"spec":{"timeout":"1s","via":"true","retries":{"attempts":2}}}`)},
		{Kind: "Service", Namespace: "default", Name: "checkout", Source: "file:mesh.yaml:1", Object: json.RawMessage(`{"kind":"Service"}`)},
	}
	m.Answer = api.Applied{Applied: []api.AppliedObject{
		{Kind: "Service", Namespace: "default", Name: "checkout", Result: "created"},
		{Kind: "TrafficPolicy", Namespace: "shop", Name: "cart", Result: "unchanged"},
	}}
	return m
}

// Every golden is a call and what it printed.
func TestVerbs(t *testing.T) {
	for name, args := range map[string][]string{
		"status":          {"status"},
		"status-json":     {"status", "-o", "json"},
		"status-yaml":     {"status", "-o", "yaml"},
		"top-once":        {"top", "--once"},
		"top-one":         {"top", "--once", "shop/cart"},
		"get":             {"get", "services"},
		"get-yaml":        {"get", "tp", "checkout", "-o", "yaml"},
		"get-none":        {"get", "tp", "-n", "nowhere"},
		"get-missing":     {"get", "tp", "missing"},
		"get-instances":   {"get", "instances", "-n", "default"},
		"get-instance":    {"get", "instance", "checkout-1", "-o", "json"},
		"get-bad-kind":    {"get", "pods"},
		"apply":           {"apply", "-f", "-"},
		"apply-nothing":   {"apply"},
		"apply-missing":   {"apply", "-f", "missing.yaml"},
		"delete":          {"delete", "tp", "checkout"},
		"delete-file":     {"delete", "service", "checkout"},
		"delete-missing":  {"delete", "service", "missing"},
		"delete-instance": {"delete", "instance", "checkout-0"},
		"scale":           {"scale", "checkout", "5"},
		"scale-wait":      {"scale", "checkout", "4", "--wait"},
		"scale-bad":       {"scale", "checkout", "many"},
		"scale-short":     {"scale", "checkout"},
		"version":         {"version"},
		"unknown-verb":    {"frobnicate"},
		"unknown-flag":    {"status", "--frobnicate"},
		"bad-output":      {"status", "-o", "xml"},
		"run-no-command":  {"run", "--name", "checkout", "--port", "8080"},
		"run-bad-name":    {"run", "--name", "Check_out", "--port", "8080", "--", "true"},
		"run-no-port":     {"run", "--name", "checkout", "--", "true"},
		"run-bad-restart": {"run", "--name", "checkout", "--port", "80", "--restart", "always", "--", "true"},
		"run-bad-tcp":     {"run", "--name", "checkout", "--port", "80", "--tcp-listen", "postgres", "--", "true"},
		"run-one-address": {"run", "--name", "checkout", "--port", "80", "--tcp-listen", "127.0.0.1:5432=postgres:5432", "--", "true"},
		"run-bad-speech":  {"run", "--name", "checkout", "--port", "80", "--app-protocol", "smtp", "--", "true"},
		"run-no-sidecar":  {"run", "--name", "checkout", "--port", "80", "--sidecar", "./missing", "--", "true"},
		"help":            {"--help"},
		"help-run":        {"run", "--help"},
	} {
		t.Run(name, func(t *testing.T) {
			m := filled(t)
			code, out, errOut := call(m.URL, "kind: Service", args...)
			got := "$ meshctl " + strings.Join(args, " ") + "\n" + out
			if errOut != "" {
				got += "-- stderr\n" + errOut
			}
			got += "-- exit " + string(rune('0'+code)) + "\n"
			golden(t, name, strings.ReplaceAll(got, m.URL, "http://MESHD"))
		})
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".txt")
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s:\n%s\nwant:\n%s", path, got, want)
	}
}

func TestUnreachable(t *testing.T) {
	for _, args := range [][]string{{"status"}, {"top"}, {"scale", "checkout", "5"}, {"get", "services"}} {
		code, _, err := call("http://127.0.0.1:1", "", args...)
		if code != exitFailed || !strings.Contains(err, "http://127.0.0.1:1 cannot be reached") || !strings.Contains(err, "start it with: meshd\n") {
			t.Errorf("%v: exit %d, %s", args, code, err)
		}
	}
	if code, _, err := call("ftp://x", "", "status"); code != exitUsage || !strings.Contains(err, "want a URL such as") {
		t.Errorf("exit %d, %s", code, err)
	}
}

func TestApplyTakesDirectories(t *testing.T) {
	m := filled(t)
	dir := t.TempDir()
	for name, content := range map[string]string{"b.yml": "two", "a.yaml": "one", "c.txt": "no", "d.json": "three"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.Answer.Refused = []string{"request:1: TrafficPolicy cart: timeout -1s: want more than 0"}
	code, _, err := call(m.URL, "", "apply", "-f", dir)
	if got := strings.Join(m.Bodies, ","); got != "one,two,three" {
		t.Errorf("sent %s", got)
	}
	if code != exitFailed || !strings.Contains(err, "b.yml:1: TrafficPolicy cart") || !strings.Contains(err, "3 refused") {
		t.Errorf("exit %d, %s", code, err)
	}
	if code, _, err := call(m.URL, "", "apply", "-f", t.TempDir()); code != exitFailed || !strings.Contains(err, "no *.yaml") {
		t.Errorf("exit %d, %s", code, err)
	}
}

// What get prints, apply takes.
func TestYAMLRoundTrip(t *testing.T) {
	m := filled(t)
	_, out, _ := call(m.URL, "", "get", "tp", "-o", "yaml")
	if code, _, err := call(m.URL, out, "apply", "-f", "-"); code != exitOK {
		t.Fatal(err)
	}
	if m.Bodies[0] != out || !strings.Contains(out, `via: "true"`) {
		t.Errorf("sent %q", m.Bodies[0])
	}
}

func TestEveryVerbHasAnExample(t *testing.T) {
	app := App{Getenv: func(string) string { return "" }}
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if !c.HasParent() || c.HasSubCommands() || c.Hidden {
			for _, sub := range c.Commands() {
				walk(sub)
			}
			return
		}
		if c.Short == "" || !strings.HasPrefix(c.Example, "  meshctl ") {
			t.Errorf("%s: short %q, example %q", c.CommandPath(), c.Short, c.Example)
		}
	}
	walk(app.root())
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if code, out, err := call("", "", "completion", shell); code != exitOK || !strings.Contains(out, "meshctl") {
			t.Errorf("%s: exit %d, %s", shell, code, err)
		}
	}
	m := filled(t)
	if _, out, _ := call(m.URL, "", "__complete", "scale", ""); !strings.HasPrefix(out, "checkout\ncart\n") {
		t.Errorf("services: %q", out)
	}
}

// top on what is no terminal prints lines until Ctrl-C.
func TestTopEndsWithInterrupt(t *testing.T) {
	m := filled(t)
	interrupts := make(chan os.Signal, 1)
	var stderr buffer
	out := writerFunc(func(p []byte) {
		select {
		case interrupts <- syscall.SIGINT:
		default:
		}
	})
	app := App{Out: out, Err: &stderr, Interrupts: interrupts, Getenv: func(string) string { return m.URL }}
	if code := app.Main([]string{"top", "--interval", "1ms"}); code != exitOK || stderr.String() != "" {
		t.Errorf("exit %d, %s", code, stderr.String())
	}
}

type writerFunc func([]byte)

func (f writerFunc) Write(p []byte) (int, error) {
	f(p)
	return len(p), nil
}
