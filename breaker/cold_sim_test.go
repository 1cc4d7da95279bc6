package breaker

import (
	"math/rand/v2"
	"testing"
	"time"
)

// A thousand callers come at once to an instance that has just started and
// that only waits for something else, a second each: it has enough room, so
// nobody is shed, then or later.
func TestColdStartOfCallsThatWait(t *testing.T) {
	g := newGated(newSim(1), 1_000_000, func(r *rand.Rand) float64 { return 1 + r.Float64()/50 }, AdaptiveConfig{})
	const callers = 1000
	var next func(bool)
	next = func(bool) { g.offer(Critical, next) }
	for range callers {
		g.after(int64(g.rng.Float64()*float64(20*time.Millisecond)), func() { next(true) })
	}
	g.run(20 * time.Second)
	if s := g.sheds(); s != "" {
		t.Errorf("shed:%s", s)
	}
	if n := g.good[Critical.level()]; n < 18*callers {
		t.Errorf("%d calls in 20 s, want about 20 × %d", n, callers)
	}
}
