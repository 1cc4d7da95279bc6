// Package telemetry is meshd's memory of what sidecars measure: it takes OTLP
// metrics, turns cumulative values into what happened each second, keeps that
// for an hour with whole distributions, and answers what a service, an
// instance or a caller's calls looked like in any stretch of it. Beside it, it
// keeps whole traces (docs/design/010-watching.md).
//
// Memory is bounded by Config; what does not fit is counted, refused in the
// OTLP answer and logged, and changes nothing for what is already kept.
package telemetry

import (
	"cmp"
	"context"
	"hash/maphash"
	"log/slog"
	"sync"
	"time"
)

// Config of a Store. The zero value of a field means its default.
type Config struct {
	// Clock tells the time; time.Now by default.
	Clock func() time.Time
	// Retention is how far back it remembers; 1 h by default, 192 s at least.
	Retention time.Duration
	// Instances says how many instances each service has at the moment; it is
	// called once a second by Run. Nil: the store knows no instances.
	Instances func() map[Service]int

	// What bounds the memory, in numbers: services (default 256), instances of
	// a service (256) and of all (2,000), callers and what they call (4,096
	// pairs), those that report (5,000) and their series (1,000,000).
	MaxServices  int
	MaxEndpoints int
	MaxInstances int
	MaxEdges     int
	MaxReporters int
	MaxSeries    int
	// And in bytes: what has passed, the last minute's distributions included
	// (default 192 MiB: beyond it the oldest minutes are forgotten early), the last values of reported distributions
	// (64 MiB), and spans (24 MiB, compressed; the oldest trace leaves first).
	MaxHistory    int
	MaxHistograms int
	MaxTraces     int

	// Logger takes a warning when something no longer fits; slog.Default() by default.
	Logger *slog.Logger
}

// staleAfter is how long the gauges of a reporter count after its last report.
const staleAfter = 3 * time.Second

// forgetAfter is how long the cumulative values of a silent reporter are kept:
// as long as a late report could still be placed.
const forgetAfter = hotSlots * step

// minRetention is longer than any series outlives its last report, so that no
// series is left with a service that has been forgotten.
const minRetention = 3 * hotSlots * step

// A Store keeps what is reported. Its methods may be called from any
// goroutine; Run is called once.
type Store struct {
	cfg    Config
	traces traces // has its own lock
	seed   maphash.Seed

	mu        sync.Mutex
	began     int64 // the slot in which the store was made
	cur       int64 // the slot that time is in
	sampled   int64 // newest slot whose gauges have been sampled
	cleaned   int64 // hotSlots since 1970, as of when series were last forgotten
	services  map[Service]*service
	ports     map[string]*port
	edges     map[pair]*edge
	reporters map[reporterKey]*reporter
	followed  map[string]struct{}  // see Follow
	weighed   map[uint64]*instance // whose weight a point is, by its key
	numbered  uint32               // the last reporter.number
	stats     Stats

	nSeries, nInstances          int
	historyBytes, histogramBytes int
	liveBytes                    int // of distributions that reports may still add to, as of the last tick
	// Slots before which there is no use in trying to make room.
	noEvict, noEvictEdge, noEvictService int64

	// Of the report that is being read.
	point         point
	scratch, last buckets // what has just arrived, and what had before
	delta         buckets // what is new in it
	bytes         []byte
	shares        []share
	sealer        sealer

	subs   map[chan struct{}]struct{}
	closed bool
}

// Stats counts what the store took and what it refused since it began.
type Stats struct {
	Reporters, Series, Services, Instances, Edges int // at the moment
	HistoryBytes, TraceBytes, Traces              int // at the moment

	Points            uint64 // taken
	OutOfOrder        uint64 // older than what was known, dropped
	Invalid           uint64 // refused: not what docs/reference/wire.md says
	OverflowReporters uint64 // points refused: Config.MaxReporters
	OverflowServices  uint64 // refused: Config.MaxServices
	OverflowSeries    uint64 // refused: Config.MaxSeries, Config.MaxHistograms
	OverflowEndpoints uint64 // not told apart: Config.MaxEndpoints, Config.MaxInstances
	OverflowEdges     uint64 // not told apart: Config.MaxEdges
	OverflowHistory   uint64 // minutes forgotten early: Config.MaxHistory

	Spans        uint64 // taken
	InvalidSpans uint64 // refused
	DroppedSpans uint64 // refused: of a trace, or by themselves, too large
	Evicted      uint64 // traces that made place for newer ones

	// Busy is how long the store has been taking reports and spans, and closing
	// seconds, one at a time: CPU, and what waiting for a processor adds to it.
	Busy time.Duration
}

// Overflow is the number of points that did not fit.
func (s Stats) Overflow() uint64 {
	return s.OverflowReporters + s.OverflowServices + s.OverflowSeries + s.OverflowEndpoints + s.OverflowEdges
}

// addSince adds the time since began.
func addSince(d *time.Duration, began time.Time) { *d += time.Since(began) }

// NewStore makes an empty store.
func NewStore(cfg Config) *Store {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	cfg.Retention = max(cmp.Or(cfg.Retention, time.Hour), minRetention)
	cfg.MaxServices = cmp.Or(cfg.MaxServices, 256)
	cfg.MaxEndpoints = cmp.Or(cfg.MaxEndpoints, 256)
	cfg.MaxInstances = cmp.Or(cfg.MaxInstances, 2_000)
	cfg.MaxEdges = cmp.Or(cfg.MaxEdges, 4_096)
	cfg.MaxReporters = cmp.Or(cfg.MaxReporters, 5_000)
	cfg.MaxSeries = cmp.Or(cfg.MaxSeries, 1_000_000)
	cfg.MaxHistory = cmp.Or(cfg.MaxHistory, 192<<20)
	cfg.MaxHistograms = cmp.Or(cfg.MaxHistograms, 64<<20)
	cfg.MaxTraces = cmp.Or(cfg.MaxTraces, 24<<20)
	now := slotOf(cfg.Clock())
	return &Store{
		cfg:       cfg,
		began:     now,
		cur:       now,
		sampled:   now - 1,
		traces:    newTraces(cfg.MaxTraces),
		seed:      maphash.MakeSeed(),
		sealer:    newSealer(),
		services:  map[Service]*service{},
		ports:     map[string]*port{},
		edges:     map[pair]*edge{},
		reporters: map[reporterKey]*reporter{},
		weighed:   map[uint64]*instance{},
		subs:      map[chan struct{}]struct{}{},
	}
}

// Run samples gauges and instances and wakes subscribers as soon as a second is
// over, until ctx ends; it then closes the subscribers' channels and returns.
func (s *Store) Run(ctx context.Context) {
	// At the second's edge: whoever looks sees a settled second when it is one,
	// not up to a second later.
	edge := func() time.Duration { return step - time.Duration(s.cfg.Clock().UnixNano()%int64(step)) }
	timer := time.NewTimer(edge())
	defer timer.Stop()
	defer s.close()
	var reported uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			s.tick()
			timer.Reset(edge())
			if st := s.Stats(); st.Overflow() > reported {
				reported = st.Overflow()
				s.cfg.Logger.Warn("telemetry: reports do not fit",
					"reporters", st.OverflowReporters, "services", st.OverflowServices, "series", st.OverflowSeries,
					"instances", st.OverflowEndpoints, "callers", st.OverflowEdges,
					"next", "fewer services or endpoints report here, or the rest goes to a backend; docs/reference/wire.md has the bounds")
			}
		}
	}
}

// Subscribe returns a channel that receives after each second that Run has
// finished; a reader that is late finds one wake-up waiting, not many. The
// channel is closed when Run ends. cancel must be called when done.
func (s *Store) Subscribe() (updates <-chan struct{}, cancel func()) {
	ch := make(chan struct{}, 1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		close(ch)
		return ch, func() {}
	}
	s.subs[ch] = struct{}{}
	return ch, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.subs, ch)
	}
}

// Stats says how full the store is and what it refused.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Reporters, st.Series, st.Services = len(s.reporters), s.nSeries, len(s.services)
	st.Instances, st.Edges, st.HistoryBytes = s.nInstances, len(s.edges), s.historyBytes+s.liveBytes
	s.traces.count(&st)
	return st
}

func (s *Store) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for ch := range s.subs {
		close(ch)
	}
	clear(s.subs)
}

// tick does what is due once a second.
func (s *Store) tick() {
	var instances map[Service]int
	if s.cfg.Instances != nil {
		instances = s.cfg.Instances()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer addSince(&s.stats.Busy, time.Now())
	now := s.cfg.Clock()
	s.advance(slotOf(now))
	s.sample(now.UnixNano(), instances)
	s.expire(now.UnixNano())
	for ch := range s.subs {
		select {
		case ch <- struct{}{}:
		default:
		}
	}
}

// sample writes the gauges of the moment into the slots that have ended since
// the last sample. Needs s.mu.
func (s *Store) sample(now int64, instances map[Service]int) {
	for _, svc := range s.services {
		svc.now = gauges{}
		for _, in := range svc.instances {
			in.active = 0
			in.breakers.begin()
		}
	}
	for _, r := range s.reporters {
		for _, i := range r.gauges {
			g := &r.series[i]
			if g.kind == endpointBreaker {
				g.countBreaker(r, now)
				continue
			}
			if now-g.told.seen > int64(staleAfter) {
				continue
			}
			g.port.service.now.add(g.kind, float32(g.value))
			if g.inst != nil {
				g.inst.active += float32(g.value)
			}
		}
	}
	for id, n := range instances {
		if n > 0 {
			if svc := s.service(id); svc != nil {
				svc.lastSeen = s.cur
			}
		}
	}
	first := max(s.sampled+1, s.cur-hotSlots+1)
	for _, svc := range s.services {
		for n := first; n < s.cur; n++ {
			f := &svc.slot(n).figures
			f.gauges, f.instances = svc.now, int32(instances[svc.id])
		}
		for _, in := range svc.instances {
			in.now = in.active
			weight := in.weigh(s.cur)
			for n := first; n < s.cur; n++ {
				f := in.figures(n)
				f.active, f.weight = in.now, weight
			}
		}
		s.notice(svc)
	}
	s.sampled = max(s.sampled, s.cur-1)
	s.liveBytes = s.live()
}

// live is what the distributions weigh that are not packed yet. Needs s.mu.
func (s *Store) live() (bytes int) {
	for _, svc := range s.services {
		for i := range svc.hot {
			bytes += svc.hot[i].client.bytes() + svc.hot[i].server.bytes()
		}
		for _, in := range svc.instances {
			bytes += in.pending[0].latency.bytes() + in.pending[1].latency.bytes()
		}
	}
	for _, e := range s.edges {
		bytes += e.sum.latency.bytes()
		for i := range e.hot {
			bytes += e.hot[i].latency.bytes()
		}
	}
	return bytes
}

// advance opens the slots up to n. Time that goes backwards changes nothing.
// Needs s.mu.
func (s *Store) advance(n int64) {
	if n <= s.cur {
		return
	}
	keep := int64(s.cfg.Retention / step)
	// After a long sleep there is no history to keep; open only what matters.
	for k := max(s.cur+1, n-keep-hotSlots); k <= n; k++ {
		for _, svc := range s.services {
			s.historyBytes += svc.turn(k)
		}
		for _, e := range s.edges {
			s.historyBytes += e.turn(k)
		}
	}
	if n/perChunk != s.cur/perChunk {
		s.dropBefore(n - keep)
	}
	s.cur = n
	s.fit()
}

func slotOf(t time.Time) int64 { return t.UnixNano() / int64(step) }

// Now is the time by the store's clock.
func (s *Store) Now() time.Time { return s.cfg.Clock() }

// Version changes whenever a Snapshot or a History could: about twice a
// second, when a slot ends and when Run has sampled it.
func (s *Store) Version() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(slotOf(s.cfg.Clock()))
	return s.cur + s.sampled
}
