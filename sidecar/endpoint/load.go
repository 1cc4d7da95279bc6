package endpoint

import (
	"math"
	"sync/atomic"
	"time"
)

// A Load is what an endpoint has to do and how long it takes for it, as seen
// from here: attempts in flight and a peak-sensitive moving average of latency
// (Finagle's and linkerd's Peak EWMA). It is lock-free; the zero Load is that of
// an endpoint never called. Each Start is followed by exactly one Answered and
// then one Done or Cancel. Every now is the same monotonic clock, in
// nanoseconds, not negative.
//
// The price of an endpoint is
//
//	max(latency, stuck) × 4^penalty × (w + n·w^¼)       w = 2^(−idle/2s), n in flight
//
// where idle is the time since the last outcome. For a busy endpoint that is
// the familiar latency × (n+1). What departs from Finagle, and why:
//
//   - The average halves in 1 s rather than 7: a new instance's first answer
//     may take 100 times as long as its later ones (connect, cold caches) and
//     must not keep it idle for most of a minute. Between the halves w is
//     linear, as good as an exponential and a tenth of its cost.
//   - Only the first call in flight is sold at the faded price w; those beside
//     it fade four times slower. So an endpoint that has not been asked for a
//     while is asked once, not by everybody until it answers; yet a call that
//     stays open for hours does not freeze the price either.
//   - An endpoint that hangs finishes nothing that could raise its average.
//     Therefore stuck is the mean age of the calls that wait for the head of
//     their answer, or the time since the last outcome where that is less: an
//     endpoint whose calls get old while nothing ends is as slow as they are
//     old. Calls older than 16 s, a little more than the default timeout, are
//     streams or long polls, and no sign.
//   - A failure may be quick, so its latency can only raise the average.
//     Instead it raises penalty by one, up to five, and a success or a second
//     without outcome lowers it by one. Thus a rare failure costs the endpoint
//     a call or two, whatever its latency is (a fixed number of milliseconds
//     would be nothing to slow services and banish the instances of fast ones),
//     and one that only fails is soon priced a thousandfold.
//   - An endpoint that says that it has too much to do counts as failing while
//     it asks to be left alone (Shed).
//   - A sidecar that turns attempts away for its endpoint does so quickly, and
//     those that it lets in wait the less: of two that are asked for more than
//     they can do, the one that turns more away would be the cheaper, and get
//     still more. Therefore what it turned away counts as in flight (n) for as
//     long as four attempts take (Turned).
//   - An endpoint never answered by is free while idle and dearer than any
//     other while it is being asked: one call at a time finds out. If that
//     fails, it counts as 100 ms until a success tells better.
type Load struct {
	inflight atomic.Int64
	packed   atomic.Uint64 // an estimate
	// waiting are the attempts without an answer: their number in the upper 16
	// bits, the sum of the ticks at which they began in the lower 48.
	waiting   atomic.Uint64
	busyUntil atomic.Int64 // ns
	// away are the attempts turned away: their number in sixteenths, faded, in
	// the lower 20 bits, and above it when that was so, in 4,096 ns.
	away atomic.Uint64
}

const (
	tickBits   = 20 // a tick is 2²⁰ ns, about 1 ms
	stampBits  = 28 // ticks wrap after 78 hours
	levelBits  = 64 - 32 - stampBits
	maxLevel   = 5
	halfBits   = 10            // a half-life, and the life of one level, is 2¹⁰ ticks, about 1 s
	assumed    = 100e6         // ns: latency where only failures are known
	unanswered = float64(1e15) // ns: price of a call beside the first one to an unknown

	sumBits = 48
	longest = 16 << 10 // ticks: what has waited longer is not stuck but slow by nature

	awayBits  = 20
	awayTick  = 12 // bits of ns that are left out
	awayOne   = 16
	awayLasts = 4 // latencies

	// maxBusy bounds what an endpoint may ask for with Retry-After.
	maxBusy = 30 * time.Second
)

var penalties = [maxLevel + 1]float64{1, 4, 16, 64, 256, 1024}

// An estimate fits in one word, so that it is read and replaced whole:
// latency in ns as float32, level of penalty, and tick of the last outcome.
// The word 0 is an endpoint without outcomes; latency 0 is one with failures only.
type estimate struct {
	latency float64
	level   uint32
	tick    uint32
}

func unpack(v uint64) estimate {
	return estimate{
		latency: float64(math.Float32frombits(uint32(v >> 32))),
		level:   uint32(v) >> stampBits,
		tick:    uint32(v) & (1<<stampBits - 1),
	}
}

func (e estimate) pack() uint64 {
	return uint64(math.Float32bits(float32(e.latency)))<<32 | uint64(e.level<<stampBits|e.tick)
}

func tickOf(now int64) uint32 { return uint32(now>>tickBits) & (1<<stampBits - 1) }

// age is the time since the last outcome, in ticks; clocks read by several
// goroutines may be a little out of order, which is no time at all.
func (e estimate) age(tick uint32) uint32 {
	age := (tick - e.tick) & (1<<stampBits - 1)
	if age >= 1<<(stampBits-1) {
		return 0
	}
	return age
}

// weight is what is left of an average after age ticks, 1 to almost 0: halved
// each half-life, linear in between.
func weight(age uint32) float64 {
	halves := min(age>>halfBits, 1000)
	part := float64(age & (1<<halfBits - 1))
	return math.Float64frombits(uint64(1023-halves)<<52) * (1 - part/(2<<halfBits))
}

// penalty is the level of penalty after age ticks.
func (e estimate) penalty(age uint32) uint32 {
	return e.level - min(e.level, age>>halfBits)
}

// after is the estimate once an outcome has been added.
func (e estimate) after(tick uint32, latency float64, failed bool) estimate {
	age := e.age(tick)
	level := e.penalty(age)
	switch {
	case failed:
		level = min(level+1, maxLevel)
		if latency > e.latency && (e.latency > 0 || latency > assumed) {
			e.latency = latency
		}
	case latency >= e.latency || e.latency == 0: // a peak, or the first known
		e.latency = latency
		level -= min(level, 1)
	default:
		w := weight(age)
		e.latency = e.latency*w + latency*(1-w)
		level -= min(level, 1)
	}
	e.level, e.tick = level, tick
	return e
}

// turned is how many attempts that were turned away still count as in flight.
func (l *Load) turned(now int64, latency float64) float64 {
	v := l.away.Load()
	if v == 0 {
		return 0
	}
	age := max(0, now>>awayTick-int64(v>>awayBits))
	return float64(v&(1<<awayBits-1)) / awayOne * math.Exp(-float64(age<<awayTick)/(awayLasts*latency))
}

// Turned ends an attempt that the endpoint's sidecar has turned away.
func (l *Load) Turned(now int64) {
	for {
		old := l.away.Load()
		n := min((1+l.turned(now, l.usual()))*awayOne, 1<<awayBits-1)
		if l.away.CompareAndSwap(old, uint64(now>>awayTick)<<awayBits|uint64(n)) {
			break
		}
	}
	l.inflight.Add(-1)
}

// usual is the latency that is reckoned with, in ns.
func (l *Load) usual() float64 {
	if latency := unpack(l.packed.Load()).latency; latency > 0 {
		return latency
	}
	return assumed
}

// Start is called as an attempt is given to the endpoint.
func (l *Load) Start(now int64) {
	l.inflight.Add(1)
	l.waiting.Add(1<<sumBits + uint64(tickOf(now)))
}

// Answered says that an attempt waits no longer: the head of its answer is
// there, or it has ended without one. began is what Start was told.
func (l *Load) Answered(began int64) {
	l.waiting.Add(-(1<<sumBits + uint64(tickOf(began))))
}

// Done ends an attempt with an outcome: failed, or how long it took to the
// head of its response.
func (l *Load) Done(now int64, latency time.Duration, failed bool) {
	l.Observe(now, latency, failed)
	l.inflight.Add(-1)
}

// Shed says that the endpoint has turned an attempt away because it has too
// much to do: 429, RESOURCE_EXHAUSTED, or 503 with Retry-After. It is priced
// as one that only fails for as long as it asked with after, up to half a
// minute; 0 is a second. The attempt still ends by Done, as what it was.
func (l *Load) Shed(now int64, after time.Duration) {
	if after <= 0 {
		after = time.Second
	}
	until := now + int64(min(after, maxBusy))
	for {
		old := l.busyUntil.Load()
		if until <= old || l.busyUntil.CompareAndSwap(old, until) {
			return
		}
	}
}

// Observe adds an outcome while the attempt goes on: a connection is priced by
// how long it took to open, not by how long it lasts. The attempt then ends by
// Cancel.
func (l *Load) Observe(now int64, latency time.Duration, failed bool) {
	tick, ns := tickOf(now), float64(max(latency, 1))
	for {
		old := l.packed.Load()
		next := unpack(old).after(tick, ns, failed).pack()
		if next == old || l.packed.CompareAndSwap(old, next) {
			return
		}
	}
}

// Cancel ends an attempt that says nothing more about the endpoint.
func (l *Load) Cancel() { l.inflight.Add(-1) }

// Asked is the number of attempts in flight, and of those that would be had they
// not been Turned.
func (l *Load) Asked(now int64) float64 {
	return float64(max(l.inflight.Load(), 0)) + l.turned(now, l.usual())
}

// InFlight is the number of attempts started and not ended.
func (l *Load) InFlight() int64 { return l.inflight.Load() }

// Waiting is the number of those without an answer.
func (l *Load) Waiting() int64 { return int64(l.waiting.Load() >> sumBits) }

// Latency is the average as of the last outcome, without penalty; 0 if unknown.
func (l *Load) Latency() time.Duration {
	return time.Duration(unpack(l.packed.Load()).latency)
}

// Cost is the price of one more attempt: nanoseconds, meaningful in comparison.
func (l *Load) Cost(now int64) float64 {
	cost, _ := l.Quote(now)
	return cost
}

// Quote is Cost and the number of attempts in flight that it was made with,
// those that were Turned included.
func (l *Load) Quote(now int64) (cost float64, inflight int64) {
	v := l.packed.Load()
	e, tick := unpack(v), tickOf(now)
	latency := e.latency
	if latency == 0 {
		latency = assumed
	}
	n := float64(max(l.inflight.Load(), 0)) + l.turned(now, latency)
	inflight = int64(n)
	if v == 0 {
		return n * unanswered, inflight
	}
	age := e.age(tick)
	if w := l.waiting.Load(); w>>sumBits != 0 && age != 0 {
		latency = max(latency, float64(min(meanAge(w, tick), age))*(1<<tickBits))
	}
	level := e.penalty(age)
	if now < l.busyUntil.Load() {
		level = maxLevel
	}
	return latency * penalties[level] * (weight(age/2) + n*weight(age/8)), inflight
}

// Price is what a call costs where none is in flight and none has been long
// ago: the part of Cost that says how well the endpoint does. 0 is one without
// outcomes.
func (l *Load) Price(now int64) float64 {
	v := l.packed.Load()
	if v == 0 {
		return 0
	}
	e, tick := unpack(v), tickOf(now)
	latency, age := l.usual(), e.age(tick)
	if w := l.waiting.Load(); w>>sumBits != 0 && age != 0 {
		latency = max(latency, float64(min(meanAge(w, tick), age))*(1<<tickBits))
	}
	level := e.penalty(age)
	if now < l.busyUntil.Load() {
		level = maxLevel
	}
	return latency * penalties[level]
}

// meanAge is how long the attempts of a waiting have waited, in ticks; 0 where
// that is so long that it says nothing, or does not fit together: number and
// ticks wrap.
func meanAge(waiting uint64, tick uint32) uint32 {
	mean := uint32(waiting & (1<<sumBits - 1) / (waiting >> sumBits))
	if age := (tick - mean) & (1<<stampBits - 1); age < longest {
		return age
	}
	return 0
}
