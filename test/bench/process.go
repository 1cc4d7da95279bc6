package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/meshd/meshd/internal/testkit/tail"
)

// A process is a child that ends with this program, whatever ends it.
type process struct {
	name string
	pid  int
	out  tail.Buffer
	done chan struct{} // closed when it has ended
}

// startProcess starts a child with env added to the environment. What it
// writes is kept, the end of it, to tell why it failed.
func startProcess(name string, env []string, path string, args ...string) (*process, error) {
	p := &process{name: name, done: make(chan struct{})}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	cmd.WaitDelay = time.Second
	// A group of its own, so that a terminal's Ctrl-C reaches only this
	// program, which then ends its children in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // Pdeathsig comes when the thread that forked ends
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait() // how it ended is told by what it wrote
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%s: start: %w", name, err)
	}
	p.pid = cmd.Process.Pid
	return p, nil
}

// stop ends the child: by SIGTERM, and after 5 s by SIGKILL.
func (p *process) stop() {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		if p.ended() {
			return
		}
		syscall.Kill(p.pid, sig) // fails only if it has ended just now
		select {
		case <-p.done:
		case <-time.After(5 * time.Second):
		}
	}
	<-p.done
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// ready waits until GET url, with the given Host, is answered 200.
func (p *process) ready(ctx context.Context, url, host string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	transport := &http.Transport{DisableKeepAlives: true}
	last := "nothing"
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		req.Host = host
		resp, err := transport.RoundTrip(req)
		if err == nil {
			resp.Body.Close()
			if last = resp.Status + " " + resp.Header.Get("Proxy-Status"); resp.StatusCode == http.StatusOK {
				return nil
			}
		} else if ctx.Err() == nil {
			last = err.Error()
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-p.done:
			return fmt.Errorf("%s ended while starting:\n%s", p.name, &p.out)
		case <-ctx.Done():
			return fmt.Errorf("%s: GET %s: %w, last answer %s\n%s", p.name, url, ctx.Err(), last, &p.out)
		}
	}
}

// readyFor waits until p answers one request of l.
func (p *process) readyFor(ctx context.Context, l load) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	l.Connections, l.Streams, l.Rate, l.Duration = 1, 1, 1000, time.Millisecond
	for {
		r, err := l.run()
		if err == nil && r.Failed == 0 {
			return nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-p.done:
			return fmt.Errorf("%s ended while starting:\n%s", p.name, &p.out)
		case <-ctx.Done():
			return fmt.Errorf("%s: %s over %s: %w, last %v, %v\n%s", p.name, l.Addr, l.Protocol, ctx.Err(), err, r.Causes, &p.out)
		}
	}
}

// freeAddrs finds n addresses of loopback that nobody listens on.
func freeAddrs(n int) ([]string, error) {
	var addrs []string
	for range n {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close() // all are held until all are found
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}
