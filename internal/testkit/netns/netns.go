// Package netns gives tests network namespaces of their own: real kernels, real routes,
// real firewalls, and nothing that outlives the test.
//
// A namespace is held by a descriptor and has no name, so that it ends with the test
// process even when that is killed; links, addresses and rules inside go with it.
// No binary is needed (not ip, not unshare), only root.
package netns

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// NS is a network namespace with its loopback interface up. Its methods are safe for
// concurrent use until the test that made it ends.
type NS struct {
	f *os.File
}

// Require skips the test, in one line, where network namespaces cannot be made because
// the process is not root. Where it is root, as in CI, nothing is skipped.
func Require(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skipf("%s needs root: it makes network namespaces", t.Name())
	}
}

// New makes an empty namespace, skipping the test like Require, and closes it when the
// test ends. It vanishes once the last socket and process inside are gone as well.
func New(t testing.TB) *NS {
	t.Helper()
	Require(t)
	var f *os.File
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		var err error
		f, err = os.Open(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()))
		return err
	})
	if err != nil {
		t.Fatalf("network namespace: %v", err)
	}
	n := &NS{f: f}
	t.Cleanup(func() { n.f.Close() })
	n.Up(t, "lo")
	return n
}

// Do runs fn on a thread inside the namespace and returns its error. Sockets that fn
// opens stay in the namespace wherever they are used later; goroutines that fn starts do
// not run in it. The thread is fn's own and thrown away afterwards, so fn may change its
// credentials. fn runs on another goroutine: it must not call t.Fatal.
func (n *NS) Do(fn func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(n.f.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("setns: %w", err)
		}
		return fn()
	})
}

// DoAs is Do with the file-system user id uid, which is what sockets opened by fn belong
// to (nftables: meta skuid). Capabilities over the network are kept.
func (n *NS) DoAs(uid int, fn func() error) error {
	return n.Do(func() error {
		// Raw, and not through package syscall: it must change this thread only.
		if _, _, errno := unix.RawSyscall(unix.SYS_SETFSUID, uintptr(uid), 0, 0); errno != 0 {
			return fmt.Errorf("setfsuid %d: %w", uid, errno)
		}
		return fn()
	})
}

// Start starts cmd inside the namespace; the caller waits for it.
func (n *NS) Start(cmd *exec.Cmd) error {
	// A child begins in the namespace of the thread that forks it.
	return n.Do(cmd.Start)
}

// Sysctl writes a setting such as "net/ipv6/conf/all/forwarding" of this namespace.
func (n *NS) Sysctl(t testing.TB, path, value string) {
	t.Helper()
	err := n.Do(func() error { return os.WriteFile("/proc/sys/"+path, []byte(value), 0o644) })
	if err != nil {
		t.Fatalf("sysctl %s: %v", path, err)
	}
}

// onThread runs fn on a new thread and destroys the thread: a goroutine that ends while
// locked takes its thread along.
func onThread(fn func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		done <- fn()
	}()
	return <-done
}
