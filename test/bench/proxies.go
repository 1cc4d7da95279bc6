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
	find func(where) (string, error)
	// version is the argument that makes it print its version, if it has one.
	version string
	// speaks says whether it can be measured with a protocol.
	speaks func(protocol string) bool
	// start starts it for a protocol, with its files in dir.
	start func(ctx context.Context, r *rig, protocol, dir string) (*running, error)
}

// where is where programs are looked for beside PATH.
type where struct {
	root string // of the repository
	bin  string // of our own
}

// proxies are in the order in which each round runs them.
func proxies() []proxy {
	all := func(string) bool { return true }
	// Debian has nginx's stream module in a package of its own.
	nginx := func(protocol string) bool { return protocol != protoTCP }
	return []proxy{
		{"ours", true, func(w where) (string, error) { return findOurs(w.bin) }, "", all, startOurs},
		{"envoy", true, findEnvoy, "--version", all, startEnvoy},
		{"haproxy", false, func(where) (string, error) { return find("haproxy") }, "-v", all, startHAProxy},
		{"nginx", false, func(where) (string, error) { return find("nginx") }, "-v", nginx, startNginx},
	}
}

// A running proxy has one process that is measured and perhaps others.
type running struct {
	listen  string // host:port to send the load to
	admin   string // where it can be profiled
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

// begin waits until r answers for authority.
func (r *running) begin(ctx context.Context, protocol string) (*running, error) {
	err := r.process.readyFor(ctx, load{Protocol: protocol, Addr: r.listen, Host: authority})
	if err != nil {
		r.stop()
		return nil, err
	}
	return r, nil
}

func findEnvoy(w where) (string, error) {
	if path, err := exec.LookPath(filepath.Join(w.root, ".cache/envoy/bin/envoy")); err == nil {
		return path, nil
	}
	return find("envoy")
}

func startEnvoy(ctx context.Context, r *rig, protocol, dir string) (*running, error) {
	addrs, err := freeAddrs(2)
	if err != nil {
		return nil, err
	}
	conf, err := render(dir, "envoy.yaml", values{Protocol: protocol, Listen: addrs[0], Admin: addrs[1], Sink: r.sink.addr, Backends: r.backends.addrs[protocol]})
	if err != nil {
		return nil, err
	}
	p, err := startProcess("envoy", nil, r.paths["envoy"], "-c", conf, "--concurrency", "1", "--use-dynamic-base-id", "--log-level", "warning")
	if err != nil {
		return nil, err
	}
	return (&running{listen: addrs[0], process: p}).begin(ctx, protocol)
}

func startHAProxy(ctx context.Context, r *rig, protocol, dir string) (*running, error) {
	return startOne(ctx, r, protocol, r.backends.addrs[protocol], dir, "haproxy", "haproxy.cfg", "-db", "-f")
}

// startNginx has HTTP/2 before nginx and HTTP/1 behind it: it speaks HTTP/2 to
// backends only for gRPC.
func startNginx(ctx context.Context, r *rig, protocol, dir string) (*running, error) {
	behind := protocol
	if protocol == protoHTTP2 {
		behind = protoHTTP1
	}
	return startOne(ctx, r, protocol, r.backends.addrs[behind], dir, "nginx", "nginx.conf", "-p", dir, "-c")
}

// startOne starts a proxy whose last argument is its configuration.
func startOne(ctx context.Context, r *rig, protocol string, backends []string, dir, name, conf string, args ...string) (*running, error) {
	addrs, err := freeAddrs(1)
	if err != nil {
		return nil, err
	}
	path, err := render(dir, conf, values{Protocol: protocol, Dir: dir, Listen: addrs[0], Backends: backends})
	if err != nil {
		return nil, err
	}
	p, err := startProcess(name, nil, r.paths[name], append(args, path)...)
	if err != nil {
		return nil, err
	}
	return (&running{listen: addrs[0], process: p}).begin(ctx, protocol)
}

//go:embed conf
var confs embed.FS

// values fill the files of conf/; addresses are host:port.
type values struct {
	Protocol, Dir, Body, Listen, Admin, Sink string
	Backends                                 []string
	HTTP2                                    []string // of the backend: where it speaks HTTP/2
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
