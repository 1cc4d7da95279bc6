package e2e

import (
	"bytes"
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

// A program is what start runs.
type program struct {
	name string
	ns   *netns.NS // nil: where the test itself runs
	uid  int       // 0: the test's own
	env  []string  // all that there is, beside PATH
	path string
	args []string
}

// A process is a child that ends with this test, whatever ends it.
type process struct {
	cmd  *exec.Cmd
	out  tail.Buffer
	done chan struct{} // closed when it has ended
}

// start runs a program; the test's end kills it, and tells what it wrote last
// if the test failed.
func start(t *testing.T, p program) *process {
	t.Helper()
	proc := &process{cmd: command(t, p), done: make(chan struct{})}
	cmd := proc.cmd
	cmd.Stdout, cmd.Stderr = &proc.out, &proc.out
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	started := make(chan error, 1)
	run := func() error {
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended is told by what it wrote
			close(proc.done)
		}
		return nil
	}
	// Pdeathsig comes when the thread that forked ends: it waits.
	if p.ns != nil {
		go func() {
			if err := p.ns.Do(run); err != nil {
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
		t.Fatalf("%s: %v", p.name, err)
	}
	t.Cleanup(func() {
		proc.kill()
		if t.Failed() {
			t.Logf("%s wrote last:\n%s", p.name, &proc.out)
		}
	})
	return proc
}

// output runs a program to its end and returns what it wrote.
func output(t *testing.T, p program) string {
	t.Helper()
	cmd := command(t, p)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	run := cmd.Run
	if p.ns != nil {
		run = func() error { return p.ns.Do(cmd.Run) }
	}
	if err := run(); err != nil {
		t.Fatalf("%s %q: %v\n%s", p.name, p.args, err, &out)
	}
	return out.String()
}

func command(t *testing.T, p program) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, p.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if p.uid != 0 {
		cmd.Path = readable(t, p.path)
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(p.uid), Gid: uint32(p.uid)}
	}
	return cmd
}

// readable is a copy of a program where every user may run it, wherever the
// work tree is.
func readable(t *testing.T, path string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "e2e")
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

// kill is kill -9, and waits for the end.
func (p *process) kill() {
	select {
	case <-p.done:
	default:
		_ = p.cmd.Process.Kill() // fails only if it has ended just now
		<-p.done
	}
}

// stop is SIGTERM, and waits for the end.
func (p *process) stop(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Errorf("%s has not ended %v after SIGTERM", p.cmd.Path, patience)
	}
}
