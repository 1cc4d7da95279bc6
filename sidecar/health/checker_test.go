package health

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

var tcp = resource.HealthCheck{
	Kind: resource.HealthCheckTCP, Timeout: time.Second, Interval: 10 * time.Second, UnhealthyInterval: 2 * time.Second,
	NoTrafficInterval: time.Minute, Unhealthy: 3, Healthy: 2,
}

// hosts is who answers, behind the Dial of a Monitor.
type hosts struct {
	mu     sync.Mutex
	down   map[string]bool          // by address
	takes  map[string]time.Duration // to connect
	dials  map[string][]time.Duration
	now    func() int64
	active bool
	under  int // dials under way, and the most there were
	most   int
}

func (h *hosts) dial(ctx context.Context, _, address string) (net.Conn, error) {
	h.mu.Lock()
	h.dials[address] = append(h.dials[address], time.Duration(h.now()))
	takes, down := h.takes[address], h.down[address]
	h.under++
	h.most = max(h.most, h.under)
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.under--
		h.mu.Unlock()
	}()
	timer := time.NewTimer(takes)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
	}
	if down {
		return nil, errors.New("connection refused")
	}
	a, b := net.Pipe()
	_ = b.Close()
	return a, nil
}

func (h *hosts) set(f func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f()
}

// at are the seconds at which an address was dialled since some moment.
func (h *hosts) at(address string, since time.Duration) (out []int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.dials[address] {
		if d >= since {
			out = append(out, int(math.Round((d - since).Seconds())))
		}
	}
	return out
}

func checked(t *testing.T, n int, check resource.HealthCheck, f func(m *Monitor, h *hosts, set *endpoint.Set, j *journal)) {
	synctest.Test(t, func(t *testing.T) {
		cfg, j := fake()
		h := &hosts{
			down: map[string]bool{}, takes: map[string]time.Duration{}, dials: map[string][]time.Duration{}, now: cfg.Now, active: true,
		}
		cfg.Dial = h.dial
		cfg.Active = func(string) bool { h.mu.Lock(); defer h.mu.Unlock(); return h.active }
		m := New(cfg)
		defer m.Close()
		set := setOf(nil, upTo(n)...)
		m.Update(resource.Cluster{Name: "a", Check: check, Outlier: resource.Outlier{Disabled: true}}, set)
		f(m, h, set, j)
	})
}

const first = "10.0.0.0:80"

func equal(t *testing.T, what string, got []int, want ...int) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s: checked at %v, want %v", what, got, want)
	}
}

func TestThresholdsAndIntervals(t *testing.T) {
	checked(t, 2, tcp, func(m *Monitor, h *hosts, set *endpoint.Set, j *journal) {
		e := set.Endpoints()[0]
		synctest.Wait()
		if e.Verdict() != endpoint.CheckedHealthy {
			t.Fatal("the first check did not count")
		}
		time.Sleep(25 * time.Second)
		h.set(func() { h.down[first] = true })
		time.Sleep(24 * time.Second) // checks at 30 and 40 fail
		if e.Verdict() != endpoint.CheckedHealthy {
			t.Fatal("unhealthy after two failures")
		}
		time.Sleep(2 * time.Second)
		if e.Verdict() != endpoint.CheckedUnhealthy || e.Available(0) {
			t.Fatal("healthy after three failures")
		}
		equal(t, "healthy", h.at(first, 0), 0, 10, 20, 30, 40, 50)
		time.Sleep(4 * time.Second)
		equal(t, "unhealthy", h.at(first, 51*time.Second), 1, 3)
		h.set(func() { h.down[first] = false })
		time.Sleep(4 * time.Second) // 56 and 58 pass
		if e.Verdict() != endpoint.CheckedHealthy {
			t.Fatal("unhealthy after two passed")
		}
		time.Sleep(11 * time.Second)
		equal(t, "healthy again", h.at(first, 59*time.Second), 9)
		if got := strings.Join(j.text(), "\n"); got != "50s 10.0.0.0:80 is unhealthy: connection refused\n58s 10.0.0.0:80 is healthy" {
			t.Error(got)
		}
		s := m.Stats("a")
		if s.ChecksFailed != 5 || s.ChecksPassed < 10 || s.TurnedUnhealthy != 1 || s.TurnedHealthy != 1 || s.Unhealthy != 0 {
			t.Errorf("%+v", s)
		}
	})
}

func TestFirstFailureCountsAtOnce(t *testing.T) {
	checked(t, 0, tcp, func(m *Monitor, h *hosts, set *endpoint.Set, j *journal) {
		h.set(func() { h.down[first] = true })
		set = setOf(set, 0, 1)
		m.Update(resource.Cluster{Name: "a", Check: tcp, Outlier: resource.Outlier{Disabled: true}}, set)
		synctest.Wait()
		if set.Endpoints()[0].Verdict() != endpoint.CheckedUnhealthy || m.Stats("a").Unhealthy != 1 || len(j.text()) != 1 {
			t.Errorf("%v, %v", set.Endpoints()[0].Verdict(), j.text())
		}
	})
}

func TestIdleClustersAreCheckedLess(t *testing.T) {
	checked(t, 1, tcp, func(m *Monitor, h *hosts, set *endpoint.Set, _ *journal) {
		time.Sleep(5 * time.Second)
		h.set(func() { h.active = false })
		time.Sleep(3*time.Minute - 4*time.Second)
		// It is seen at 10 that nobody calls, when one is due anyway.
		equal(t, "idle", h.at(first, 0), 0, 60, 120, 180)
		// Attempts count, too, and at most an Interval passes until they are seen.
		set.Endpoints()[0].Requests.Add(1)
		time.Sleep(12 * time.Second)
		if at := h.at(first, 181*time.Second); len(at) != 1 {
			t.Errorf("called: checked at %v", at)
		}
	})
}

func TestJitterIsOnTop(t *testing.T) {
	check := tcp
	check.Jitter = 0.5
	checked(t, 1, check, func(m *Monitor, h *hosts, _ *endpoint.Set, _ *journal) {
		time.Sleep(time.Hour)
		h.mu.Lock()
		defer h.mu.Unlock()
		at, sum := h.dials[first], time.Duration(0)
		for i := 1; i < len(at); i++ {
			d := at[i] - at[i-1]
			sum += d
			if d < 10*time.Second || d > 15*time.Second {
				t.Fatalf("%v between two checks", d)
			}
		}
		if mean := sum / time.Duration(len(at)-1); mean < 12*time.Second || mean > 13*time.Second {
			t.Errorf("every %v", mean)
		}
	})
}

func TestVerdictsSurviveUpdates(t *testing.T) {
	checked(t, 3, tcp, func(m *Monitor, h *hosts, _ *endpoint.Set, _ *journal) {
		c := resource.Cluster{Name: "a", Check: tcp, Outlier: resource.Outlier{Disabled: true}}
		h.set(func() { h.down[first] = true })
		time.Sleep(31 * time.Second)
		n := len(h.at(first, 0))
		set := setOf(nil, 0, 1, 7) // new States
		m.Update(c, set)
		synctest.Wait()
		if set.Endpoints()[0].Verdict() != endpoint.CheckedUnhealthy || set.Endpoints()[1].Verdict() != endpoint.CheckedHealthy {
			t.Error("verdicts were lost")
		}
		if len(h.at(first, 0)) != n {
			t.Error("one that stayed was checked at once")
		}
		if set.Endpoints()[2].Verdict() != endpoint.CheckedHealthy || len(h.at("10.0.0.7:80", 0)) != 1 {
			t.Error("a new one was not checked at once")
		}
		c.Check.Interval = 20 * time.Second // another check: verdicts stay until it says otherwise
		m.Update(c, set)
		if set.Endpoints()[0].Verdict() != endpoint.CheckedUnhealthy || m.Stats("a").Unhealthy != 1 {
			t.Error("a change of the interval lost a verdict")
		}
		c.Check = resource.HealthCheck{}
		m.Update(c, set)
		if set.Endpoints()[0].Verdict() != endpoint.Unchecked || m.Stats("a").Unhealthy != 0 {
			t.Error("a verdict although nobody checks")
		}
	})
}

// Those that hang hold nobody up for longer than a timeout, and there are never
// more checks under way than allowed.
func TestConcurrencyIsBounded(t *testing.T) {
	check := tcp
	check.Unhealthy = 1
	checked(t, 0, check, func(m *Monitor, h *hosts, set *endpoint.Set, _ *journal) {
		set = setOf(set, upTo(64)...)
		h.set(func() {
			for i := range 16 {
				h.takes[fmt.Sprintf("10.0.0.%d:80", i)] = time.Hour
			}
		})
		c := resource.Cluster{Name: "a", Check: check, Outlier: resource.Outlier{Disabled: true}}
		m.Update(c, set)
		time.Sleep(1100 * time.Millisecond)
		if s := m.Stats("a"); s.ChecksPassed != 48 || s.ChecksFailed != 16 || h.most != defaultConcurrency {
			t.Errorf("%+v, %d at once", s, h.most)
		}
		time.Sleep(time.Second) // the 16 are being asked again
		m.Update(c, setOf(set, upTo(64)[8:]...))
		m.Remove("a")
		if s := m.Stats("a"); s != (Stats{}) {
			t.Errorf("%+v", s)
		}
		m.Update(c, set)
		m.Close()
		m.Update(c, set) // comes too late
		time.Sleep(time.Minute)
		if h.under != 0 {
			t.Errorf("%d checks under way after Close", h.under)
		}
	})
}
