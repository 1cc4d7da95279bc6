package breaker

import "math"

// gradient is the law of an Adaptive. It starts from Gradient2
// (Netflix/concurrency-limits): the limit follows the ratio of the latency
// without waiting (baseline) to the present one,
//
//	limit <- limit * min(1, tolerance*baseline/latency) + room
//
// which comes to rest where tolerance*N + room calls are in flight for an
// application that works on N at once. What it does otherwise:
//
//   - Latencies are means, since only with means limit = throughput * latency;
//     and a window closes when its mean is known to 10 %, so that two kinds of
//     calls, one a hundred times slower, are not taken for congestion.
//   - The baseline is no long average, which drifts up with every overload that
//     lasts. It is learnt where there is no pressure: while the application has
//     less than half of the limit to do, and in probes.
//   - A probe halves the limit for a moment, lets what was in flight go, and
//     compares. Throughput as before: the calls were only waiting, the lower
//     limit stays, and the next probe goes on from there. Throughput down: the
//     application works on more than that at once, so the latency now seen has
//     no waiting in it and is the baseline, be it lower than the old or higher.
//     So neither a limit that is far too high nor an application that became
//     slower without being busier is taken for granted longer than some seconds.
//   - Before anything is known all calls but a flood are let in: a thousand that
//     do nothing but wait for something else are no sign of overload, and to
//     shed them would be. The first window then says how many there are, and
//     the limit begins there, or at 100.
//   - It grows only while at least half of the limit is used; then each window
//     without congestion adds twice what the last one did, at most a quarter of
//     the limit; more than half of it while it is used up and congestion has never
//     been seen.
//
// Not safe for concurrent use: the Adaptive's lock is held.
type gradient struct {
	cfg      AdaptiveConfig
	limit    float64
	baseline float64 // ns; 0: not known
	spread   float64 // the standard deviation that goes with it
	known    float64 // samples that they are made of
	growth   float64 // what the next window without congestion adds
	met      bool    // congestion has been seen

	n, sum, squares float64 // latencies of this window
	since           int64   // its start; 0: none
	rate            float64 // ends a ns outside probes, smoothed

	probing    probeState
	probeStart int64
	probeLimit float64
	toDrain    int64 // ends still to come of calls older than the probe
	nextProbe  int64
	probeGap   int64
}

// A window is what is known of a stretch of time at its end.
type window struct {
	now      int64
	done     int64 // calls ended
	peak     int64 // most in flight
	inFlight int64 // at the end

	latency, err float64 // mean and its standard error, ns
	spread       float64 // standard deviation, ns
	samples      float64
	rate         float64 // ends a ns
}

type probeState uint8

const (
	noProbe  probeState = iota
	draining            // calls from before the probe are still in flight
	measuring
	refilling // calls from the probe are
)

const (
	tolerance    = 1.2
	smoothing    = 0.4
	wantedError  = 0.1 // of a mean, before its window closes
	longest      = 30  // windows of the least length that one may last for that
	longestProbe = 10
	abandonProbe = 50   // windows after which a probe ends without a finding
	fewest       = 10   // samples, however long it takes
	cold         = 1000 // the limit while nothing is known
	start        = 100  // the least that the first window leaves
	clip         = 100  // a sample counts as at most so many baselines
	firstGap     = int64(1e9)
	costless     = 0.85 // a probe whose throughput stays above this has cost nothing
)

func newGradient(cfg AdaptiveConfig) gradient {
	return gradient{cfg: cfg, limit: float64(cfg.Initial), growth: 1, probeGap: firstGap}
}

// inForce is the limit now.
func (g *gradient) inForce() float64 {
	if g.probing == draining || g.probing == measuring {
		return g.probeLimit
	}
	return g.limit
}

// sample counts one latency.
func (g *gradient) sample(latency int64) {
	x := max(float64(latency), 1)
	if g.baseline > 0 {
		x = min(x, clip*g.baseline)
	}
	g.n++
	g.sum += x
	g.squares += x * x
	g.toDrain--
}

// due says whether the window can be closed.
func (g *gradient) due(now int64) bool {
	if g.probing == draining || g.probing == refilling {
		return g.toDrain <= 0
	}
	if g.since == 0 {
		g.since = now
	}
	age := now - g.since
	if age < int64(g.cfg.Window) || g.n < fewest {
		return false
	}
	mean, err := g.mean()
	if g.probing == measuring {
		return err <= wantedError*mean || age >= longestProbe*int64(g.cfg.Window)
	}
	if high := tolerance * g.baseline; high > 0 && (mean-3*err > high || mean+err < high) {
		return true // no more samples are needed to know what to do
	}
	return err <= wantedError*mean || age >= longest*int64(g.cfg.Window)
}

func (g *gradient) mean() (mean, err float64) {
	mean = g.sum / g.n
	return mean, math.Sqrt(max(0, g.squares/g.n-mean*mean) / g.n)
}

// close ends a window and moves the limit.
func (g *gradient) close(w window) {
	switch g.probing {
	case draining:
		g.probing = measuring
		g.reset(w.now)
		return
	case refilling:
		g.probing = noProbe
		g.reset(w.now)
		return
	}
	w.latency, w.err = g.mean()
	w.spread, w.samples = w.err*math.Sqrt(g.n), g.n
	w.rate = float64(w.done) / float64(w.now-g.since)
	g.reset(w.now)
	switch {
	case g.cfg.Min == g.cfg.Max:
		g.learn(w)
	case g.baseline == 0:
		g.learn(w)
		g.limit = max(min(g.limit, float64(w.peak)), min(g.limit, start))
	case g.probing == measuring:
		g.probed(w)
	default:
		g.move(w)
	}
	g.limit = min(max(g.limit, float64(g.cfg.Min)), float64(g.cfg.Max))
}

func (g *gradient) reset(now int64) {
	g.n, g.sum, g.squares, g.since = 0, 0, 0, now
}

// learn moves the baseline towards what was seen without pressure: the mean of
// all at first, later a fifth of the way. A window of few samples moves it
// little.
func (g *gradient) learn(w window) {
	g.known = min(g.known, 4*w.samples) + w.samples
	part := w.samples / g.known
	g.baseline += part * (w.latency - g.baseline)
	g.spread += part * (w.spread - g.spread)
}

func (g *gradient) move(w window) {
	if g.rate == 0 {
		g.rate = w.rate
	}
	g.rate += 0.3 * (w.rate - g.rate)
	if float64(w.peak) < g.limit/2 {
		g.learn(w)
		g.growth = 1
		return
	}
	if w.latency+2*w.err < g.baseline {
		g.learn(w)
	}
	room := math.Sqrt(g.limit) / 2
	ratio := min(1, max(0.5, tolerance*g.baseline/max(w.latency-2*w.err, 1)))
	if ratio == 1 {
		if !g.met && float64(w.peak) >= math.Floor(g.limit) {
			g.limit *= 1.5
		}
		g.limit += g.growth * room
		g.growth = min(2*g.growth, room) // at most a quarter more
		return
	}
	g.growth, g.met = 1, true
	next := g.limit + smoothing*(g.limit*(ratio-1)+room)
	if float64(w.peak) < math.Floor(g.limit) { // nobody waits because of the limit
		g.limit = max(next, min(g.limit, float64(w.peak)))
		return
	}
	g.limit = next
	if g.nextProbe == 0 {
		g.nextProbe = w.now + g.probeGap
	}
	if w.now >= g.nextProbe {
		g.probe(w)
	}
}

// probe begins a probe, if need be below the floor, or finds that the limit is
// one, so that the latency is what one call takes.
func (g *gradient) probe(w window) {
	g.probeLimit = math.Floor(g.limit / 2)
	if g.probeLimit < 1 {
		g.probing = noProbe
		g.learn(w)
		g.probeStart = w.now
		g.later(w.now)
		return
	}
	if g.probing == noProbe {
		g.probeStart = w.now
	}
	g.probing = draining
	g.toDrain = w.inFlight
}

// probed ends a probe.
func (g *gradient) probed(w window) {
	switch {
	case float64(w.peak) < g.probeLimit: // there was less to do than that
		g.learn(w)
	case w.rate >= (costless+2*w.err/w.latency)*g.rate: // the rest had only waited
		g.baseline = min(g.baseline, w.latency)
		if g.probeLimit >= float64(g.cfg.Min) {
			g.limit = g.probeLimit
			g.rate = w.rate
			g.probeGap = firstGap
			g.probe(w)
			return
		}
	case w.rate >= (costless-w.err/w.latency)*g.rate: // cannot tell, but cost little
		g.baseline = min(g.baseline, w.latency)
		g.probeGap = firstGap
		g.probeStart = w.now - (w.now-g.probeStart)/4
	default:
		if math.Abs(w.latency-g.baseline) > 0.2*g.baseline+2*w.err {
			g.probeGap = firstGap
		}
		trust := min(1, wantedError*w.latency/w.err)
		g.baseline += trust * (w.latency - g.baseline)
		g.spread += trust * (w.spread - g.spread)
	}
	g.probing = refilling
	g.toDrain = w.inFlight
	g.later(w.now)
}

// abandon ends a probe that has found nothing for long, since calls are few or
// do not end, and says whether it did.
func (g *gradient) abandon(now int64) bool {
	if g.probing == noProbe || now-g.probeStart < abandonProbe*int64(g.cfg.Window) {
		return false
	}
	g.probing = noProbe
	g.reset(now)
	g.later(now)
	return true
}

// later sets the time of the next probe. They become rarer while they find
// what was known, and take at most a fortieth of the time.
func (g *gradient) later(now int64) {
	g.nextProbe = now + min(max(g.probeGap, 40*(now-g.probeStart)), int64(g.cfg.Probe))
	g.probeGap = min(2*g.probeGap, int64(g.cfg.Probe))
}
