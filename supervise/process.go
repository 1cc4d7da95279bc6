package supervise

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// outputDelay is how long output is still read after a child has ended, when
// something that left its process group holds on to the pipe.
const outputDelay = 250 * time.Millisecond

// A process is one running child.
type process struct {
	pid  int
	done chan struct{} // closed when it has ended; code and sig are set by then
	code int
	sig  syscall.Signal
	// signal reaches the whole group; after the end it does nothing.
	signal func(syscall.Signal)
}

// normal reports an end that a Transient child is not restarted after.
func (p *process) normal() bool { return p.code == 0 && p.sig == 0 }

// startProcess starts spec as the leader of a new process group.
func startProcess(spec Spec) (*process, error) {
	cmd := exec.Command(spec.Path, spec.Args...)
	cmd.Env = append(os.Environ(), spec.Env...)
	cmd.Dir = spec.Dir
	cmd.WaitDelay = outputDelay
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var flush []*lines
	if spec.Stdout != nil {
		l := &lines{w: spec.Stdout, prefix: spec.Prefix}
		cmd.Stdout, flush = l, append(flush, l)
	}
	if spec.Stderr != nil {
		l := &lines{w: spec.Stderr, prefix: spec.Prefix}
		cmd.Stderr, flush = l, append(flush, l)
	}

	p := &process{done: make(chan struct{})}
	started := make(chan error, 1)
	// The parent-death signal is sent when the *thread* that forked ends, so
	// one thread stays with the child for all its life; it would block in
	// wait anyway.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.pid = cmd.Process.Pid
		var mu sync.Mutex
		reaped := false
		p.signal = func(sig syscall.Signal) {
			mu.Lock()
			defer mu.Unlock()
			if !reaped {
				syscall.Kill(-p.pid, sig) // fails only if the group is gone
			}
		}
		started <- nil

		// Not reaped yet, so the group's id still belongs to it: what the
		// child leaves behind is killed before the id can be used again.
		for unix.Waitid(unix.P_PID, p.pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
		}
		p.signal(syscall.SIGKILL)
		mu.Lock()
		reaped = true
		mu.Unlock()
		cmd.Wait() // its error repeats ProcessState, or says that output was cut off

		status := cmd.ProcessState.Sys().(syscall.WaitStatus)
		p.code = status.ExitStatus()
		if status.Signaled() {
			p.sig = status.Signal()
		}
		for _, l := range flush {
			l.flush()
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		if errors.Is(err, exec.ErrNotFound) || errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("start %s: no such program: %w", spec.Path, err)
		}
		return nil, fmt.Errorf("start %s: %w", spec.Path, err)
	}
	return p, nil
}
