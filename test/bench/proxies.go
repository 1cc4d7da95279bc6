package main

import (
	"context"
	"embed"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
)

// A proxy is one of those that are compared. Each is one process with one
// working thread, except ours, which takes what Go gives it.
type proxy struct {
	name   string
	traces bool // exports spans of 1 % of the calls to the sink
	// find is the path of the program; an error says that it is not there.
	find func(root string) (string, error)
	// version is the argument that makes it print its version, if it has one.
	version string
	start   func(context.Context, *rig, string) (*running, error)
}

// proxies are in the order in which each round runs them.
func proxies() []proxy {
	return []proxy{
		{"ours", true, findOurs, "", startOurs},
		{"envoy", true, findEnvoy, "--version", startEnvoy},
		{"haproxy", false, func(string) (string, error) { return find("haproxy") }, "-v", startHAProxy},
		{"nginx", false, func(string) (string, error) { return find("nginx") }, "-v", startNginx},
	}
}

// A running proxy has one process that is measured and perhaps others.
type running struct {
	listen  string // host:port to send the load to
	admin   string // where to profile it, for the progress
	process *process
	others  []*process
}

func (r *running) stop() {
	r.process.stop()
	for _, p := range r.others {
		p.stop()
	}
}

// authority is what callers name.
const authority = "checkout:8080"

// begin waits until p answers for authority.
func begin(ctx context.Context, p *process, listen string, others ...*process) (*running, error) {
	r := &running{listen: listen, process: p, others: others}
	if err := p.ready(ctx, "http://"+listen+"/", authority); err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

func findEnvoy(root string) (string, error) {
	if path, err := exec.LookPath(filepath.Join(root, ".cache/envoy/bin/envoy")); err == nil {
		return path, nil
	}
	return find("envoy")
}

func startEnvoy(ctx context.Context, r *rig, dir string) (*running, error) {
	addrs, err := freeAddrs(2)
	if err != nil {
		return nil, err
	}
	conf, err := render(dir, "envoy.yaml", values{Listen: addrs[0], Admin: addrs[1], Sink: r.sink.addr, Backends: r.backends})
	if err != nil {
		return nil, err
	}
	p, err := startProcess("envoy", nil, r.paths["envoy"], "-c", conf, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning")
	if err != nil {
		return nil, err
	}
	return begin(ctx, p, addrs[0])
}

func startHAProxy(ctx context.Context, r *rig, dir string) (*running, error) {
	return startOne(ctx, r, dir, "haproxy", "haproxy.cfg", "-db", "-f")
}

func startNginx(ctx context.Context, r *rig, dir string) (*running, error) {
	return startOne(ctx, r, dir, "nginx", "nginx.conf", "-p", dir, "-c")
}

// startOne starts a proxy whose last argument is its configuration.
func startOne(ctx context.Context, r *rig, dir, name, conf string, args ...string) (*running, error) {
	addrs, err := freeAddrs(1)
	if err != nil {
		return nil, err
	}
	path, err := render(dir, conf, values{Dir: dir, Listen: addrs[0], Backends: r.backends})
	if err != nil {
		return nil, err
	}
	p, err := startProcess(name, nil, r.paths[name], append(args, path)...)
	if err != nil {
		return nil, err
	}
	return begin(ctx, p, addrs[0])
}

//go:embed conf
var confs embed.FS

// values fill the files of conf/; addresses are host:port.
type values struct {
	Dir, Body, Listen, Admin, Sink string
	Backends                       []string
}

// render writes a file of conf/ with v into dir and returns its path.
func render(dir, name string, v values) (string, error) {
	t, err := template.New(name).Option("missingkey=error").Funcs(template.FuncMap{
		"host": func(addr string) (string, error) { host, _, err := net.SplitHostPort(addr); return host, err },
		"port": func(addr string) (string, error) { _, port, err := net.SplitHostPort(addr); return port, err },
	}).ParseFS(confs, "conf/"+name)
	if err != nil {
		return "", fmt.Errorf("configuration: %w", err)
	}
	var b strings.Builder
	if err := t.Execute(&b, v); err != nil {
		return "", fmt.Errorf("configuration %s: %w", name, err)
	}
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, []byte(b.String()), 0o600)
}
