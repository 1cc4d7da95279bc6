package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// backends is how many addresses a backend has: enough that a balancer has
// something to choose.
const backends = 3

// A backendSet is what all proxies send to.
type backendSet struct {
	about     string
	addrs     map[string][]string // of each protocol
	processes []*process
}

func (b *backendSet) stop() {
	for _, p := range b.processes {
		p.stop()
	}
}

// startBackends starts what the cells need. HTTP is nginx, since it costs
// least beside what is measured, or where there is none a child of this
// program; so are gRPC and TCP.
func startBackends(ctx context.Context, dir string, cells []cell) (*backendSet, error) {
	addrs, err := freeAddrs(4 * backends)
	if err != nil {
		return nil, err
	}
	b := &backendSet{addrs: map[string][]string{}}
	for i, p := range protocols() {
		b.addrs[p] = addrs[i*backends : (i+1)*backends]
	}
	if err := b.start(ctx, dir, cells); err != nil {
		b.stop()
		return nil, err
	}
	return b, nil
}

func (b *backendSet) start(ctx context.Context, dir string, cells []cell) error {
	var http *process
	for _, protocol := range protocols() {
		if !slices.ContainsFunc(cells, func(c cell) bool { return c.Protocol == protocol }) {
			continue
		}
		var p *process
		var err error
		switch {
		case protocol == protoGRPC:
			p, err = b.startSelf("grpc-go", "grpc-backend", b.addrs[protocol])
		case protocol == protoTCP:
			p, err = b.startSelf("sendfile", "tcp-backend", b.addrs[protocol])
		case http == nil: // one for both: nginx asks for HTTP/1 where others ask for HTTP/2
			http, err = b.startHTTP(dir)
			fallthrough
		default:
			p = http
		}
		if err != nil {
			return err
		}
		if err := p.readyFor(ctx, load{Protocol: protocol, Addr: b.addrs[protocol][backends-1], Host: "backend"}); err != nil {
			return err
		}
	}
	return nil
}

func (b *backendSet) startHTTP(dir string) (*process, error) {
	nginx, err := find("nginx")
	if err != nil {
		return b.startSelf("HTTP (Go)", "backend", slices.Concat(b.addrs[protoHTTP1], b.addrs[protoHTTP2]))
	}
	conf, err := render(dir, "backend.conf", values{Dir: dir, Backends: b.addrs[protoHTTP1], HTTP2: b.addrs[protoHTTP2], Body: theBody})
	if err != nil {
		return nil, err
	}
	return b.startProcess("nginx", nginx, "-p", dir, "-c", conf)
}

// startSelf starts a child of this program.
func (b *backendSet) startSelf(name, command string, addrs []string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return b.startProcess(name, self, append([]string{command}, addrs...)...)
}

func (b *backendSet) startProcess(name, path string, args ...string) (*process, error) {
	p, err := startProcess(name, nil, path, args...)
	if err != nil {
		return nil, err
	}
	b.processes = append(b.processes, p)
	b.about = strings.TrimPrefix(b.about+", "+name, ", ")
	return p, nil
}

// backendMain serves theBody over HTTP/1 and HTTP/2 on addrs until
// ctx ends.
func backendMain(ctx context.Context, addrs []string) error {
	errs := make(chan error)
	server := &http.Server{Protocols: new(http.Protocols), Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		io.WriteString(w, theBody)
	})}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	for _, addr := range addrs {
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			return fmt.Errorf("backend: %w", err)
		}
		go func() { errs <- server.Serve(l) }()
	}
	return until(ctx, errs)
}

// until is what ends a backend: nil when ctx ends, or the first error.
func until(ctx context.Context, errs <-chan error) error {
	select {
	case err := <-errs:
		return err
	case <-ctx.Done():
		return nil
	}
}

// find looks for a program in PATH, and where Debian keeps daemons.
func find(name string) (string, error) {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin/", "/sbin/", "/usr/local/sbin/"} {
		if err != nil {
			path, err = exec.LookPath(dir + name)
		}
	}
	return path, err
}
