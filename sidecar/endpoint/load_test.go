package endpoint

import (
	"math"
	"sync"
	"testing"
	"time"
)

const (
	ms     = time.Millisecond
	second = int64(time.Second)
	half   = int64(1) << (tickBits + halfBits)
)

func (l *Load) call(at int64, latency time.Duration, failed bool) {
	l.Start(at)
	l.Answered(at)
	l.Done(at, latency, failed)
}

func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 0.01*want {
		t.Errorf("%s: %.4g, want %.4g", what, got, want)
	}
}

func TestPeaksCountAtOnceAndFade(t *testing.T) {
	var l Load
	l.call(10*second, 10*ms, false)
	near(t, "after one answer", l.Cost(10*second), 10e6)
	l.call(10*second, 50*ms, false)
	near(t, "after a peak", l.Cost(10*second), 50e6)
	near(t, "idle for a half-life", l.Cost(10*second+half*2), 25e6)
	near(t, "idle for one and a half", l.Cost(10*second+half*3), 50e6*3/8)
	near(t, "idle for eight", l.Cost(10*second+half*16), 50e6/256)
	l.call(10*second+half, 10*ms, false)
	near(t, "after the next answer", l.Cost(10*second+half), 30e6)
	for at := 10*second + half; at <= 30*second; at += second / 100 {
		l.call(at, 10*ms, false)
	}
	near(t, "after many", l.Cost(30*second), 10e6)
}

func TestCostGrowsWithCallsInFlight(t *testing.T) {
	var l Load
	l.call(second, 10*ms, false)
	for n := range 5 {
		near(t, "in flight", l.Cost(second), 10e6*float64(n+1))
		l.Start(second)
	}
	for range 5 {
		l.Answered(second)
		l.Cancel()
	}
	near(t, "canceled", l.Cost(second), 10e6)
	if l.InFlight() != 0 || l.Latency() != 10*ms {
		t.Errorf("in flight %d, latency %v", l.InFlight(), l.Latency())
	}
}

func TestPriceKnowsNoMoment(t *testing.T) {
	var l Load
	if p := l.Price(second); p != 0 {
		t.Errorf("never called: %v", p)
	}
	l.call(second, 10*ms, false)
	l.Start(second)
	near(t, "with a call in flight", l.Price(second), 10e6)
	near(t, "stuck", l.Price(5*second), 4e9)
	l.Answered(second)
	l.Cancel()
	near(t, "idle for long", l.Price(60*second), 10e6)
	l.call(60*second, 10*ms, true)
	near(t, "failed", l.Price(60*second), 40e6)
	l.Shed(60*second, time.Second)
	near(t, "busy", l.Price(60*second), 10e6*penalties[maxLevel])
}

func TestUnknownEndpointIsAskedOnceAtATime(t *testing.T) {
	var cold, busy Load
	busy.call(second, time.Millisecond, false)
	for range 1000 {
		busy.Start(second)
	}
	if cold.Cost(second) != 0 {
		t.Error("an idle unknown endpoint must be asked")
	}
	cold.Start(second)
	if cold.Cost(second) <= busy.Cost(second) {
		t.Error("an unknown endpoint must not be asked again before it answered")
	}
}

func TestEndpointIdleForLongIsAskedOnceAtATime(t *testing.T) {
	var idle, busy Load
	idle.call(0, 100*ms, false)
	busy.call(20*second, 10*ms, false)
	if idle.Cost(20*second) > busy.Cost(20*second)/50 {
		t.Error("not asked again after 20 s")
	}
	idle.Start(20 * second)
	if idle.Cost(20*second) < busy.Cost(20*second) {
		t.Error("asked by everybody")
	}
	// A call that stays open does not freeze the price for ever.
	if idle.Cost(100*second) > 10e6 {
		t.Errorf("still %.3g after a minute", idle.Cost(100*second))
	}
}

func TestHangingEndpointDoesNotLookFast(t *testing.T) {
	var l Load
	l.call(0, 10*ms, false)
	l.Start(0)
	before := l.Cost(0)
	if after := l.Cost(second); after < before*30 {
		t.Errorf("cost went from %.3g to %.3g while nothing was answered", before, after)
	}
}

func TestFailuresRepel(t *testing.T) {
	var l Load
	l.call(second, 10*ms, false)
	l.call(second, 10*time.Microsecond, true)
	near(t, "one quick failure", l.Cost(second), 40e6)
	l.call(second, 10*ms, false)
	near(t, "and a success", l.Cost(second), 10e6)
	for range 20 {
		l.call(second, 10*time.Microsecond, true)
	}
	near(t, "many failures", l.Cost(second), 1024*10e6)
	l.call(second, 30*ms, true)
	near(t, "a slow failure", l.Cost(second), 1024*30e6)
	if l.Cost(7*second) > 10e6 {
		t.Errorf("not given another chance in 6 s: %.3g", l.Cost(7*second))
	}

	var never Load
	never.call(second, 10*time.Microsecond, true)
	near(t, "only ever failed", never.Cost(second), 4*assumed)
	never.call(second, 10*ms, false)
	near(t, "answered at last", never.Cost(second), 10e6)
}

func TestEstimateKeepsItsParts(t *testing.T) {
	for _, e := range []estimate{{}, {1, 0, 0}, {float64(float32(3.6e12)), maxLevel, 1<<stampBits - 1}, {0, 1, 5}} {
		if got := unpack(e.pack()); got != e {
			t.Errorf("%+v became %+v", e, got)
		}
	}
	for age := range uint32(20 << halfBits) {
		if now, next := weight(age), weight(age+1); next >= now || next < now*0.999 || now > 1 {
			t.Fatalf("weight goes from %v to %v at age %d", now, next, age)
		}
	}
	if w := weight(1<<stampBits - 1); w < 0 || w > 1e-300 {
		t.Errorf("weight of the longest age is %v", w)
	}
	if maxLevel >= 1<<levelBits {
		t.Error("level does not fit")
	}
	// Across the wrap of ticks, and with clocks out of order.
	e := estimate{tick: 1<<stampBits - 10}
	if e.age(5) != 15 || e.age(1<<stampBits-20) != 0 {
		t.Errorf("ages %d and %d", e.age(5), e.age(1<<stampBits-20))
	}
}

func TestConcurrentLoad(t *testing.T) {
	var l Load
	var group sync.WaitGroup
	for g := range 8 {
		group.Go(func() {
			for i := range 5000 {
				began := int64(i) * second / 1000
				l.Start(began)
				if c := l.Cost(int64(i) * second / 1000); math.IsNaN(c) || c < 0 {
					t.Errorf("cost %v", c)
				}
				l.Answered(began)
				if i%10 == g {
					l.Cancel()
				} else {
					l.Done(int64(i)*second/1000, time.Duration(1+g)*ms, i%100 == 0)
				}
			}
		})
	}
	group.Wait()
	if l.InFlight() != 0 || l.Latency() < ms/2 || l.Latency() > 9*ms {
		t.Errorf("in flight %d, latency %v", l.InFlight(), l.Latency())
	}
}

func BenchmarkLoad(b *testing.B) {
	start := time.Now()
	var l Load
	b.ReportAllocs()
	b.Run("StartDone", func(b *testing.B) {
		now := int64(0)
		for b.Loop() {
			now += 100000
			l.Start(now)
			l.Answered(now)
			l.Done(now, ms, false)
		}
	})
	b.Run("Cost", func(b *testing.B) {
		for b.Loop() {
			l.Cost(100 * second)
		}
	})
	b.Run("Clock", func(b *testing.B) {
		for b.Loop() {
			_ = time.Since(start)
		}
	})
}

func TestCallsThatWaitAreAge(t *testing.T) {
	var l Load
	l.call(second, 10*ms, false)
	l.Start(second)
	l.Start(3 * second)
	if l.Waiting() != 2 {
		t.Errorf("%d wait", l.Waiting())
	}
	// 3 s and 1 s old: as slow as 2 s.
	if got := l.Latency(); got != 10*ms {
		t.Errorf("latency %v", got)
	}
	cost := l.Cost(4 * second)
	l.Answered(second)
	near(t, "one of them answered, the other is 1 s old", l.Cost(4*second), cost/2)
	l.Answered(3 * second)
	if got := l.Cost(4 * second); got > cost/100 {
		t.Errorf("nobody waits: %.3g, was %.3g", got, cost)
	}
	// What ends shows that the endpoint is not stuck.
	l.Start(4 * second)
	l.call(10*second, 10*ms, false)
	near(t, "another call has ended", l.Cost(10*second), 4*10e6)
	// A stream is no sign.
	if got := l.Cost(30 * second); got > 40e6 {
		t.Errorf("a call of 26 s: %.3g", got)
	}
}

func TestManyWait(t *testing.T) {
	var l Load
	at := int64(300) * 24 * 3600 * second // ticks have wrapped, several times
	l.call(at, ms, false)
	for range 60_000 {
		l.Start(at)
	}
	if l.Waiting() != 60_000 || l.InFlight() != 60_000 {
		t.Errorf("%d and %d", l.Waiting(), l.InFlight())
	}
	later := at + second
	w := l.waiting.Load()
	if got := meanAge(w, tickOf(later)); got < 950 || got > 960 {
		t.Errorf("mean age %d ticks", got)
	}
	for range 60_000 {
		l.Answered(at)
	}
	if l.Waiting() != 0 || l.waiting.Load() != 0 {
		t.Errorf("%x is left", l.waiting.Load())
	}
}

// Of two that take as long for what they do, the one that turns calls away is
// the dearer, in proportion to how many, and as cheap again soon after.
func TestTurned(t *testing.T) {
	var quiet, some, many Load
	now := int64(second)
	const latency = 20 * time.Millisecond
	for i := range 2000 {
		now += int64(time.Millisecond)
		for _, l := range []*Load{&quiet, &some, &many} {
			l.Start(now)
			l.Answered(now)
			if l == &many && i%4 != 0 || l == &some && i%4 == 0 {
				l.Turned(now)
			} else {
				l.Done(now, latency, false)
			}
		}
	}
	// 250 and 750 a second, each for four times 20 ms.
	for l, want := range map[*Load]float64{&quiet: 0, &some: 20, &many: 60} {
		if n := l.Asked(now); n < 0.9*want || n > 1.1*want {
			t.Errorf("%v attempts, want %v", n, want)
		}
		if n := l.InFlight(); n != 0 {
			t.Errorf("%d are in flight", n)
		}
	}
	if p, q, r := quiet.Cost(now), some.Cost(now), many.Cost(now); q < 10*p || r < 2.5*q {
		t.Errorf("prices %v, %v, %v", p, q, r)
	}
	now += int64(30 * latency)
	if p, r := quiet.Cost(now), many.Cost(now); r > 1.1*p {
		t.Errorf("prices %v and %v, later", p, r)
	}
}

func TestShed(t *testing.T) {
	var l Load
	l.call(second, 10*ms, false)
	l.Shed(second, 0)
	near(t, "a second by default", l.Cost(2*second-1)/l.Cost(2*second+1), 1024)
	l.Shed(2*second, time.Hour)
	l.Shed(2*second, time.Second) // the longer counts
	if l.Cost(31*second) < 1000*l.Cost(33*second) {
		t.Error("not half a minute at most")
	}
}
