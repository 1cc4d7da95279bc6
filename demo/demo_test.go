package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meshd/meshd/ctl/ctltest"
)

// The test binary is the demo's services too, when it is run as
// `demo service --role ROLE`.
const serviceEnv = "DEMO_TEST_SERVICE"

func TestMain(m *testing.M) {
	ctltest.Main()
	if os.Getenv(serviceEnv) != "" {
		serviceMain()
	}
	goleak.VerifyTestMain(m)
}

func serviceMain() {
	l, err := net.Listen("tcp", "127.0.0.1:"+os.Getenv("PORT"))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	cfg := ServiceConfig{Role: os.Args[4], Instance: os.Getenv("MESHD_INSTANCE"), Outbound: os.Getenv("MESHD_OUTBOUND"), Listener: l}
	if len(os.Args) > 6 {
		cfg.Workers, _ = strconv.Atoi(os.Args[6])
	}
	ctx, stop := terminated()
	defer stop()
	if err := RunService(ctx, cfg); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

func setup(t *testing.T) Setup {
	t.Helper()
	t.Setenv("TMPDIR", t.TempDir())
	return Setup{
		Self: os.Args[0], SelfEnv: append(ctltest.Env(""), serviceEnv+"=1"),
		Sidecar: os.Args[0], SidecarEnv: ctltest.Env("sidecar"),
		Meshd: os.Args[0], MeshdEnv: ctltest.Env("meshd"),
		XDSAddr: "127.0.0.1:0", HTTPAddr: "127.0.0.1:0", Kill: make(chan struct{}),
		Log: testLog{t},
	}
}

type testLog struct{ t *testing.T }

func (l testLog) Write(p []byte) (int, error) {
	l.t.Logf("%s", strings.TrimSpace(string(p)))
	return len(p), nil
}

// output lets a test wait for a line.
type output struct {
	mu    sync.Mutex
	all   strings.Builder
	grown chan struct{}
}

func newOutput() *output { return &output{grown: make(chan struct{})} }

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all.Write(p)
	close(o.grown)
	o.grown = make(chan struct{})
	return len(p), nil
}

func (o *output) await(t *testing.T, pattern string) []string {
	t.Helper()
	re := regexp.MustCompile(pattern)
	timeout := time.After(30 * time.Second)
	for {
		o.mu.Lock()
		text, grown := o.all.String(), o.grown
		o.mu.Unlock()
		if m := re.FindStringSubmatch(text); m != nil {
			return m
		}
		select {
		case <-grown:
		case <-timeout:
			t.Fatalf("no %q in:\n%s", pattern, text)
		}
	}
}

// nothingLeft looks for what Run may have left in the temporary directory.
func nothingLeft(t *testing.T) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(os.TempDir(), "*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v %v", left, err)
	}
}

// The demo runs under load, is killed, slowed, scaled and reset, and leaves
// nothing behind.
func TestDemo(t *testing.T) {
	out := newOutput()
	cfg := Config{Setup: setup(t), Replicas: 1, Rate: 50, Interval: 100 * time.Millisecond, Out: out, Socket: filepath.Join(t.TempDir(), "s")}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, cfg) }()
	out.await(t, `load: 5\d calls/s, 0 failed`)
	tell := func(action, service, want string) {
		t.Helper()
		if said, err := Tell(ctx, cfg.Socket, action, service); err != nil || said != want {
			t.Errorf("%s %s: %q, %v, want %q", action, service, said, err, want)
		}
	}
	tell("slow", Slow, "slow-0 takes 25ms longer for each call")
	if _, err := Tell(ctx, cfg.Socket, "slow", Slow); err == nil || !strings.Contains(err.Error(), "every instance of slow is slowed down already") {
		t.Errorf("slowed twice: %v", err)
	}
	tell("reset", "", "reset: 1 instances each, none slowed down")
	tell("kill", Fast, "fast-0 killed")
	out.await(t, `(?s)fast-0 app exited by signal 9 .*fast-0 ready`)
	if _, err := Tell(ctx, cfg.Socket, "kill", "nobody"); err == nil || !strings.Contains(err.Error(), "front, fast, slow") {
		t.Errorf("killed nobody: %v", err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	out.await(t, `\d+ calls in \d+s: `)
	nothingLeft(t)
}

func TestDemoEndsByItself(t *testing.T) {
	cfg := Config{Setup: setup(t), Replicas: 1, Rate: 50, Duration: 300 * time.Millisecond, Interval: time.Second, Out: io.Discard, Socket: filepath.Join(t.TempDir(), "s")}
	if err := Run(context.Background(), cfg); err != nil {
		t.Error(err)
	}
	nothingLeft(t)
}

func TestDemoSaysWhyItDoesNotStart(t *testing.T) {
	cfg := Config{Setup: setup(t), Replicas: 1, Rate: 50, Interval: time.Second, Out: io.Discard}
	cfg.Meshd, cfg.Log = "/bin/ls", nil // does not know the flags
	cfg.MeshdEnv = nil
	err := Run(context.Background(), cfg)
	if err == nil || !strings.Contains(err.Error(), "meshd: restarts too often") || !strings.Contains(err.Error(), "the last output was") {
		t.Errorf("error %v", err)
	}
	nothingLeft(t)
}

func TestExperiments(t *testing.T) {
	for _, name := range Experiments() {
		t.Run(name, func(t *testing.T) {
			out := newOutput()
			cfg := ExperimentConfig{Setup: setup(t), Name: name, Rate: 60, Step: 600 * time.Millisecond, Out: out, Picture: filepath.Join(t.TempDir(), "p.svg"), Report: filepath.Join(t.TempDir(), "r.html")}
			if err := Experiment(context.Background(), cfg); err != nil {
				t.Fatal(err)
			}
			t.Log(out.all.String())
			svg, err := os.ReadFile(cfg.Picture)
			if err != nil || !strings.Contains(string(svg), "<svg") {
				t.Errorf("picture: %.40q, %v", svg, err)
			}
			nothingLeft(t)
		})
	}
	if err := Experiment(context.Background(), ExperimentConfig{Name: "clowns"}); err == nil || !strings.Contains(err.Error(), "servers workers") {
		t.Errorf("error %v", err)
	}
}

func TestTellWithoutDemo(t *testing.T) {
	if _, err := Tell(context.Background(), filepath.Join(t.TempDir(), "s"), "kill", Slow); err == nil || !strings.Contains(err.Error(), "meshctl demo") {
		t.Errorf("error %v", err)
	}
}

// A socket that a killed demo left behind is taken over; a live one is not.
func TestListen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := listen(path); err == nil || !strings.Contains(err.Error(), "another demo") {
		t.Errorf("error %v", err)
	}
	l.SetUnlinkOnClose(false)
	l.Close()
	again, remove, err := listen(path)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	remove()
	if _, err := os.Stat(filepath.Dir(path)); err != nil {
		t.Errorf("a directory that was there is gone: %v", err)
	}
	own := filepath.Join(t.TempDir(), "own", "s")
	mine, remove, err := listen(own)
	if err != nil {
		t.Fatal(err)
	}
	mine.Close()
	remove()
	if _, err := os.Stat(filepath.Dir(own)); !os.IsNotExist(err) {
		t.Errorf("its own directory is still there: %v", err)
	}
}

func TestSocketPath(t *testing.T) {
	if got := SocketPath(func(string) string { return "/run/user/1" }); got != "/run/user/1/meshctl-demo.sock" {
		t.Error(got)
	}
}
