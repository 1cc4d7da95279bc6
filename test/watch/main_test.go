// Package watch sends the telemetry of real sidecars to real backends, as the
// files in deploy/telemetry set them up: an OpenTelemetry Collector, Jaeger and
// Prometheus. What these show is what a user sees.
package watch

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// insideEnv says that this process has the namespace.
const insideEnv = "WATCH_INSIDE"

// TestMain runs the tests in a network namespace of their own, where the
// backends' usual ports, which the files name, are free and nothing is reached
// by mistake.
func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) == "" {
		os.Exit(inside())
	}
	if err := loopbackUp(); err != nil {
		fmt.Println("watch: loopback:", err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// inside runs this program again, in a namespace.
func inside() int {
	runtime.LockOSThread() // the child ends with the thread that made it
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), insideEnv+"=yes")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if uid := os.Getuid(); uid != 0 { // then in a user namespace, where it may
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return max(exit.ExitCode(), 1)
	}
	fmt.Println("watch: a network namespace:", err)
	return 1
}

func loopbackUp() error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, ifr)
}
