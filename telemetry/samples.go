package telemetry

import (
	"encoding/hex"
	"time"
)

// MaxSamples is the most samples that Series makes.
const MaxSamples = 3600

// ends are the span's, with now in place of what is not said.
func (s Span) ends(now time.Time) (from, to time.Time) {
	from, to = s.From, s.To
	if to.IsZero() {
		to = now
	}
	if from.IsZero() {
		from = to.Add(-5 * time.Minute)
	}
	return from, to
}

// slots are the first and the last second of the span that there can be
// something of: those that reports have covered. Needs s.mu.
func (s *Store) slots(span Span) (first, last int64) {
	from, to := span.ends(s.cfg.Clock())
	first = slotOf(from.Add(step - 1))
	last = slotOf(to.Add(step-1)) - 1
	first = max(first, s.cur-int64(s.cfg.Retention/step))
	return first, min(last, s.cur-settle, s.sampled)
}

// steps are the lengths of samples that are chosen by themselves, in seconds.
var steps = []int64{1, 2, 5, 10, 15, 30, 60}

// stride is the span's step, in slots.
func (s Span) stride(first, last int64) int64 {
	n := last - first + 1
	if s.Step > 0 {
		return max(int64(s.Step/step), 1, (n+MaxSamples-1)/MaxSamples)
	}
	for _, k := range steps {
		if n <= 300*k {
			return k
		}
	}
	return (n + 299) / 300
}

// Series implements Reader.
func (s *Store) Series(id Service, of Selection, span Span) []Sample {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(slotOf(s.cfg.Clock()))
	svc := s.services[id]
	if svc == nil {
		return nil
	}
	first, last := s.slots(span)
	c := &collector{stride: span.stride(first, last), out: []Sample{}}
	if of.Instance != "" {
		in := svc.instances[of.Instance]
		if in == nil {
			return nil
		}
		in.each(first, last, s.cur, func(n int64, f *instFigures) {
			sum := c.at(n)
			sum.requests += float64(f.requests)
			sum.failures += float64(f.failures)
			sum.inFlight += float64(f.active)
		})
		c.flush()
		for i := range c.out {
			c.latency.reset()
			begin := slotOf(c.out[i].Time)
			in.eachWide(begin, begin+c.stride-1, func(_ int64, _ float32, l latencies) { l.into(&c.latency) })
			c.percentiles(&c.out[i])
		}
		return c.out
	}
	svc.each(first, last, s.cur, func(n int64, f *figures, l latencies) {
		c.at(n).add(f)
		l.into(&c.latency)
	})
	c.flush()
	return c.out
}

// A collector makes samples of slots that come in order.
type collector struct {
	stride  int64
	out     []Sample
	begin   int64 // of the step that is being summed up
	sum     stepSums
	latency Histogram
}

// stepSums are what a step has seen.
type stepSums struct {
	slots              float64
	requests, failures float64
	seconds            float64
	served, serving    float64 // calls that instances served, and the seconds that those took
	parts              [numParts]float64
	retries, denied    float64
	shed               float64
	inFlight           float64
	instances          int32
	held, openBreakers float32
	slowest            float32
	trace              [16]byte
	byServer           bool
}

func (t *stepSums) add(f *figures) {
	side, inFlight := f.side()
	t.requests += float64(side.requests)
	t.failures += float64(side.failures)
	t.seconds += float64(side.seconds)
	t.served += float64(f.server.requests)
	t.serving += float64(f.server.seconds)
	for i, v := range f.parts {
		t.parts[i] += float64(v)
	}
	t.retries += float64(f.retries)
	t.denied += float64(f.denied)
	t.shed += float64(f.shed)
	t.inFlight += float64(inFlight)
	t.instances = max(t.instances, f.instances)
	t.held = max(t.held, f.held)
	t.openBreakers = max(t.openBreakers, f.openBreakers)
	if side.slowest > t.slowest {
		t.slowest, t.trace = side.slowest, side.trace
	}
	t.byServer = f.byServer
}

// at is the step that slot n belongs to, after the one before it is finished.
func (c *collector) at(n int64) *stepSums {
	if begin := n - n%c.stride; begin != c.begin {
		c.flush()
		c.begin = begin
	}
	c.sum.slots++
	return &c.sum
}

func (c *collector) flush() {
	t := &c.sum
	if t.slots == 0 {
		return
	}
	sample := Sample{
		Time:         timeOf(c.begin),
		RPS:          t.requests / t.slots,
		Success:      success(t.requests, t.failures),
		InFlight:     t.inFlight / t.slots,
		Instances:    int(t.instances),
		Retries:      t.retries / t.slots,
		Denied:       t.denied / t.slots,
		Shed:         t.shed / t.slots,
		Held:         float64(t.held),
		OpenBreakers: float64(t.openBreakers),
	}
	t.split(&sample)
	c.percentiles(&sample)
	// The width of a bucket is what a histogram does not know.
	if t.slowest > 0 && 1000*float64(t.slowest)*1.023 >= sample.P99Ms {
		sample.Trace = hex.EncodeToString(t.trace[:])
	}
	c.out = append(c.out, sample)
	c.sum = stepSums{}
	c.latency.reset()
}

func (c *collector) percentiles(sample *Sample) {
	sample.P50Ms = 1000 * c.latency.Quantile(0.50)
	sample.P90Ms = 1000 * c.latency.Quantile(0.90)
	sample.P99Ms = 1000 * c.latency.Quantile(0.99)
}

// split says where the mean call's time went: what is counted of a part by the
// calls of the side that counts it, and what is left by name. Reports of two
// sides do not fit to the call, so no part is more than what is left for it.
func (t *stepSums) split(sample *Sample) {
	if t.requests <= 0 {
		return
	}
	ms := func(seconds, calls float64) float64 {
		if calls <= 0 {
			return 0
		}
		return 1000 * seconds / calls
	}
	sample.MeanMs = ms(t.seconds, t.requests)
	left := sample.MeanMs
	take := func(to *float64, ms float64) {
		*to = min(max(ms, 0), left)
		left -= *to
	}
	if !t.byServer {
		take(&sample.HeldMs, ms(t.parts[partHeld], t.requests))
		take(&sample.ConnectMs, ms(t.parts[partConnect], t.requests))
		take(&sample.RetriedMs, ms(t.parts[partRetried], t.requests))
	}
	queued, downstream := ms(t.parts[partQueued], t.served), ms(t.parts[partDownstream], t.served)
	take(&sample.QueuedMs, queued)
	take(&sample.DownstreamMs, downstream)
	take(&sample.OwnMs, ms(t.serving, t.served)-queued-downstream)
	sample.NetworkMs = left
}

// Knows says whether anything is known of a service.
func (s *Store) Knows(id Service) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.services[id] != nil
}
