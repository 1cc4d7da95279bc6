package call

import (
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
	"github.com/meshd/meshd/xds/resource"
)

// caller is an Owner as protocols are: a lock, one Call used again and again,
// and what comes of each.
type caller struct {
	mu       sync.Mutex
	c        Call
	f        *fixture
	now      func() int64
	live     bool
	stays    time.Duration // how long an attempt takes
	work     *sync.WaitGroup
	passed   int
	refused  []Refusal
	abandons int
}

func (o *caller) Subject() Subject { return Subject{Method: "GET", Path: "/"} }

func (o *caller) Resume(w *Waiter) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if step := o.c.Resumed(w, o.now()); step != Stale {
		o.step(step)
	}
}

func (o *caller) begin(said Said) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.live = true
	o.step(o.c.Begin(o.f.tracer, o.f.route, &said, o, o.now()))
}

func (o *caller) step(s Step) {
	switch s {
	case Refused:
		r := o.c.Refusal()
		o.refused = append(o.refused, r)
		o.end(503, r.Err)
	case Go:
		if o.c.Pick(o.now()) == nil {
			o.step(o.c.NoEndpoint(o.now()))
			return
		}
		o.work.Go(func() {
			if o.stays > 0 {
				time.Sleep(o.stays)
			}
			o.mu.Lock()
			defer o.mu.Unlock()
			o.passed++
			o.c.Done(o.now(), 200, stats.ErrNone, 1)
			o.end(200, stats.ErrNone)
		})
	}
}

func (o *caller) end(status int, e stats.ErrorType) {
	o.live = false
	o.c.End(o.now(), status, e)
}

// abandon is a client that goes away while its call waits.
func (o *caller) abandon() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.live && o.c.Waiting() {
		o.abandons++
		o.end(499, stats.ErrClientClosed)
	}
}

func (o *caller) busy() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.live
}

// clocked is a fixture on synctest's clock.
func clocked(t *testing.T, cfg resource.Cluster, addrs ...string) (*fixture, func() int64) {
	f := setUp(t, cfg, 0, addrs...)
	epoch := time.Now()
	now := func() int64 { return int64(time.Since(epoch)) + int64(time.Second) }
	f.cluster.Now = now
	f.tracer.Epoch = epoch
	return f, now
}

func holding(calls uint32, wait time.Duration) resource.Cluster {
	cfg := policy
	cfg.Hold = resource.Hold{Calls: calls, Wait: wait}
	return cfg
}

func crowd(f *fixture, now func() int64, n int, stays time.Duration) ([]*caller, *sync.WaitGroup) {
	work := &sync.WaitGroup{}
	all := make([]*caller, n)
	for i := range all {
		all[i] = &caller{f: f, now: now, stays: stays, work: work}
	}
	return all, work
}

// Calls wait for the first endpoint, and all are served when it comes, however
// long they last: nothing but the look at the line moves those behind.
func TestHeldUntilEndpoints(t *testing.T) {
	for name, stays := range map[string]time.Duration{"short": time.Millisecond, "for ever": time.Hour} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f, now := clocked(t, holding(100, 10*time.Second))
				all, work := crowd(f, now, 50, stays)
				for _, o := range all {
					o.begin(Said{})
				}
				time.Sleep(3 * time.Second)
				if got := f.cluster.Held().Waiting; got != 50 {
					t.Fatalf("%d wait", got)
				}
				if err := f.cluster.Update(nil, endpoints("10.0.0.1:80")); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
				if s := f.cluster.Held(); s.Waiting != 0 || s.Served != 50 || s.Expired != 0 {
					t.Errorf("%+v", s)
				}
				synctest.Wait()
				work.Wait()
				for _, o := range all {
					if o.passed != 1 {
						t.Errorf("passed %d, refused %v", o.passed, o.refused)
					}
				}
				time.Sleep(time.Second)
				f.rest(t, 50)
			})
		})
	}
}

// A hold ends by its wait, by the call's deadline, and by its number, with the
// more important first.
func TestHeldIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, now := clocked(t, holding(2, time.Second))
		all, _ := crowd(f, now, 4, 0)
		all[0].begin(Said{})
		all[1].begin(Said{Priority: []byte("sheddable"), Timeout: 300 * time.Millisecond})
		all[2].begin(Said{}) // takes the place of the sheddable one
		all[3].begin(Said{Priority: []byte("sheddable")})
		synctest.Wait()
		if len(all[1].refused) != 1 || len(all[3].refused) != 1 || len(all[0].refused)+len(all[2].refused) != 0 {
			t.Fatalf("%v %v %v %v", all[0].refused, all[1].refused, all[2].refused, all[3].refused)
		}
		all[1].begin(Said{Priority: []byte("critical-plus"), Timeout: 300 * time.Millisecond})
		time.Sleep(400 * time.Millisecond)
		synctest.Wait()
		if r := all[1].refused; len(r) != 2 || r[1].Err != stats.ErrHTTPResponseTimeout {
			t.Errorf("%v", r)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(all[0].refused) + len(all[2].refused); n != 2 {
			t.Errorf("%d refused after the wait", n)
		}
		f.rest(t, 5)
	})
}

// A call given up while it is on its way lets another have its place; what a
// call used again is resumed with is not taken for its own.
func TestResumedTooLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := holding(10, time.Second)
		cfg.Limits.Requests = 1
		f, now := clocked(t, cfg)
		all, work := crowd(f, now, 2, 0)
		all[0].begin(Said{})
		all[1].begin(Said{})
		first := all[0]
		first.mu.Lock()
		if err := f.cluster.Update(nil, endpoints("10.0.0.1:80")); err != nil { // lets first go
			t.Fatal(err)
		}
		first.end(499, stats.ErrClientClosed)
		first.live = true
		step := first.c.Begin(f.tracer, f.route, &Said{}, first, now()) // behind the other
		first.step(step)
		first.mu.Unlock()
		synctest.Wait()
		work.Wait()
		if first.passed != 1 || all[1].passed != 1 {
			t.Errorf("passed %d and %d; %v %v", first.passed, all[1].passed, first.refused, all[1].refused)
		}
		time.Sleep(time.Second)
		f.rest(t, 3)
	})
}

// Where a policy stops holding while calls wait, those that come are not
// refused for it.
func TestHoldTurnedOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := holding(100, 10*time.Second)
		f, now := clocked(t, cfg)
		all, work := crowd(f, now, 60, time.Hour)
		for _, o := range all[:59] {
			o.begin(Said{})
		}
		cfg.Hold = resource.Hold{}
		if err := f.cluster.Update(&cfg, endpoints("10.0.0.1:80")); err != nil {
			t.Fatal(err)
		}
		all[59].begin(Said{})
		if r := all[59].refused; len(r) != 0 {
			t.Errorf("%v", r)
		}
		synctest.Wait()
		work.Wait()
		time.Sleep(time.Second)
		f.rest(t, 60)
	})
}

// A call that ends within a fault's delay is not resumed, and one that does not
// goes on with the endpoints of now.
func TestFaultDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, now := clocked(t, policy)
		f.route.Fault = resource.Fault{Delay: time.Second, DelayShare: 1}
		all, work := crowd(f, now, 2, 0)
		all[0].begin(Said{})
		all[1].begin(Said{})
		all[0].abandon()
		if err := f.cluster.Update(nil, endpoints("10.0.0.1:80")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		work.Wait()
		if all[0].passed != 0 || all[1].passed != 1 {
			t.Errorf("%d, %d, %v", all[0].passed, all[1].passed, all[1].refused)
		}
		f.rest(t, 2)
	})
}

// Many calls at once against a hold and a limit, with endpoints that come and
// go and clients that leave: in the end nothing is left of any.
func TestHoldRace(t *testing.T) {
	cfg := holding(64, 30*time.Millisecond)
	cfg.Hold.Scaled, cfg.Limits.Requests = true, 4
	f := setUp(t, cfg, 0)
	epoch := time.Now()
	now := func() int64 { return int64(time.Since(epoch)) + int64(time.Second) }
	f.cluster.Now = now
	f.cluster.Retire = nil
	all, work := crowd(f, now, 32, 0)
	stress(t, all, work, func(i int) {
		if i%2 == 0 {
			_ = f.cluster.Update(nil, endpoints("10.0.0.1:80", "10.0.0.2:80"))
		} else {
			_ = f.cluster.Update(nil, endpoints())
		}
	})
	if s := f.cluster.Held(); s.Waiting != 0 {
		t.Errorf("%+v", s)
	}
	if active, _ := f.cluster.InUse(); active != 0 {
		t.Errorf("%d places in use", active)
	}
}

// The same before an application, whose admission is configured anew meanwhile.
func TestGatewayRace(t *testing.T) {
	f := setUp(t, policy, 0, "10.0.0.1:80")
	epoch := time.Now()
	now := func() int64 { return int64(time.Since(epoch)) + int64(time.Second) }
	f.cluster.Now = now
	g := NewGateway(now)
	cfg := resource.Admission{Min: 2, Max: 2, Queue: 8, MaxWait: 5 * time.Millisecond}
	g.Configure(cfg)
	f.route.Server, f.route.Gate = true, g
	doors := map[*door]bool{g.door.Load(): true}
	all, work := crowd(f, now, 32, 200*time.Microsecond)
	stress(t, all, work, func(i int) {
		cfg.Queue = uint32(4 + i%2)
		g.Configure(cfg)
		doors[g.door.Load()] = true
	})
	for d := range doors {
		if s := d.gate.Stats(); s.InFlight != 0 || s.Waiting != 0 {
			t.Errorf("%+v", s)
		}
	}
}

// stress has all callers begin calls and give some of them up while change runs.
func stress(t *testing.T, all []*caller, work *sync.WaitGroup, change func(i int)) {
	var callers sync.WaitGroup
	stop := time.Now().Add(400 * time.Millisecond)
	for _, o := range all {
		callers.Go(func() {
			for time.Now().Before(stop) {
				o.begin(Said{})
				if rand.IntN(3) == 0 {
					o.abandon()
				}
				for o.busy() {
					time.Sleep(50 * time.Microsecond)
				}
			}
		})
	}
	for i := 0; time.Now().Before(stop); i++ {
		change(i)
		time.Sleep(2 * time.Millisecond)
	}
	callers.Wait()
	work.Wait()
	time.Sleep(50 * time.Millisecond) // what was on its way
	passed := 0
	for _, o := range all {
		passed += o.passed
	}
	if f := all[0].f; passed == 0 || f.route.Service.Active.Value() != 0 {
		t.Errorf("%d passed, %d active", passed, f.route.Service.Active.Value())
	}
	for _, ep := range all[0].f.cluster.Endpoints() {
		if ep.Load.InFlight() != 0 {
			t.Errorf("%d in flight", ep.Load.InFlight())
		}
	}
}

// A call that cannot wait is shed where it would have to.
func TestGatewayWithoutOwner(t *testing.T) {
	f := setUp(t, policy, 0, "10.0.0.1:80")
	f.route.Server, f.route.Gate = true, NewGateway(f.cluster.Now)
	f.route.Gate.Configure(resource.Admission{Min: 1, Max: 1})
	first := f.begin(t)
	var second Call
	if step := second.Begin(f.tracer, f.route, &Said{}, nil, 1); step != Refused || second.Refusal().Err != stats.ErrShed {
		t.Errorf("%v %+v", step, second.Refusal())
	}
	second.End(2, 503, stats.ErrShed)
	first.End(2, 200, stats.ErrNone)
	if n, _ := f.route.Gate.InFlight(); n != 0 {
		t.Errorf("%d in flight", n)
	}
}

// What calls of one trace say holds for what the application calls for them.
func TestJoins(t *testing.T) {
	trace := tracing.SpanContext{TraceID: [16]byte{15: 9}, SpanID: [8]byte{1}}
	second := int64(time.Second)
	for name, tc := range map[string]struct {
		in       []Said
		route    string // priority of the route out
		until    int64
		priority string
		earlier  int
	}{
		"nothing":            {in: []Said{{}}, priority: "critical"},
		"a deadline":         {in: []Said{{Timeout: time.Second}}, until: 1 + second, priority: "critical"},
		"the latest":         {in: []Said{{Timeout: time.Second}, {Timeout: 2 * time.Second}}, until: 1 + 2*second, priority: "critical"},
		"one has none":       {in: []Said{{Timeout: time.Second}, {Attempt: 2}}, priority: "critical"},
		"the fewest":         {in: []Said{{Attempt: 3}, {Attempt: 2}}, earlier: 2, priority: "critical"},
		"the highest":        {in: []Said{{Priority: []byte("sheddable")}, {Priority: []byte("sheddable-plus")}}, priority: "sheddable-plus"},
		"said and not":       {in: []Said{{Priority: []byte("sheddable")}, {Attempt: 2}}, priority: "critical"},
		"the route's own":    {in: []Said{{Timeout: time.Second}}, route: "sheddable", until: 1 + second, priority: "sheddable"},
		"before the route's": {in: []Said{{Priority: []byte("critical-plus")}}, route: "sheddable", priority: "critical-plus"},
	} {
		t.Run(name, func(t *testing.T) {
			f := setUp(t, policy, 0, "10.0.0.1:80")
			f.tracer.Joins = NewJoins()
			server := f.inbound()
			var in []*Call
			for _, s := range tc.in {
				s.Parent, s.HasParent = trace, true
				c := new(Call)
				c.Begin(f.tracer, server, &s, nil, 1)
				in = append(in, c)
			}
			f.route.Route.Priority = tc.route
			f.route.Init(nil, f.cluster.Now)
			var out Call
			out.Begin(f.tracer, f.route, &Said{Parent: trace, HasParent: true}, nil, 1)
			if out.Until() != tc.until || out.priority.String() != tc.priority || out.earlier != tc.earlier {
				t.Errorf("until %d, %v, after %d", out.Until(), out.priority, out.earlier)
			}
			out.End(2, 200, stats.ErrNone)
			for _, c := range in {
				c.End(3, 200, stats.ErrNone)
			}
			if n := f.tracer.Joins.n.Load(); n != 0 {
				t.Errorf("%d traces are left", n)
			}
		})
	}
}
