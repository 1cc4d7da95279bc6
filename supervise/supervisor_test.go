package supervise

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// A machine starts processes that exist only in the test.
type machine struct {
	procs  []*process // all that were ever started
	names  []string
	fail   error
	taken  int
	ignore syscall.Signal // does not end a process
}

func (m *machine) system() system {
	return system{
		start: func(s Spec) (*process, error) {
			if m.fail != nil {
				return nil, m.fail
			}
			p := &process{pid: len(m.procs) + 1, done: make(chan struct{})}
			p.signal = func(sig syscall.Signal) {
				if sig != m.ignore {
					end(p, 0, sig)
				}
			}
			m.procs, m.names = append(m.procs, p), append(m.names, s.Name)
			return p, nil
		},
		ready:  func(context.Context, Probe) error { return nil },
		taken:  func(port int) bool { return port == m.taken },
		random: func() float64 { return 0 },
	}
}

func end(p *process, code int, sig syscall.Signal) {
	select {
	case <-p.done:
	default:
		p.code, p.sig = code, sig
		close(p.done)
	}
}

type history struct {
	start  time.Time
	events []string
}

func (h *history) add(e Event) {
	h.events = append(h.events, fmt.Sprintf("%v %v", e.Time.Sub(h.start), e))
}

func (h *history) check(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(h.events, want) {
		t.Errorf("events:\n  %s\nwant:\n  %s", strings.Join(h.events, "\n  "), strings.Join(want, "\n  "))
	}
	h.events = nil
}

func pair() []Spec {
	return []Spec{
		{Name: "app", Grace: 10 * time.Second, Significant: true},
		{Name: "sidecar", Grace: 30 * time.Second},
	}
}

func begin(m *machine, children []Spec) (*Supervisor, *history) {
	h := &history{start: time.Now()}
	s := startOn(m.system(), Config{
		Name: "a-0", Children: children,
		Backoff: DefaultBackoff(), Intensity: Intensity{Max: 4, Window: time.Minute}, OnEvent: h.add,
	})
	synctest.Wait()
	return s, h
}

func TestOneForOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		s, h := begin(m, pair())
		slices.Sort(h.events[2:4]) // they become ready in any order
		h.check(t, "0s a-0 app started (pid 1)", "0s a-0 sidecar started (pid 2)",
			"0s a-0 app ready", "0s a-0 sidecar ready", "0s a-0 ready")
		time.Sleep(time.Second)
		synctest.Wait()
		end(m.procs[1], 0, syscall.SIGKILL)
		synctest.Wait()
		h.check(t, "1s a-0 sidecar exited by signal 9 (killed)", "1s a-0 sidecar restarting",
			"1s a-0 sidecar started (pid 3)", "1s a-0 sidecar ready", "1s a-0 ready")
		end(m.procs[2], 2, 0)
		time.Sleep(time.Second)
		synctest.Wait()
		h.check(t, "1s a-0 sidecar exited with code 2", "1s a-0 sidecar restarting in 50ms",
			"1.05s a-0 sidecar started (pid 4)", "1.05s a-0 sidecar ready", "1.05s a-0 ready")
		s.Stop()
		<-s.Done()
		h.check(t, "2s a-0 draining", "2s a-0 sidecar exited by signal 15 (terminated)",
			"2s a-0 app exited by signal 15 (terminated)", "2s a-0 stopped")
		if err := s.Err(); err != nil {
			t.Error(err)
		}
	})
}

func TestStopEscalates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{ignore: syscall.SIGTERM}
		s, h := begin(m, pair())
		h.events = nil
		s.Stop()
		<-s.Done()
		h.check(t, "0s a-0 draining", "30s a-0 sidecar exited by signal 9 (killed)",
			"40s a-0 app exited by signal 9 (killed)", "40s a-0 stopped")
	})
}

func TestKillDuringStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{ignore: syscall.SIGTERM}
		s, _ := begin(m, pair())
		s.Stop()
		time.Sleep(time.Second)
		synctest.Wait()
		s.Kill()
		start := time.Now()
		<-s.Done()
		if d := time.Since(start); d != 0 {
			t.Errorf("took %v after Kill", d)
		}
	})
}

func TestStopDuringBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{fail: errors.New("no such program")}
		s, h := begin(m, pair()[:1])
		h.check(t, "0s a-0 app exited: no such program", "0s a-0 app restarting",
			"0s a-0 app exited: no such program", "0s a-0 app restarting in 50ms")
		s.Stop()
		<-s.Done()
		h.check(t, "0s a-0 draining", "0s a-0 stopped")
	})
}

func TestIntensity(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		s, h := begin(m, pair())
		for i := 0; i < 5; i++ {
			end(m.procs[len(m.procs)-1], 1, 0)
			time.Sleep(time.Second)
			synctest.Wait()
		}
		<-s.Done()
		if err := s.Err(); !errors.Is(err, ErrGivenUp) || !strings.Contains(err.Error(), "a-0 sidecar: restarts too often: more than 4 times in 1m0s") {
			t.Errorf("error %v", err)
		}
		h.events = h.events[len(h.events)-4:]
		h.check(t, "4s a-0 given up: a-0 sidecar: restarts too often: more than 4 times in 1m0s",
			"4s a-0 draining", "4s a-0 app exited by signal 15 (terminated)", "4s a-0 stopped")
	})
}

// A child that stays up for Backoff.Reset restarts at once, and restarts
// older than the window do not count, however many.
func TestSlowFailuresGoOnForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{}
		s, h := begin(m, pair())
		for range 50 {
			h.events = nil
			time.Sleep(20 * time.Second)
			synctest.Wait()
			end(m.procs[len(m.procs)-1], 1, 0)
			synctest.Wait()
			if len(h.events) != 5 || !strings.HasSuffix(h.events[1], "sidecar restarting") {
				t.Fatalf("events %q", h.events)
			}
		}
		s.Kill()
		<-s.Done()
	})
}

func TestRestartKinds(t *testing.T) {
	for _, test := range []struct {
		restart Restart
		code    int
		again   bool
	}{
		{Permanent, 0, true}, {Permanent, 1, true},
		{Transient, 0, false}, {Transient, 1, true},
		{Temporary, 0, false}, {Temporary, 1, false},
	} {
		synctest.Test(t, func(t *testing.T) {
			m := &machine{}
			children := pair()
			children[0].Restart = test.restart
			s, _ := begin(m, children)
			end(m.procs[0], test.code, 0)
			synctest.Wait()
			if again := len(m.procs) == 3; again != test.again {
				t.Errorf("%v after code %d: restarted %v, want %v", test.restart, test.code, again, test.again)
			}
			if test.again {
				s.Stop()
			}
			<-s.Done() // the significant child takes the other with it
			if err := s.Err(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestPortTaken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &machine{taken: 4711}
		sys := m.system()
		sys.ready = func(ctx context.Context, _ Probe) error { <-ctx.Done(); return ctx.Err() }
		children := pair()
		children[1].Ports = []int{1, 4711}
		s := startOn(sys, Config{Name: "a-0", Children: children, Intensity: DefaultIntensity()})
		synctest.Wait()
		end(m.procs[1], 1, 0)
		if err := s.Err(); !errors.Is(err, ErrPortTaken) || !strings.Contains(err.Error(), "4711") {
			t.Errorf("error %v", err)
		}
	})
}

func TestBackoffDelay(t *testing.T) {
	b := Backoff{Base: 100 * time.Millisecond, Max: time.Second}
	for _, test := range []struct {
		n        int
		low, top time.Duration
	}{
		{1, 0, 0}, {2, 50 * time.Millisecond, 100 * time.Millisecond}, {3, 100 * time.Millisecond, 200 * time.Millisecond},
		{6, 500 * time.Millisecond, time.Second}, {60, 500 * time.Millisecond, time.Second},
	} {
		if low, top := b.delay(test.n, 0), b.delay(test.n, 1); low != test.low || top != test.top {
			t.Errorf("delay %d: %v to %v, want %v to %v", test.n, low, top, test.low, test.top)
		}
	}
}

func TestParseRestart(t *testing.T) {
	for r := Permanent; r <= Temporary; r++ {
		if got, err := ParseRestart(r.String()); got != r || err != nil {
			t.Errorf("%v: %v, %v", r, got, err)
		}
	}
	if _, err := ParseRestart("always"); err == nil || !strings.Contains(err.Error(), "permanent, transient or temporary") {
		t.Errorf("error %v: want the accepted values", err)
	}
}
