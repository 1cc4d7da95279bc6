package breaker

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/meshd/meshd/internal/testkit/race"
)

// A sim is virtual time: events in order, each a function.
type sim struct {
	now    int64
	seq    uint64
	events []event
	rng    *rand.Rand
}

type event struct {
	at  int64
	seq uint64 // events of one time happen in the order of their making
	do  func()
}

// skipUnderRace skips a long simulation: one goroutine, nothing to race with.
func skipUnderRace(t *testing.T) {
	if race.Enabled {
		t.Skip("a simulation on one goroutine")
	}
}

func newSim(seed uint64) *sim { return &sim{now: 1, rng: rand.New(rand.NewPCG(seed, 5))} }

func (e event) before(o event) bool { return e.at < o.at || e.at == o.at && e.seq < o.seq }

func (s *sim) after(d int64, do func()) {
	s.seq++
	s.events = append(s.events, event{s.now + max(d, 0), s.seq, do})
	for i := len(s.events) - 1; i > 0; {
		up := (i - 1) / 2
		if !s.events[i].before(s.events[up]) {
			break
		}
		s.events[i], s.events[up] = s.events[up], s.events[i]
		i = up
	}
}

func (s *sim) pop() event {
	h := s.events
	e, last := h[0], len(h)-1
	h[0] = h[last]
	h[last] = event{}
	h = h[:last]
	for i := 0; ; {
		c := 2*i + 1
		if c >= last {
			break
		}
		if c+1 < last && h[c+1].before(h[c]) {
			c++
		}
		if !h[c].before(h[i]) {
			break
		}
		h[i], h[c] = h[c], h[i]
		i = c
	}
	s.events = h
	return e
}

// run lets time pass until end.
func (s *sim) run(end time.Duration) {
	for len(s.events) > 0 && s.events[0].at <= int64(end) {
		e := s.pop()
		s.now = e.at
		e.do()
	}
	s.now = int64(end)
}

// poisson calls do at rate a second, for ever; a rate of 0 looks again later.
func (s *sim) poisson(rate func() float64, do func()) {
	var next func()
	next = func() {
		r := rate()
		if r <= 0 {
			s.after(int64(10*time.Millisecond), next)
			return
		}
		s.after(int64(s.rng.ExpFloat64()/r*1e9), func() { do(); next() })
	}
	next()
}

// A server works on workers calls at once; others wait in its own queue, which
// has no bound: the application that knows no better.
type server struct {
	*sim
	workers int
	service func() float64 // seconds
	paused  bool
	speed   float64 // 0: 1
	busy    int
	queue   []func()
	work    float64 // seconds worked
}

func (v *server) call(done func()) {
	if v.busy >= v.workers || v.paused {
		v.queue = append(v.queue, done)
		return
	}
	v.start(done)
}

func (v *server) start(done func()) {
	v.busy++
	took := v.service()
	if v.speed > 0 {
		took /= v.speed
	}
	v.after(int64(took*1e9), func() { v.finish(took, done) })
}

func (v *server) finish(took float64, done func()) {
	if v.paused { // it ends when the pause does
		v.after(int64(time.Millisecond), func() { v.finish(took, done) })
		return
	}
	v.busy--
	v.work += took
	v.pull()
	done()
}

func (v *server) pull() {
	for v.busy < v.workers && len(v.queue) > 0 && !v.paused {
		next := v.queue[0]
		v.queue = v.queue[1:]
		v.start(next)
	}
}

// pause freezes the server for a while.
func (v *server) pause(d time.Duration) {
	v.paused = true
	v.after(int64(d), func() { v.paused = false; v.pull() })
}

// The distributions of service times, each with a mean of 10 ms.
var services = []struct {
	name string
	draw func(*rand.Rand) float64
}{
	{"constant", func(*rand.Rand) float64 { return 0.010 }},
	{"exponential", func(r *rand.Rand) float64 { return r.ExpFloat64() * 0.010 }},
	{"lognormal", func(r *rand.Rand) float64 { return 0.010 * math.Exp(r.NormFloat64()-0.5) }},
	{"bimodal", func(r *rand.Rand) float64 { // one in ten is a hundred times slower
		if r.IntN(10) == 0 {
			return 0.0917
		}
		return 0.000917
	}},
}

// quantile of unsorted values, in place.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return v[min(int(q*float64(len(v))), len(v)-1)]
}
