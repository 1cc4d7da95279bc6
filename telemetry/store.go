// Package telemetry is meshd's memory of what sidecars measure: it takes their
// OTLP metrics, turns cumulative values into what happened each second, and
// answers what a service looked like, as its callers saw it, over the last
// seconds and the last quarter of an hour.
//
// Memory is bounded by Config; what does not fit is counted, refused in the
// OTLP answer and logged, and changes nothing for what is already kept.
package telemetry

import (
	"cmp"
	"context"
	"log/slog"
	"sync"
	"time"

	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	"google.golang.org/grpc"
)

// Config of a Store. The zero value of a field means its default.
type Config struct {
	// Clock tells the time; time.Now by default.
	Clock func() time.Time
	// Retention is how far back History goes; 15 min by default, 192 s at least.
	Retention time.Duration
	// Instances says how many instances each service has at the moment; it is
	// called once a second by Run. Nil: the store knows no instances.
	Instances func() map[Service]int
	// MaxServices (default 256), MaxEndpoints of a service (256) and MaxSeries
	// of all reporters together (200,000) bound the memory.
	MaxServices  int
	MaxEndpoints int
	MaxSeries    int
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

// A Store keeps what sidecars report. Its methods may be called from any
// goroutine; Run is called once.
type Store struct {
	cfg Config

	mu        sync.Mutex
	cur       int64 // the slot that time is in
	sampled   int64 // newest slot whose gauges have been sampled
	services  map[Service]*service
	reporters map[reporterKey]*reporter
	followed  map[string]struct{} // see Follow
	nSeries   int
	stats     Stats
	scratch   buckets // what has just arrived
	delta     buckets // what is new in it

	subs   map[chan struct{}]struct{}
	closed bool
}

// Stats counts what the store took and what it refused since it began.
type Stats struct {
	Reporters, Series, Services int // at the moment

	Points            uint64 // taken
	OutOfOrder        uint64 // older than what was known, dropped
	Invalid           uint64 // refused: not what docs/reference/wire.md says
	OverflowServices  uint64 // refused: Config.MaxServices
	OverflowSeries    uint64 // refused: Config.MaxSeries
	OverflowEndpoints uint64 // not listed: Config.MaxEndpoints
}

// Overflow is the number of points that did not fit.
func (s Stats) Overflow() uint64 {
	return s.OverflowServices + s.OverflowSeries + s.OverflowEndpoints
}

// NewStore makes an empty store.
func NewStore(cfg Config) *Store {
	if cfg.Clock == nil {
		cfg.Clock = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	cfg.Retention = max(cmp.Or(cfg.Retention, 15*time.Minute), minRetention)
	cfg.MaxServices = cmp.Or(cfg.MaxServices, 256)
	cfg.MaxEndpoints = cmp.Or(cfg.MaxEndpoints, 256)
	cfg.MaxSeries = cmp.Or(cfg.MaxSeries, 200_000)
	now := slotOf(cfg.Clock())
	return &Store{
		cfg:       cfg,
		cur:       now,
		sampled:   now - 1,
		services:  map[Service]*service{},
		reporters: map[reporterKey]*reporter{},
		subs:      map[chan struct{}]struct{}{},
	}
}

// Register adds the OTLP MetricsService to a gRPC server.
func (s *Store) Register(r grpc.ServiceRegistrar) {
	metricspb.RegisterMetricsServiceServer(r, &receiver{store: s})
}

// Run samples gauges and instances and wakes subscribers once a second, until
// ctx ends; it then closes the subscribers' channels and returns.
func (s *Store) Run(ctx context.Context) {
	ticker := time.NewTicker(step)
	defer ticker.Stop()
	defer s.close()
	var reported uint64
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			s.tick()
			if st := s.Stats(); st.Overflow() > reported {
				reported = st.Overflow()
				s.cfg.Logger.Warn("telemetry: reports do not fit",
					"services", st.OverflowServices, "series", st.OverflowSeries, "endpoints", st.OverflowEndpoints)
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
	sums := map[*service]gauges{}
	for _, r := range s.reporters {
		for _, g := range r.gauges {
			if now-g.seen <= int64(staleAfter) {
				sum := sums[g.service]
				g.kind.addGauge(&sum, g.value)
				sums[g.service] = sum
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
	for n := max(s.sampled+1, s.cur-hotSlots+1); n < s.cur; n++ {
		for _, svc := range s.services {
			sl := svc.slot(n)
			sl.gauges, sl.instances = sums[svc], instances[svc.id]
		}
	}
	s.sampled = max(s.sampled, s.cur-1)
}

// expire forgets reporters that fell silent and services that nobody has
// mentioned for Config.Retention. Needs s.mu.
func (s *Store) expire(now int64) {
	for key, r := range s.reporters {
		if now-r.seen > int64(forgetAfter) {
			s.nSeries -= len(r.series)
			delete(s.reporters, key)
		} else if s.cur%hotSlots == 0 {
			s.nSeries -= r.forget(now)
		}
	}
	for id, svc := range s.services {
		if time.Duration(s.cur-svc.lastSeen)*step > s.cfg.Retention {
			delete(s.services, id)
		}
	}
}

// advance opens the slots up to n. Time that goes backwards changes nothing.
// Needs s.mu.
func (s *Store) advance(n int64) {
	keep := int(s.cfg.Retention / step)
	// After a long sleep there is no history to keep; open only what matters.
	for k := max(s.cur+1, n-int64(keep)-hotSlots); k <= n; k++ {
		for _, svc := range s.services {
			svc.open(k, keep)
		}
	}
	s.cur = max(s.cur, n)
}

// service finds or makes the service; nil when there is no room. Needs s.mu.
func (s *Store) service(id Service) *service {
	svc := s.services[id]
	if svc == nil {
		if len(s.services) >= s.cfg.MaxServices {
			s.stats.OverflowServices++
			return nil
		}
		svc = &service{id: id, born: s.cur - settle, endpoints: map[endpointKey]*endpoint{}, lastSeen: s.cur}
		s.services[id] = svc
	}
	return svc
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
