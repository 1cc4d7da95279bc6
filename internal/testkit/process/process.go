// Package process starts the programs of whole-system tests as children that
// end with the test, whatever ends it, and looks at them from outside.
package process

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/netns"
	"github.com/meshd/meshd/internal/testkit/tail"
)

// A Spec says what to start.
type Spec struct {
	Name string // in messages; the program's own if empty
	Path string
	Args []string
	Env  []string  // all that there is, beside GORACE; nil: the test's own
	NS   *netns.NS // nil: where the test itself runs
	UID  int       // 0: the test's own
}

// A Process is a child. Its methods are safe for concurrent use.
type Process struct {
	Name string
	PID  int
	Out  tail.Buffer   // what it wrote last, to both of its outputs
	Done chan struct{} // closed when it has ended and been waited for

	cmd *exec.Cmd
}

// Start starts a child, in a process group of its own. It is killed when the
// calling process ends; its end before that is the caller's affair.
func Start(s Spec) (*Process, error) {
	if s.Name == "" {
		s.Name = filepath.Base(s.Path)
	}
	p := &Process{Name: s.Name, Done: make(chan struct{}), cmd: exec.Command(s.Path, s.Args...)}
	if p.cmd.Env = s.Env; s.Env != nil {
		// Where a child says that it has a race: `make race` looks there.
		p.cmd.Env = append([]string{"GORACE=" + os.Getenv("GORACE")}, s.Env...)
	}
	p.cmd.Stdout, p.cmd.Stderr = &p.Out, &p.Out
	p.cmd.WaitDelay = time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if s.UID != 0 {
		p.cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(s.UID), Gid: uint32(s.UID)}
	}
	started := make(chan error, 1)
	run := func() error {
		err := p.cmd.Start()
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // how it ended is told by what it wrote
			close(p.Done)
		}
		return nil
	}
	// Pdeathsig comes when the thread that forked ends: it waits.
	if s.NS != nil {
		go func() {
			if err := s.NS.Do(run); err != nil {
				started <- err
			}
		}()
	} else {
		go func() {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			_ = run()
		}()
	}
	if err := <-started; err != nil {
		return nil, fmt.Errorf("%s: start: %w", s.Name, err)
	}
	p.PID = p.cmd.Process.Pid
	return p, nil
}

// Run is Start for a test: its end kills the child, and tells what that wrote
// last if the test failed.
func Run(t testing.TB, s Spec) *Process {
	t.Helper()
	if s.UID != 0 {
		s.Path = readable(t, s.Path)
	}
	p, err := Start(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("%s wrote last:\n%s", p.Name, &p.Out)
		}
	})
	return p
}

// Output runs a program to its end and returns what it wrote last; the test
// fails unless its exit status is 0.
func Output(t testing.TB, s Spec) string {
	t.Helper()
	p := Run(t, s)
	<-p.Done
	if code := p.ExitCode(); code != 0 {
		t.Fatalf("%s %q: exit status %d\n%s", p.Name, s.Args, code, &p.Out)
	}
	return p.Out.String()
}

// Ended reports whether the child runs no more.
func (p *Process) Ended() bool {
	select {
	case <-p.Done:
		return true
	default:
		return false
	}
}

// ExitCode is that of a child that has ended; -1 if a signal ended it.
func (p *Process) ExitCode() int {
	<-p.Done
	return p.cmd.ProcessState.ExitCode()
}

// Kill is kill -9, and waits for the end.
func (p *Process) Kill() {
	if !p.Ended() {
		_ = p.cmd.Process.Kill() // fails only if it has ended just now
		<-p.Done
	}
}

// Terminate is SIGTERM, and waits for the end; the test fails if that does not
// come in time.
func (p *Process) Terminate(t testing.TB, within time.Duration) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // fails only if it has ended
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-p.Done:
	case <-timer.C:
		t.Errorf("%s has not ended %v after SIGTERM", p.Name, within)
	}
}

// RSS is the resident memory, in bytes.
func (p *Process) RSS(t testing.TB) int64 {
	t.Helper()
	return RSS(t, p.PID)
}

// readable is a copy of a program where every user may run it, wherever the
// work tree is.
func readable(t testing.TB, path string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "process")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, filepath.Base(path))
	if err := os.WriteFile(to, b, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return to
}
