package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
)

// backends is how many addresses the backend has: enough that a balancer has
// something to choose.
const backends = 3

// startBackend starts what all proxies send to: nginx, since it costs least
// beside what is measured, or where there is none a child of this program.
func startBackend(ctx context.Context, dir string) (*process, []string, error) {
	addrs, err := freeAddrs(backends)
	if err != nil {
		return nil, nil, err
	}
	var p *process
	if nginx, err := find("nginx"); err == nil {
		conf, err := render(dir, "backend.conf", values{Dir: dir, Backends: addrs, Body: theBody})
		if err != nil {
			return nil, nil, err
		}
		p, err = startProcess("backend (nginx)", nil, nginx, "-p", dir, "-c", conf)
		if err != nil {
			return nil, nil, err
		}
	} else {
		self, err := os.Executable()
		if err != nil {
			return nil, nil, err
		}
		p, err = startProcess("backend (Go)", nil, self, append([]string{"backend"}, addrs...)...)
		if err != nil {
			return nil, nil, err
		}
	}
	if err := p.ready(ctx, "http://"+addrs[len(addrs)-1]+"/", ""); err != nil {
		p.stop()
		return nil, nil, err
	}
	return p, addrs, nil
}

// backendMain serves theBody on addrs until it is killed.
func backendMain(addrs []string) error {
	errs := make(chan error)
	for _, addr := range addrs {
		l, err := net.Listen("tcp4", addr)
		if err != nil {
			return fmt.Errorf("backend: %w", err)
		}
		go func() {
			errs <- http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				io.WriteString(w, theBody)
			}))
		}()
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
