package pool

import (
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func yes() bool { return true }
func no() bool  { return false }

// never is for calls of Get that must not wait.
func never(t *testing.T) func() Waiter[int] {
	return func() Waiter[int] {
		t.Helper()
		t.Error("made a waiter without need")
		return nil
	}
}

func dial(t *testing.T, p *Pool[int]) {
	t.Helper()
	if _, v, cancel := p.Get(never(t), yes); v != Dial || cancel != nil {
		t.Fatalf("verdict %v, want Dial", v)
	}
}

func want(t *testing.T, p *Pool[int], s Stats) {
	t.Helper()
	if got := p.Stats(); got != s {
		t.Fatalf("%+v, want %+v", got, s)
	}
}

func TestNewestFirst(t *testing.T) {
	var p Pool[int]
	for range 3 {
		dial(t, &p)
	}
	for c := range 3 {
		p.Put(c, int64(c))
	}
	want(t, &p, Stats{Open: 3, Idle: 3})
	for _, c := range []int{2, 1, 0} {
		if got, v, _ := p.Get(never(t), no); v != Idle || got != c {
			t.Errorf("%d, verdict %v; want %d", got, v, c)
		}
	}
	want(t, &p, Stats{Open: 3})
}

// queue makes a waiter for each name, in order, and records who was woken how.
type queue struct {
	woken []string
	conns []int
}

func (q *queue) wait(name string) func() Waiter[int] {
	return func() Waiter[int] {
		return func(c int, ok bool) {
			if !ok {
				c = -1
			}
			q.woken, q.conns = append(q.woken, name), append(q.conns, c)
		}
	}
}

func TestQueueIsServedInOrder(t *testing.T) {
	p := Pool[int]{MaxConns: 1}
	dial(t, &p)
	if p.Fresh() {
		t.Error("a fresh one beyond the cap")
	}
	var q queue
	cancels := map[string]func() bool{}
	for _, name := range []string{"a", "b", "c", "d"} {
		_, v, cancel := p.Get(q.wait(name), yes)
		if v != Queued {
			t.Fatalf("verdict %v", v)
		}
		cancels[name] = cancel
	}
	if _, v, _ := p.Get(never(t), no); v != Full {
		t.Errorf("verdict %v, want Full", v)
	}
	want(t, &p, Stats{Open: 1, Waiting: 4})
	if !cancels["b"]() || cancels["b"]() {
		t.Error("b was in the queue, once")
	}
	p.Put(7, 0) // to a
	p.Lost()    // c may dial
	want(t, &p, Stats{Open: 1, Waiting: 1})
	if cancels["a"]() || cancels["c"]() {
		t.Error("a and c are not in the queue")
	}
	p.Put(8, 0) // to d
	p.Put(8, 0) // to nobody
	if !slices.Equal(q.woken, []string{"a", "c", "d"}) || !slices.Equal(q.conns, []int{7, -1, 8}) {
		t.Errorf("woken %v with %v", q.woken, q.conns)
	}
	want(t, &p, Stats{Open: 1, Idle: 1})
}

func TestTake(t *testing.T) {
	var p Pool[int]
	dial(t, &p)
	dial(t, &p)
	p.Put(1, 1)
	p.Put(2, 2)
	if !p.Take(1) || p.Take(1) || p.Take(3) {
		t.Error("only what is idle can be taken, once")
	}
	p.Lost()
	want(t, &p, Stats{Open: 1, Idle: 1})
	if !p.Fresh() {
		t.Error("no cap, and yet no fresh one")
	}
	want(t, &p, Stats{Open: 2, Idle: 1})
}

func TestExpired(t *testing.T) {
	var p Pool[int]
	for range 6 {
		dial(t, &p)
	}
	for c := range 6 {
		p.Put(c, int64(c))
	}
	var asked []int
	out := p.Expired(2, func(c int) bool { asked = append(asked, c); return c == 4 })
	if !slices.Equal(out, []int{0, 1, 4}) || !slices.Equal(asked, []int{2, 3, 4, 5}) {
		t.Errorf("expired %v, asked of %v", out, asked)
	}
	for range out {
		p.Lost()
	}
	want(t, &p, Stats{Open: 3, Idle: 3})
	if c, _, _ := p.Get(never(t), no); c != 5 {
		t.Errorf("newest is %d", c)
	}
}

// A closed pool keeps nothing, but leaves nobody waiting either.
func TestClose(t *testing.T) {
	p := Pool[int]{MaxConns: 2}
	dial(t, &p)
	dial(t, &p)
	p.Put(1, 0)
	if out := p.Close(); !slices.Equal(out, []int{1}) {
		t.Errorf("%v", out)
	}
	p.Lost()
	dial(t, &p)
	var q queue
	p.Get(q.wait("a"), yes)
	p.Get(q.wait("b"), yes)
	if p.Put(2, 0) { // a may dial in its place
		t.Error("kept a connection")
	}
	want(t, &p, Stats{Open: 2, Waiting: 1})
	p.Put(3, 0) // b
	p.Put(4, 0)
	p.Put(5, 0)
	if !slices.Equal(q.woken, []string{"a", "b"}) || !slices.Equal(q.conns, []int{-1, -1}) {
		t.Errorf("woken %v with %v", q.woken, q.conns)
	}
	want(t, &p, Stats{})
	if len(p.Close()) != 0 {
		t.Error("closed twice, something came out")
	}
}

// A waiter may use the pool: it is called without its lock.
func TestWaiterUsesThePool(t *testing.T) {
	p := Pool[int]{MaxConns: 1}
	dial(t, &p)
	got := 0
	p.Get(func() Waiter[int] {
		return func(c int, ok bool) { got = c; p.Put(c, 0) }
	}, yes)
	p.Put(9, 0)
	if got != 9 {
		t.Error("not woken")
	}
	want(t, &p, Stats{Open: 1, Idle: 1})
}

// Never more connections than the cap, none used by two, none lost.
func TestConcurrentUse(t *testing.T) {
	const limit = 4
	p := Pool[*atomic.Int32]{MaxConns: limit}
	var made, open atomic.Int32
	var all sync.WaitGroup
	for g := range 16 {
		all.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(g), 1))
			newConn := func() *atomic.Int32 {
				made.Add(1)
				if n := open.Add(1); n > limit {
					t.Errorf("%d connections", n)
				}
				return new(atomic.Int32)
			}
			for range 2000 {
				woken := make(chan *atomic.Int32, 1)
				c, v, cancel := p.Get(func() Waiter[*atomic.Int32] {
					return func(c *atomic.Int32, ok bool) {
						if !ok {
							c = newConn()
						}
						woken <- c
					}
				}, yes)
				switch v {
				case Dial:
					c = newConn()
				case Queued:
					if rnd.IntN(4) == 0 && cancel() {
						continue
					}
					c = <-woken
				}
				if c.Add(1) != 1 {
					t.Error("a connection with two owners")
				}
				c.Add(-1)
				if rnd.IntN(10) == 0 {
					open.Add(-1)
					p.Lost()
				} else {
					p.Put(c, 0)
				}
			}
		})
	}
	all.Wait()
	if s := p.Stats(); s.Open != s.Idle || s.Open != int(open.Load()) || s.Waiting != 0 {
		t.Errorf("%+v, %d open of %d made", s, open.Load(), made.Load())
	}
}
