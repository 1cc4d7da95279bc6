package supervise

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func meshedPool(t *testing.T, out lineChan) (*Pool, recorder) {
	t.Helper()
	events := newRecorder()
	m := Meshed{
		Name: "checkout", Namespace: "default", Port: 8080, ProxyEnv: true,
		Command: []string{os.Args[0]}, Env: env("serve"),
		Sidecar: os.Args[0], SidecarEnv: env("sidecar"),
		MeshdXDS: "127.0.0.1:1", StateDir: t.TempDir(),
	}
	if out != nil {
		m.Stdout, m.Stderr = out, out
	}
	p := NewPool(PoolConfig{
		Name: "checkout", Ports: MeshedPorts, Build: m.Build,
		Backoff: DefaultBackoff(), Intensity: DefaultIntensity(), OnEvent: events.add,
	})
	t.Cleanup(func() {
		p.Kill()
		p.Wait()
	})
	return p, events
}

func scale(t *testing.T, p *Pool, n int) {
	t.Helper()
	if err := p.Scale(n); err != nil {
		t.Fatal(err)
	}
}

func TestPoolScale(t *testing.T) {
	p, events := meshedPool(t, nil)
	scale(t, p, 3)
	for range 3 {
		events.kind(t, "", Ready)
	}
	if got := p.Instances(); !slices.Equal(got, []string{"checkout-0", "checkout-1", "checkout-2"}) {
		t.Errorf("instances %v", got)
	}
	scale(t, p, 1)
	seen := append(events.until(t, "stopped", func(e Event) bool { return e.Kind == Stopped }),
		events.until(t, "stopped", func(e Event) bool { return e.Kind == Stopped })...)
	for _, name := range []string{"checkout-1", "checkout-2"} {
		var order []string
		for _, e := range seen {
			if e.Instance == name {
				order = append(order, e.Process+" "+e.Kind.String())
			}
			if e.Kind == Exited && (e.Code != 0 || e.Signal != 0) {
				t.Errorf("not drained: %v", e)
			}
		}
		if want := []string{" draining", "sidecar exited", "app exited", " stopped"}; !slices.Equal(order, want) {
			t.Errorf("%s: %v, want %v", name, order, want)
		}
	}
	if p.Size() != 1 {
		t.Errorf("size %d, want 1", p.Size())
	}
	if err := p.Scale(-1); err == nil {
		t.Error("scaled to -1")
	}
}

func TestPoolTellsTheApplication(t *testing.T) {
	out := make(lineChan, 100)
	p, _ := meshedPool(t, out)
	scale(t, p, 1)
	want := map[string]bool{"checkout-0 | serving checkout-0": true, "checkout-0 sidecar | serving ": true}
	for len(want) > 0 {
		delete(want, <-out)
	}
	env := Meshed{Name: "a", Namespace: "b", ProxyEnv: true}.appEnv("a-0", 81, "127.0.0.1:82")
	for _, kv := range []string{"PORT=81", "MESHD_SERVICE=a", "MESHD_NAMESPACE=b", "MESHD_INSTANCE=a-0",
		"MESHD_OUTBOUND=127.0.0.1:82", "HTTP_PROXY=http://127.0.0.1:82", "http_proxy=http://127.0.0.1:82"} {
		if !slices.Contains(env, kv) {
			t.Errorf("%s is not in %v", kv, env)
		}
	}
}

// A killed sidecar accepts again within 300 ms, on the same port, and its
// application notices nothing.
func TestKilledSidecarIsBackSoon(t *testing.T) {
	p, events := meshedPool(t, nil)
	scale(t, p, 1)
	seen := events.until(t, "ready", func(e Event) bool { return e.Process == "" && e.Kind == Ready })
	pid := 0
	for _, e := range seen {
		if e.Process == "sidecar" && e.Kind == Started {
			pid = e.PID
		}
	}
	killed := time.Now()
	syscall.Kill(pid, syscall.SIGKILL)
	after := events.until(t, "ready again", func(e Event) bool { return e.Process == "" && e.Kind == Ready })
	if d := after[len(after)-1].Time.Sub(killed); d > 300*time.Millisecond {
		t.Errorf("back after %v, want at most 300ms", d)
	}
	for _, e := range after {
		if e.Process == "app" {
			t.Errorf("the application noticed: %v", e)
		}
	}
}

func TestPoolCrash(t *testing.T) {
	p, events := meshedPool(t, nil)
	scale(t, p, 1)
	events.kind(t, "", Ready)
	if p.Crash("checkout-9", "") {
		t.Error("crashed an instance that does not exist")
	}
	if !p.Crash("checkout-0", "") {
		t.Error("checkout-0 not found")
	}
	exits := 0
	events.until(t, "ready again", func(e Event) bool {
		if e.Kind == Exited {
			exits++
		}
		return e.Process == "" && e.Kind == Ready
	})
	if exits != 2 {
		t.Errorf("%d processes were killed, want 2", exits)
	}
}

// An instance that is given up leaves the others alone and its place empty
// until somebody scales.
func TestPoolGivesUpOne(t *testing.T) {
	events := newRecorder()
	p := NewPool(PoolConfig{
		Name: "a", Intensity: Intensity{Max: 2, Window: time.Minute}, OnEvent: events.add,
		Build: func(instance string, _ []int) ([]Spec, error) {
			if instance == "a-1" {
				return []Spec{program(t, "fail")}, nil
			}
			return []Spec{program(t, "stubborn")}, nil
		},
	})
	changed := p.Changed()
	scale(t, p, 2)
	if e := events.kind(t, "", GivenUp); e.Instance != "a-1" || !errors.Is(e.Err, ErrGivenUp) {
		t.Errorf("event %v", e)
	}
	<-changed
	if got := p.Instances(); !slices.Equal(got, []string{"a-0"}) {
		t.Errorf("instances %v", got)
	}
	p.Kill()
	p.Wait()
	scale(t, p, 3) // closed: nothing
	if p.Size() != 0 {
		t.Errorf("size %d after Kill", p.Size())
	}
}

// A port that somebody else was faster to take is replaced.
func TestPoolTakesOtherPorts(t *testing.T) {
	thief, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer thief.Close()
	stolen := thief.Addr().(*net.TCPAddr).Port
	var built atomic.Int32
	events := newRecorder()
	p := NewPool(PoolConfig{
		Name: "a", Ports: 1, Backoff: DefaultBackoff(), Intensity: DefaultIntensity(), OnEvent: events.add,
		Build: func(_ string, ports []int) ([]Spec, error) {
			port := ports[0]
			if built.Add(1) == 1 {
				port = stolen
			}
			s := program(t, "serve")
			s.Env = append(s.Env, "PORT="+strconv.Itoa(port))
			// Not ready because another process accepts, as in real life only
			// the sidecar's own answer counts.
			s.Ready, s.Ports = Probe{HTTP: fmt.Sprintf("http://127.0.0.1:%d/", port)}, []int{port}
			return []Spec{s}, nil
		},
	})
	thief.(*net.TCPListener).SetDeadline(time.Now()) // it never answers
	scale(t, p, 1)
	events.kind(t, "", Ready)
	if built.Load() != 2 {
		t.Errorf("built %d times, want 2", built.Load())
	}
	p.Stop()
	p.Wait()
}

func TestBuildNeedsItsStateDirectory(t *testing.T) {
	file := t.TempDir() + "/file"
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Meshed{Name: "a", Command: []string{"x"}, StateDir: file}.Build("a-0", []int{1, 2, 3, 4})
	if err == nil || !strings.Contains(err.Error(), "state directory of a-0") {
		t.Errorf("error %v", err)
	}
}

func TestFreePorts(t *testing.T) {
	ports, err := FreePorts(20, map[int]bool{})
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, port := range ports {
		if seen[port] || portTaken(port) {
			t.Errorf("port %d is given twice or not free", port)
		}
		seen[port] = true
	}
}
