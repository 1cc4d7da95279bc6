package ctl

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/meshd/meshd/ctl/ctltest"
)

// meshctl run starts instances, follows meshctl scale and drains at Ctrl-C.
func TestRun(t *testing.T) {
	m := ctltest.NewMeshd(t)
	for _, kv := range ctltest.Env("sidecar") { // the sidecar has the supervisor's environment
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	interrupts := make(chan os.Signal, 2)
	lines := make(chan string, 1000)
	out := writerFunc(func(p []byte) { lines <- string(p) })
	app := App{
		Out: out, Err: out, Interrupts: interrupts,
		Getenv: func(name string) string { return map[string]string{"MESHD_HTTP": m.URL}[name] },
	}
	code := make(chan int, 1)
	go func() {
		args := []string{"run", "--name", "checkout", "--port", "8080", "--replicas", "2", "--sidecar", os.Args[0], "--state-dir", t.TempDir()}
		for _, kv := range ctltest.Env("app") {
			args = append(args, "--env", kv)
		}
		code <- app.Main(append(args, "--", os.Args[0]))
	}()
	await := func(want ...string) {
		missing := map[string]bool{}
		for _, w := range want {
			missing[w+"\n"] = true
		}
		for len(missing) > 0 {
			delete(missing, <-lines)
		}
	}
	await("meshctl: checkout-0 ready", "meshctl: checkout-1 ready", "checkout-0 | serving checkout-0")
	m.SetScale("default/checkout", 3)
	await("meshctl: checkout-2 ready")
	interrupts <- syscall.SIGINT
	await("meshctl: checkout-0 stopped", "meshctl: checkout-1 stopped", "meshctl: checkout-2 stopped")
	if c := <-code; c != exitOK {
		t.Errorf("exit %d", c)
	}
}

func TestRunKillsAtTheSecondInterrupt(t *testing.T) {
	for _, kv := range ctltest.Env("sidecar") {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	interrupts := make(chan os.Signal, 2)
	out := writerFunc(func(p []byte) {
		switch string(p) {
		case "meshctl: checkout-0 ready\n", "meshctl: checkout-0 draining\n":
			interrupts <- syscall.SIGINT
		}
	})
	app := App{Out: out, Err: out, Interrupts: interrupts, Getenv: func(string) string { return "http://127.0.0.1:1" }}
	args := []string{"run", "--name", "checkout", "--port", "8080", "--replicas", "1", "--grace", "1h", "--sidecar", os.Args[0], "--state-dir", t.TempDir()}
	for _, kv := range ctltest.Env("stubborn") {
		args = append(args, "--env", kv)
	}
	if c := app.Main(append(args, "--", os.Args[0])); c != exitOK {
		t.Errorf("exit %d", c)
	}
}

func TestRunRefusesNamesThatAreTaken(t *testing.T) {
	m := filled(t)
	code, _, err := call(m.URL, "", "run", "--name", "checkout", "--port", "8080", "--sidecar", os.Args[0], "--", "true")
	if code != exitFailed || !strings.Contains(err, "checkout-0 runs already (127.0.0.1:31006, pid 4711)") || !strings.Contains(err, "--instance-prefix") {
		t.Errorf("exit %d, %s", code, err)
	}
	for prefix, want := range map[string]bool{"checkout-": true, "check-": false, "checkout-0-": false} {
		if got := takenBy(m.Status, "default", "checkout", prefix) != nil; got != want {
			t.Errorf("prefix %s: taken %v, want %v", prefix, got, want)
		}
	}
}
