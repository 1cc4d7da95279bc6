package runner

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meshd/meshd/ctl/api"
	"github.com/meshd/meshd/ctl/ctltest"
	"github.com/meshd/meshd/supervise"
)

func TestMain(m *testing.M) {
	ctltest.Main()
	goleak.VerifyTestMain(m)
}

type running struct {
	*Service
	events chan supervise.Event
	log    *buffer
	ended  chan error
	stop   context.CancelFunc
}

func run(t *testing.T, url, role string, change func(*Config)) *running {
	t.Helper()
	client, err := api.NewClient(url)
	if err != nil {
		t.Fatal(err)
	}
	r := &running{events: make(chan supervise.Event, 1000), log: &buffer{}, ended: make(chan error, 1)}
	cfg := Config{
		Meshed: supervise.Meshed{
			Name: "checkout", Namespace: "default", Port: 8080,
			Command: []string{os.Args[0]}, Env: ctltest.Env(role),
			Sidecar: os.Args[0], SidecarEnv: ctltest.Env("sidecar"),
			StateDir: t.TempDir(),
		},
		Replicas: 2, Max: 4, Meshd: client, RetryAfter: 10 * time.Millisecond,
		Intensity: supervise.Intensity{Max: 2, Window: time.Minute},
		OnEvent:   func(e supervise.Event) { r.events <- e },
		Log:       slog.New(slog.NewTextHandler(r.log, nil)),
	}
	if change != nil {
		change(&cfg)
	}
	r.Service = New(cfg)
	ctx, stop := context.WithCancel(context.Background())
	r.stop = stop
	go func() { r.ended <- r.Run(ctx) }()
	t.Cleanup(func() {
		r.Kill()
		stop()
		<-r.ended
		client.Close()
	})
	return r
}

func (r *running) end(t *testing.T) error {
	t.Helper()
	select {
	case err := <-r.ended:
		r.ended <- err
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("Run does not return")
		return nil
	}
}

// await counts events of one kind about whole instances.
func (r *running) await(t *testing.T, kind supervise.Kind, n int) {
	t.Helper()
	timeout := time.After(20 * time.Second)
	for n > 0 {
		select {
		case e := <-r.events:
			if e.Process == "" && e.Kind == kind {
				n--
			}
		case <-timeout:
			t.Fatalf("%d more instances were to be %v", n, kind)
		}
	}
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestFollowsMeshd(t *testing.T) {
	meshd := ctltest.NewMeshd(t)
	r := run(t, meshd.URL, "app", nil)
	r.await(t, supervise.Ready, 2)
	for n, changed := meshd.Scale("default/checkout"); n != 2; n, changed = meshd.Scale("default/checkout") {
		<-changed // it tells meshd the count that meshd did not have
	}
	meshd.SetScale("default/checkout", 3)
	r.await(t, supervise.Ready, 1)
	meshd.SetScale("default/checkout", 1)
	r.await(t, supervise.Stopped, 2)
	meshd.SetScale("default/checkout", 100) // Max is 4
	r.await(t, supervise.Ready, 3)
	if n := r.Pool().Size(); n != 4 {
		t.Errorf("%d instances, want 4", n)
	}
	r.stop()
	if err := r.end(t); err != nil {
		t.Error(err)
	}
	r.await(t, supervise.Stopped, 4)
}

func TestCountInMeshdWins(t *testing.T) {
	meshd := ctltest.NewMeshd(t)
	meshd.SetScale("default/checkout", 1)
	r := run(t, meshd.URL, "app", nil)
	r.await(t, supervise.Stopped, 1)
	if n := r.Pool().Size(); n != 1 {
		t.Errorf("%d instances, want 1", n)
	}
}

func TestCountAskedForWins(t *testing.T) {
	meshd := ctltest.NewMeshd(t)
	meshd.SetScale("default/checkout", 1)
	r := run(t, meshd.URL, "app", func(c *Config) { c.Set = true })
	for n, changed := meshd.Scale("default/checkout"); n != 2; n, changed = meshd.Scale("default/checkout") {
		<-changed
	}
	r.await(t, supervise.Ready, 2)
}

func TestRunsOnWithoutMeshd(t *testing.T) {
	r := run(t, "127.0.0.1:1", "app", nil)
	r.await(t, supervise.Ready, 2)
	r.stop()
	if err := r.end(t); err != nil {
		t.Error(err)
	}
	if n := strings.Count(r.log.String(), "not reachable"); n != 1 {
		t.Errorf("said %d times that meshd is not reachable, want once:\n%s", n, r.log)
	}
}

func TestEndsWhenAllAreGivenUp(t *testing.T) {
	r := run(t, "127.0.0.1:1", "fail", nil)
	if err := r.end(t); !errors.Is(err, supervise.ErrGivenUp) || !strings.Contains(err.Error(), "no instance of checkout is left") {
		t.Errorf("error %v", err)
	}
}

func TestEndsWhenAllHaveFinished(t *testing.T) {
	r := run(t, "127.0.0.1:1", "fail", func(c *Config) { c.Meshed.Restart = supervise.Temporary })
	if err := r.end(t); err != nil {
		t.Error(err)
	}
}

func TestKillDoesNotWait(t *testing.T) {
	r := run(t, "127.0.0.1:1", "stubborn", nil)
	r.await(t, supervise.Ready, 2)
	r.stop()
	r.await(t, supervise.Draining, 2)
	r.Kill()
	if err := r.end(t); err != nil {
		t.Error(err)
	}
}

func TestFindBinary(t *testing.T) {
	if _, err := FindBinary("no-such-program", ""); err == nil || !strings.Contains(err.Error(), "make build") {
		t.Errorf("error %v: want what to do", err)
	}
	if path, err := FindBinary("sh", ""); err != nil || !strings.HasSuffix(path, "/sh") {
		t.Errorf("%q, %v", path, err)
	}
	if path, err := FindBinary("sidecar", "/bin/sh"); err != nil || path != "/bin/sh" {
		t.Errorf("%q, %v", path, err)
	}
}
