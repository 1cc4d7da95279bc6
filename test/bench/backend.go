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
	wanted := func(protocol string) bool {
		return slices.ContainsFunc(cells, func(c cell) bool { return c.Protocol == protocol })
	}
	if wanted(protoHTTP1) || wanted(protoHTTP2) { // nginx asks for HTTP/1 where others ask for HTTP/2
		if err := b.startHTTP(dir); err != nil {
			return err
		}
	}
	if wanted(protoGRPC) {
		if err := b.startSelf("grpc-go", "grpc-backend", b.addrs[protoGRPC]); err != nil {
			return err
		}
	}
	if wanted(protoTCP) {
		if err := b.startSelf("sendfile", "tcp-backend", b.addrs[protoTCP]); err != nil {
			return err
		}
	}
	last := b.processes[len(b.processes)-1]
	for _, c := range cells {
		if err := last.readyFor(ctx, load{Protocol: c.Protocol, Addr: b.addrs[c.Protocol][backends-1], Host: "backend"}); err != nil {
			return err
		}
	}
	return nil
}

func (b *backendSet) startHTTP(dir string) error {
	nginx, err := find("nginx")
	if err != nil {
		return b.startSelf("HTTP (Go)", "backend", append(slices.Clone(b.addrs[protoHTTP1]), b.addrs[protoHTTP2]...))
	}
	conf, err := render(dir, "backend.conf", values{Dir: dir, Backends: b.addrs[protoHTTP1], HTTP2: b.addrs[protoHTTP2], Body: theBody})
	if err != nil {
		return err
	}
	p, err := startProcess("nginx", nil, nginx, "-p", dir, "-c", conf)
	return b.started(p, err)
}

// startSelf starts a child of this program.
func (b *backendSet) startSelf(name, command string, addrs []string) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p, err := startProcess(name, nil, self, append([]string{command}, addrs...)...)
	return b.started(p, err)
}

func (b *backendSet) started(p *process, err error) error {
	if err != nil {
		return err
	}
	b.processes = append(b.processes, p)
	b.about = strings.TrimPrefix(b.about+", "+p.name, ", ")
	return nil
}

// backendMain serves theBody over HTTP/1 and HTTP/2 on addrs until it is
// killed.
func backendMain(addrs []string) error {
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
	return <-errs
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
