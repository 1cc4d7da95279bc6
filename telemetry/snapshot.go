package telemetry

import (
	"cmp"
	"slices"
	"time"
)

// A Point is one second of a service, as its callers see it. RPS is calls,
// Retries and Denied are retries and retries that the budget refused, all a
// second. Success is the share that did not fail, 1 when there were no calls;
// the percentiles are 0 then.
type Point struct {
	Time          time.Time
	RPS           float64
	Success       float64
	P50, P90, P99 time.Duration
	Instances     int
	InFlight      float64
	Retries       float64
	Denied        float64
	OpenBreakers  float64 // over all callers: two that have it open count twice
}

// A Snapshot is the answer of GET /api/v1/metrics (docs/reference/wire.md).
type Snapshot struct {
	Time          time.Time         `json:"time"`
	WindowSeconds float64           `json:"windowSeconds"`
	Services      []ServiceSnapshot `json:"services"`
}

// A ServiceSnapshot is one service over the window of a Snapshot. The gauges
// (instances, open breakers, in flight) are the newest ones.
type ServiceSnapshot struct {
	Name             string             `json:"name"`
	Namespace        string             `json:"namespace"`
	RPS              float64            `json:"rps"`
	Success          float64            `json:"success"`
	P50Ms            float64            `json:"p50Ms"`
	P90Ms            float64            `json:"p90Ms"`
	P99Ms            float64            `json:"p99Ms"`
	Instances        int                `json:"instances"`
	RetriesPerSecond float64            `json:"retriesPerSecond"`
	DeniedPerSecond  float64            `json:"retriesDeniedPerSecond"`
	OpenBreakers     float64            `json:"openBreakers"`
	InFlight         float64            `json:"inFlight"`
	Endpoints        []EndpointSnapshot `json:"endpoints"`
}

// An EndpointSnapshot is an endpoint's share of its service's attempts.
type EndpointSnapshot struct {
	ID      string  `json:"id"`
	Address string  `json:"address"`
	RPS     float64 `json:"rps"`
}

// MaxWindow is the longest window of a Snapshot.
const MaxWindow = (hotSlots - settle) * step

// DefaultWindow is the window of GET /api/v1/metrics.
const DefaultWindow = 5 * time.Second

// Snapshot sums up the last window (rounded to whole seconds, 1 s up to
// MaxWindow) that reports have covered, which ends one to two seconds ago.
// Services are sorted by namespace and name, endpoints by address and id.
func (s *Store) Snapshot(window time.Duration) Snapshot {
	n := int64(min(max(window.Round(step), step), MaxWindow) / step)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Clock()
	s.advance(slotOf(now))
	out := Snapshot{
		Time:          now.UTC(),
		WindowSeconds: float64(n),
		Services:      make([]ServiceSnapshot, 0, len(s.services)),
	}
	for _, svc := range s.services {
		out.Services = append(out.Services, svc.snapshot(s.cur-settle, n, svc.slot(s.newest())))
	}
	slices.SortFunc(out.Services, func(a, b ServiceSnapshot) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// newest is the slot with the newest gauges. Needs s.mu.
func (s *Store) newest() int64 { return max(s.sampled, s.cur-hotSlots+1) }

// snapshot sums up the n slots that end with slot last; the gauges are those
// of slot newest.
func (s *service) snapshot(last, n int64, newest *slot) ServiceSnapshot {
	var (
		requests, failures, retries, denied float64
		latency                             Histogram
		first                               = last - n + 1
	)
	for k := first; k <= last; k++ {
		sl := s.slot(k)
		t, h := &sl.figures.client, &sl.client
		if s.byServer(sl, last) {
			t, h = &sl.figures.server, &sl.server
		}
		requests += float64(t.requests)
		failures += float64(t.failures)
		latency.merge(h)
		retries += float64(sl.retries)
		denied += float64(sl.denied)
	}
	inFlight := newest.clientActive
	if s.byServer(newest, last) {
		inFlight = newest.serverActive
	}
	out := ServiceSnapshot{
		Name:             s.id.Name,
		Namespace:        s.id.Namespace,
		RPS:              requests / float64(n),
		Success:          success(requests, failures),
		P50Ms:            1000 * latency.Quantile(0.50),
		P90Ms:            1000 * latency.Quantile(0.90),
		P99Ms:            1000 * latency.Quantile(0.99),
		Instances:        int(newest.instances),
		RetriesPerSecond: retries / float64(n),
		DeniedPerSecond:  denied / float64(n),
		OpenBreakers:     float64(newest.openBreakers),
		InFlight:         float64(inFlight),
		Endpoints:        []EndpointSnapshot{},
	}
	for _, in := range s.instances {
		calls := 0.0
		for k := first; k <= last; k++ {
			calls += float64(in.figures(k).attempts)
		}
		if calls > 0 {
			out.Endpoints = append(out.Endpoints, EndpointSnapshot{ID: in.name(), Address: in.address, RPS: calls / float64(n)})
		}
	}
	slices.SortFunc(out.Endpoints, func(a, b EndpointSnapshot) int {
		return cmp.Or(cmp.Compare(a.Address, b.Address), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// History is the service's settled seconds since the given time, oldest
// first, at most Config.Retention of them; nil when the service is not known.
// A second is settled once reports have covered it and Run has sampled it.
func (s *Store) History(id Service, since time.Time) []Point {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.cfg.Clock()
	s.advance(slotOf(now))
	svc := s.services[id]
	if svc == nil {
		return nil
	}
	if oldest := now.Add(-s.cfg.Retention); since.Before(oldest) {
		since = oldest
	}
	out := []Point{}
	var h Histogram
	svc.each(slotOf(since.Add(step-1)), min(s.cur-settle, s.sampled), s.cur, func(n int64, f *figures, l latencies) {
		h.reset()
		l.into(&h)
		side, inFlight := f.side()
		out = append(out, Point{
			Time:         timeOf(n),
			RPS:          float64(side.requests),
			Success:      success(float64(side.requests), float64(side.failures)),
			P50:          seconds(h.Quantile(0.50)),
			P90:          seconds(h.Quantile(0.90)),
			P99:          seconds(h.Quantile(0.99)),
			Instances:    int(f.instances),
			InFlight:     float64(inFlight),
			Retries:      float64(f.retries),
			Denied:       float64(f.denied),
			OpenBreakers: float64(f.openBreakers),
		})
	})
	return out
}

func timeOf(slot int64) time.Time { return time.Unix(0, slot*int64(step)).UTC() }

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
