package process

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// roleEnv makes this binary a child that reports and then waits to be ended.
const roleEnv = "PROCESS_ROLE"

func TestMain(m *testing.M) {
	if os.Getenv(roleEnv) == "child" {
		fmt.Println("child of", os.Getppid())
		// Until a signal comes. A bare select would be a deadlock to the runtime,
		// whenever it looks.
		<-time.NewTimer(time.Hour).C
	}
	goleak.VerifyTestMain(m)
}

func child(t *testing.T) *Process {
	t.Helper()
	p := Run(t, Spec{Name: "child", Path: os.Args[0], Env: []string{roleEnv + "=child", "GOTRACEBACK=none"}})
	Await(t, 10*time.Second, func() error {
		if !strings.Contains(p.Out.String(), fmt.Sprint("child of ", os.Getpid())) {
			return fmt.Errorf("it says %q", &p.Out)
		}
		return nil
	})
	return p
}

func TestKill(t *testing.T) {
	p := child(t)
	if p.Ended() || Gone(p.PID) {
		t.Fatal("it has ended by itself")
	}
	if rss := p.RSS(t); rss < 1<<20 || rss > 1<<30 {
		t.Errorf("RSS %d bytes", rss)
	}
	if n := Descriptors(t, p.PID); n < 3 {
		t.Errorf("%d descriptors", n)
	}
	p.Kill()
	p.Kill() // a second time is harmless
	if !p.Ended() || !Gone(p.PID) || p.ExitCode() != -1 {
		t.Errorf("after kill: ended %v, gone %v, exit status %d", p.Ended(), Gone(p.PID), p.ExitCode())
	}
}

func TestTerminate(t *testing.T) {
	p := child(t)
	p.Terminate(t, 10*time.Second)
	if !p.Ended() {
		t.Error("it has not ended")
	}
}

func TestOutput(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Fatal(err)
	}
	if got := Output(t, Spec{Path: sh, Args: []string{"-c", "echo $WORD >&2"}, Env: []string{"WORD=hello"}}); got != "hello" {
		t.Errorf("it wrote %q", got)
	}
}

func TestNotThere(t *testing.T) {
	if _, err := Start(Spec{Path: "/nonexistent/program"}); !errors.Is(err, os.ErrNotExist) || !strings.HasPrefix(err.Error(), "program: start: ") {
		t.Errorf("got %v", err)
	}
}
