package supervise

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestProcessEnd(t *testing.T) {
	for _, test := range []struct {
		role   string
		code   int
		normal bool
	}{{"ok", 0, true}, {"fail", 7, false}} {
		p, err := startProcess(program(t, test.role))
		if err != nil {
			t.Fatal(err)
		}
		<-p.done
		if p.code != test.code || p.sig != 0 || p.normal() != test.normal {
			t.Errorf("%s: code %d, signal %v, normal %v", test.role, p.code, p.sig, p.normal())
		}
		p.signal(syscall.SIGTERM) // after the end: reaches nobody
	}
}

func TestProcessMissing(t *testing.T) {
	_, err := startProcess(Spec{Path: "./no-such-program"})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "./no-such-program") {
		t.Errorf("error %v: want one that names the program", err)
	}
}

func TestProcessOutput(t *testing.T) {
	out := make(lineChan, 10)
	spec := program(t, "stubborn")
	spec.Stdout, spec.Prefix = out, "checkout-0 | "
	p, err := startProcess(spec)
	if err != nil {
		t.Fatal(err)
	}
	if got := <-out; got != "checkout-0 | ignoring" {
		t.Errorf("line %q", got)
	}
	p.signal(syscall.SIGKILL)
	<-p.done
	if p.sig != syscall.SIGKILL || p.normal() {
		t.Errorf("code %d, signal %v: want SIGKILL", p.code, p.sig)
	}
}

// What a child started ends with it, even if the child is killed.
func TestProcessGroupEndsWithItsLeader(t *testing.T) {
	out := make(lineChan, 10)
	spec := program(t, "parent")
	spec.Stdout = out
	p, err := startProcess(spec)
	if err != nil {
		t.Fatal(err)
	}
	grandchild := 0
	for grandchild == 0 {
		fmt.Sscanf(<-out, "grandchild %d", &grandchild)
	}
	syscall.Kill(p.pid, syscall.SIGKILL) // the leader only
	<-p.done
	awaitGone(t, grandchild)
}

// A supervisor that is killed leaves no child behind.
func TestProcessEndsWithItsSupervisor(t *testing.T) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), roleEnv+"=supervisor")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var child int
	if _, err := fmt.Fscanf(bufio.NewReader(out), "child %d", &child); err != nil {
		t.Fatal(err)
	}
	fd, err := unix.PidfdOpen(child, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	cmd.Process.Kill()
	cmd.Wait()
	poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	for {
		n, err := unix.Poll(poll, 10_000)
		if err == unix.EINTR {
			continue
		}
		if n != 1 {
			t.Fatalf("child %d outlives its supervisor", child)
		}
		return
	}
}

// awaitGone waits until pid is no running process any more (a zombie that
// nobody reaps counts as gone).
func awaitGone(t *testing.T, pid int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 2000 {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil || strings.Contains(string(stat), ") Z ") {
			return
		}
		<-tick.C
	}
	t.Fatalf("process %d still runs", pid)
}
