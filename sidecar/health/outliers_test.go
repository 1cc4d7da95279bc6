package health

import (
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshd/meshd/sidecar/balancer"
	"github.com/meshd/meshd/sidecar/endpoint"
	"github.com/meshd/meshd/xds/resource"
)

var rates = resource.Outlier{
	Interval: 10 * time.Second, BaseEjection: 30 * time.Second, MaxEjection: 300 * time.Second, MaxEjected: 0.1,
	StdevFactor: 1.9, SuccessHosts: 5, SuccessVolume: 100,
}

// A mesh is a cluster under a Monitor, in a bubble of fake time.
type mesh struct {
	t       *testing.T
	monitor *Monitor
	journal *journal
	now     func() int64
	set     *endpoint.Set
	picker  balancer.Picker
	rng     *rand.Rand
	failing map[string]float64
	most    int64 // that were ever ejected at once
	calls   map[string]int
}

func inMesh(t *testing.T, n int, policy string, o resource.Outlier, f func(m *mesh)) {
	synctest.Test(t, func(t *testing.T) {
		cfg, j := fake()
		m := &mesh{
			t: t, monitor: New(cfg), journal: j, now: cfg.Now, rng: rng(),
			failing: map[string]float64{}, calls: map[string]int{},
		}
		defer m.monitor.Close()
		m.update(policy, o, upTo(n)...)
		f(m)
	})
}

func (m *mesh) update(policy string, o resource.Outlier, numbers ...int) {
	m.set = setOf(m.set, numbers...)
	cfg := balancer.Config{Policy: policy, Balancing: resource.DefaultBalancing(), Now: m.now(), Time: time.Now()}
	p, err := balancer.New(cfg, m.set)
	if err != nil {
		m.t.Fatal(err)
	}
	m.picker = p
	m.monitor.Update(resource.Cluster{Name: "a", Outlier: o}, m.set)
}

// run makes 200 calls a second, one after the other.
func (m *mesh) run(d time.Duration) {
	for end := m.now() + int64(d); m.now() < end; {
		now := m.now()
		e, _ := m.picker.Pick(balancer.Info{Now: now})
		m.calls[e.ID]++
		e.Load.Start(now)
		e.Load.Answered(now)
		failed := m.rng.Float64() < m.failing[e.ID]
		e.Load.Done(now, 5*time.Millisecond, failed)
		e.Outcome(now, failed, int64(5*time.Millisecond))
		time.Sleep(5 * time.Millisecond)
		m.most = max(m.most, m.monitor.Stats("a").Ejected)
	}
	synctest.Wait()
}

func (m *mesh) out(id int) bool { return m.set.Endpoints()[id].Ejected(m.now()) > 0 }

func TestOneThatFailsIsEjectedAndComesBack(t *testing.T) {
	for _, policy := range []string{"round_robin", "random", "least_request"} {
		inMesh(t, 10, policy, rates, func(m *mesh) {
			m.failing["3"] = 0.3
			for i := range 10 {
				if i != 3 {
					m.failing[m.set.Endpoints()[i].ID] = 0.002
				}
			}
			m.run(20 * time.Second)
			if !m.out(3) || m.monitor.Stats("a").Ejected != 1 {
				t.Fatalf("%s: not out within two intervals: %v", policy, m.journal.text())
			}
			m.failing["3"] = 0
			before := m.calls["3"]
			m.run(9 * time.Second)
			if m.calls["3"] != before {
				t.Errorf("%s: %d calls to the one that is out", policy, m.calls["3"]-before)
			}
			m.run(5 * time.Minute)
			if got := m.journal.events(); len(got) != 2 || got[0].Rule != RuleSuccessRate || got[0].For != 30*time.Second || got[1].Out {
				t.Errorf("%s: %v", policy, m.journal.text())
			}
			for i, e := range m.set.Endpoints() {
				if n := e.Ejections[RuleSuccessRate].Load(); n > 0 != (i == 3) || n > 1 {
					t.Errorf("%s: %d was ejected %d times", policy, i, n)
				}
			}
			if m.out(3) || m.calls["3"]-before < 1000 {
				t.Errorf("%s: not back: %d calls, %v", policy, m.calls["3"]-before, m.journal.text())
			}
		})
	}
}

// Where everything fails, the instances are not what is wrong: all of them are
// there when it is over.
func TestOutageEjectsNobody(t *testing.T) {
	o := rates
	o.MaxEjected, o.Consecutive = 0.5, 5
	o.Percentage, o.PercentageHosts, o.PercentageVolume = 0.85, 5, 50
	inMesh(t, 10, "round_robin", o, func(m *mesh) {
		m.run(25 * time.Second)
		for _, e := range m.set.Endpoints() {
			m.failing[e.ID] = 1
		}
		m.run(time.Minute)
		clear(m.failing)
		m.run(time.Minute)
		if m.most != 0 {
			t.Errorf("%d were out: %v", m.most, m.journal.text())
		}
	})
}

// peak_ewma sends one that fails little by itself. Whom it does not ask, the
// rates know nothing of, and need not.
func TestPriceMayForestallEjection(t *testing.T) {
	inMesh(t, 10, "peak_ewma", rates, func(m *mesh) {
		m.failing["3"] = 0.3
		m.run(time.Minute)
		if n := m.calls["3"]; n == 0 || n > 480 {
			t.Errorf("%d of 12000 calls to the one that fails: %v", n, m.journal.text())
		}
	})
}

func TestWhoIsOutAgainIsOutForLonger(t *testing.T) {
	o := rates
	o.MaxEjection = 100 * time.Second
	inMesh(t, 10, "round_robin", o, func(m *mesh) {
		m.failing["3"] = 0.3
		m.run(10 * time.Minute)
		var times []time.Duration
		for _, e := range m.journal.events() {
			if e.Out {
				times = append(times, e.For/time.Second)
			}
		}
		for i, want := range []time.Duration{30, 60, 90, 100, 100} {
			if i >= len(times) || times[i] != want {
				t.Fatalf("out for %v: %v", times, m.journal.text())
			}
		}
		// Well for four intervals, it starts anew: the four are forgiven.
		m.failing["3"] = 0
		m.run(3 * time.Minute)
		n := len(m.journal.events())
		m.failing["3"] = 0.3
		m.run(20 * time.Second)
		if e := m.journal.events()[n:]; len(e) == 0 || e[len(e)-1].For != 30*time.Second {
			t.Errorf("after it had been well: %v", m.journal.text()[n:])
		}
	})
}

func TestNeverMoreThanMaxEjected(t *testing.T) {
	for _, c := range []struct {
		n, failing int
		share      float64
		most       int64
	}{{10, 5, 0.3, 3}, {10, 5, 0.05, 1}, {7, 3, 0.35, 2}, {4, 2, 0.1, 1}, {1, 1, 1, 0}} {
		o := resource.Outlier{
			MaxEjected: c.share, Consecutive: 5, Percentage: 0.5, PercentageHosts: 1, PercentageVolume: 20,
			Interval: 10 * time.Second, BaseEjection: 15 * time.Second, Jitter: 5 * time.Second,
		}
		inMesh(t, c.n, "round_robin", o, func(m *mesh) {
			for i := range c.failing {
				m.failing[m.set.Endpoints()[i].ID] = 0.9
			}
			m.run(2 * time.Minute)
			s := m.monitor.Stats("a")
			if m.most != c.most || s.Spared == 0 {
				t.Errorf("%+v: %d out at once, %+v", c, m.most, s)
			}
			out := 0
			for _, e := range m.set.Endpoints() {
				if e.Ejected(m.now()) > 0 {
					out++
				}
			}
			if int64(out) != s.Ejected {
				t.Errorf("%d are out, %d are counted", out, s.Ejected)
			}
		})
	}
}

func TestConsecutiveFailuresActAtOnce(t *testing.T) {
	o := resource.Outlier{Consecutive: 5, MaxEjected: 0.5, BaseEjection: 30 * time.Second}
	inMesh(t, 4, "round_robin", o, func(m *mesh) {
		e := m.set.Endpoints()[1]
		for i := range 4 {
			e.Outcome(m.now(), true, 0)
			if m.out(1) {
				t.Fatalf("out after %d", i+1)
			}
		}
		e.Outcome(m.now(), false, 1)
		for range 5 {
			e.Outcome(m.now(), true, 0)
		}
		if !m.out(1) {
			t.Fatal("not out after 5 failures in a row")
		}
		// What fails meanwhile counts for nothing.
		for range 20 {
			e.Outcome(m.now(), true, 0)
		}
		synctest.Wait()
		if got := strings.Join(m.journal.text(), "\n"); got != "0s 10.0.0.1:80 is ejected for 30s: 5 calls in a row failed" {
			t.Error(got)
		}
		time.Sleep(30 * time.Second)
		synctest.Wait()
		if s := m.monitor.Stats("a"); s.Ejected != 0 || s.Ejections[RuleConsecutive] != 1 {
			t.Errorf("%+v", s)
		}
		if got := m.journal.text()[1]; got != "30s 10.0.0.1:80 is back" {
			t.Error(got)
		}
		// The first call is a trial.
		e.Outcome(m.now(), true, 0)
		if e.Ejected(m.now()) != time.Minute {
			t.Errorf("out for %v after the trial failed", e.Ejected(m.now()))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		e.Outcome(m.now(), false, 1)
		for range 4 {
			e.Outcome(m.now(), true, 0)
		}
		if m.out(1) {
			t.Error("out again after a trial that went well")
		}
	})
}

func TestEjectionsSurviveUpdates(t *testing.T) {
	o := resource.Outlier{Consecutive: 1, MaxEjected: 0.5, BaseEjection: 30 * time.Second}
	inMesh(t, 6, "round_robin", o, func(m *mesh) {
		for i := range 3 {
			time.Sleep(time.Second)
			m.set.Endpoints()[i].Outcome(m.now(), true, 0)
		}
		m.set = nil // all States are made anew, as for another breaker
		m.update("round_robin", o, upTo(6)...)
		if !m.out(0) || !m.out(1) || !m.out(2) || m.out(3) {
			t.Errorf("after new States: %v", m.journal.text())
		}
		m.update("round_robin", o, 0, 1, 2, 3) // two may be out: the eldest comes back
		if m.out(0) || !m.out(1) || !m.out(2) {
			t.Errorf("after two have left: %v", m.journal.text())
		}
		left := m.set.Endpoints()[1]
		m.update("round_robin", o, 0, 2, 3)
		left.Outcome(m.now(), true, 0)
		synctest.Wait()
		if s := m.monitor.Stats("a"); s.Ejected != 1 {
			t.Errorf("%+v", s)
		}
		o.Disabled = true
		m.update("round_robin", o, 0, 2, 3)
		if m.out(1) {
			t.Error("out although nobody is to be ejected")
		}
		m.set.Endpoints()[0].Outcome(m.now(), true, 0)
		if m.out(0) {
			t.Error("ejected although nobody is to be")
		}
	})
}
