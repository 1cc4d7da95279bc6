package chaos

import (
	"bufio"
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/tail"
	"github.com/meshd/meshd/supervise"
)

// A process is a child that ends with this test, whatever ends it.
type process struct {
	name string
	pid  int
	out  tail.Buffer
	done chan struct{} // closed when it has ended
}

// start runs a program; the test's end kills it, and tells what it wrote last
// if the test failed.
func start(t *testing.T, name string, env []string, path string, args ...string) *process {
	t.Helper()
	p := &process{name: name, done: make(chan struct{})}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	cmd.WaitDelay = time.Second
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
		t.Fatalf("%s: %v", name, err)
	}
	p.pid = cmd.Process.Pid
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s wrote last:\n%s", name, &p.out)
		}
	})
	return p
}

// kill is kill -9, and waits for the end.
func (p *process) kill() {
	select {
	case <-p.done:
	default:
		syscall.Kill(p.pid, syscall.SIGKILL) // fails only if it has ended just now
		<-p.done
	}
}

// terminate is SIGTERM, and waits for the end.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	sendSignal(t, syscall.SIGTERM, p.pid)
	await(t, patience, func() error {
		select {
		case <-p.done:
			return nil
		default:
			return fmt.Errorf("%s has not ended after SIGTERM", p.name)
		}
	})
}

// kill9 kills processes that are somebody else's children.
func kill9(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		sendSignal(t, syscall.SIGKILL, pid)
	}
}

func sendSignal(t *testing.T, sig syscall.Signal, pid int) {
	t.Helper()
	if pid <= 1 {
		t.Fatalf("no process to signal: pid %d", pid)
	}
	if err := syscall.Kill(pid, sig); err != nil {
		t.Fatalf("%v to %d: %v", sig, pid, err)
	}
}

// gone reports that a process runs no more, reaped or not.
func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, state, _ := bytes.Cut(b, []byte(") "))
	return bytes.HasPrefix(state, []byte("Z")) || bytes.HasPrefix(state, []byte("X"))
}

// rss is VmRSS, in bytes.
func rss(t *testing.T, pid int) int64 {
	t.Helper()
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if kb, ok := strings.CutPrefix(s.Text(), "VmRSS:"); ok {
			n, err := strconv.ParseInt(strings.Fields(kb)[0], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n << 10
		}
	}
	t.Fatalf("pid %d has no VmRSS: it has ended", pid)
	return 0
}

// descriptors counts the open ones of a process.
func descriptors(t *testing.T, pid int) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// addrs are n free addresses of loopback, outside of the range from which
// outgoing connections take theirs.
func addrs(t *testing.T, n int) []string {
	t.Helper()
	ports, err := supervise.FreePorts(n, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range ports {
		out = append(out, net.JoinHostPort("127.0.0.1", strconv.Itoa(p)))
	}
	return out
}

// await polls cond until it returns nil, and returns how long that took.
func await(t *testing.T, within time.Duration, cond func() error) time.Duration {
	t.Helper()
	from := time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		err := cond()
		took := time.Since(from)
		if err == nil {
			return took
		}
		if took > within {
			t.Fatalf("not within %v: %v", within, err)
		}
		<-tick.C
	}
}
