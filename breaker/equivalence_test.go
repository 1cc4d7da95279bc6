package breaker

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sony/gobreaker/v2"
)

// plain is gobreaker used in the ordinary way, told of every call.
func plain(cfg Config) *gobreaker.TwoStepCircuitBreaker[struct{}] {
	cfg = cfg.withDefaults()
	return gobreaker.NewTwoStepCircuitBreaker[struct{}](gobreaker.Settings{
		MaxRequests:  cfg.HalfOpenRequests,
		Interval:     cfg.Window,
		BucketPeriod: cfg.bucket(),
		Timeout:      cfg.OpenFor,
		ReadyToTrip: func(c gobreaker.Counts) bool {
			return cfg.tripped(c.ConsecutiveFailures, uint64(c.TotalFailures), uint64(c.TotalSuccesses)) != RuleNone
		},
		IsExcluded: func(err error) bool { return err == errCanceled },
	})
}

type pair struct {
	t    *testing.T
	ours *Breaker
	ref  *gobreaker.TwoStepCircuitBreaker[struct{}]
	max  uint32
	seen map[State]int
}

func newPair(t *testing.T, cfg Config) *pair {
	return &pair{t, New("x", cfg, nil), plain(cfg), cfg.withDefaults().HalfOpenRequests, map[State]int{}}
}

// check compares what can be seen of the two.
func (p *pair) check(at string) {
	p.t.Helper()
	want := stateOf(p.ref.State())
	p.seen[want]++
	if got := p.ours.State(); got != want {
		p.t.Fatalf("%s: state %v, gobreaker says %v", at, got, want)
	}
	c := p.ref.Counts()
	ready := want == Closed || want == HalfOpen && c.Requests-c.TotalExclusions < p.max
	if got := p.ours.Ready(); got != ready {
		p.t.Fatalf("%s: Ready %v in state %v, gobreaker would say %v", at, got, want, ready)
	}
}

type call struct {
	ticket Ticket
	done   func(error)
}

func (p *pair) allow(at string) (call, bool) {
	p.t.Helper()
	ticket, ok := p.ours.Allow()
	done, err := p.ref.Allow()
	if ok != (err == nil) {
		p.t.Fatalf("%s: Allow %v, gobreaker says %v", at, ok, err)
	}
	return call{ticket, done}, ok
}

func (p *pair) end(c call, rng *rand.Rand, failRate float64) {
	switch x := rng.Float64(); {
	case x < 0.05:
		p.ours.Cancel(c.ticket)
		c.done(errCanceled)
	case x < 0.05+failRate:
		p.ours.Done(c.ticket, false)
		c.done(errFailed)
	default:
		p.ours.Done(c.ticket, true)
		c.done(nil)
	}
}

func randomConfig(rng *rand.Rand) Config {
	cfg := Config{
		ConsecutiveFailures: uint32(rng.IntN(6)),
		MinRequests:         uint32(rng.IntN(30)),
		Window:              time.Duration(1 + rng.Int64N(int64(10*time.Second))),
		OpenFor:             time.Duration(1 + rng.Int64N(int64(5*time.Second))),
		HalfOpenRequests:    uint32(rng.IntN(4)),
	}
	if rng.IntN(4) > 0 {
		cfg.ErrorRatio = rng.Float64()
	}
	return cfg
}

// Calls that take no time: the two must agree through rolling buckets, runs,
// expiries and trials.
func TestSameAsGobreakerInRollingWindow(t *testing.T) {
	seen := map[State]int{}
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 1))
			cfg := randomConfig(rng)
			p := newPair(t, cfg)
			p.seen = seen
			failRate := rng.Float64()
			for i := range 600 {
				at := fmt.Sprintf("seed %d step %d config %+v", seed, i, cfg)
				if rng.IntN(40) == 0 {
					failRate = rng.Float64()
				}
				if rng.IntN(3) == 0 {
					// The exact ends of the open state and of a bucket are as
					// likely as anything between.
					steps := []time.Duration{1, cfg.OpenFor, cfg.OpenFor + 1, cfg.bucket(), cfg.Window,
						time.Duration(1 + rng.Int64N(int64(cfg.Window)/5+1))}
					time.Sleep(steps[rng.IntN(len(steps))])
					synctest.Wait()
					p.check(at)
				}
				if c, ok := p.allow(at); ok {
					p.check(at)
					p.end(c, rng, failRate)
				}
				p.check(at)
			}
		})
	}
	for _, s := range []State{Closed, HalfOpen, Open} {
		if seen[s] < 300 {
			t.Errorf("only %d checks in state %v: the test does not get there", seen[s], s)
		}
	}
}

// Calls that overlap, outlive their period and end in any order, with nothing
// leaving the window.
func TestSameAsGobreakerWithOverlappingCalls(t *testing.T) {
	for seed := range uint64(60) {
		synctest.Test(t, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(seed, 2))
			cfg := randomConfig(rng)
			cfg.Window = 10000 * time.Hour
			p := newPair(t, cfg)
			failRate := rng.Float64()
			var open []call
			for i := range 800 {
				at := fmt.Sprintf("seed %d step %d config %+v", seed, i, cfg)
				switch {
				case rng.IntN(10) == 0:
					time.Sleep(time.Duration(rng.Int64N(2 * int64(cfg.OpenFor))))
					synctest.Wait()
				case len(open) > 0 && rng.IntN(2) == 0:
					k := rng.IntN(len(open))
					c := open[k]
					open[k] = open[len(open)-1]
					open = open[:len(open)-1]
					p.end(c, rng, failRate)
				default:
					if c, ok := p.allow(at); ok {
						open = append(open, c)
					}
				}
				if rng.IntN(100) == 0 {
					failRate = rng.Float64()
				}
				p.check(at)
			}
		})
	}
}
