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
		sum             traffic
		retries, denied float64
		inFlight        float64
		first           = last - n + 1
	)
	for k := first; k <= last; k++ {
		sl := s.slot(k)
		t, _ := s.view(sl, last)
		sum.requests += t.requests
		sum.failures += t.failures
		sum.latency.merge(&t.latency)
		retries += sl.retries
		denied += sl.denied
	}
	_, inFlight = s.view(newest, last)
	out := ServiceSnapshot{
		Name:             s.id.Name,
		Namespace:        s.id.Namespace,
		RPS:              sum.requests / float64(n),
		Success:          success(sum.requests, sum.failures),
		P50Ms:            1000 * sum.latency.Quantile(0.50),
		P90Ms:            1000 * sum.latency.Quantile(0.90),
		P99Ms:            1000 * sum.latency.Quantile(0.99),
		Instances:        newest.instances,
		RetriesPerSecond: retries / float64(n),
		DeniedPerSecond:  denied / float64(n),
		OpenBreakers:     newest.gauges.openBreakers,
		InFlight:         inFlight,
		Endpoints:        []EndpointSnapshot{},
	}
	for key, e := range s.endpoints {
		calls := 0.0
		for k := first; k <= last; k++ {
			calls += float64(e.requests[k%hotSlots])
		}
		if calls > 0 {
			out.Endpoints = append(out.Endpoints, EndpointSnapshot{ID: key.id, Address: key.address, RPS: calls / float64(n)})
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
	out := make([]Point, 0, len(svc.old)+hotSlots)
	for i := range svc.old {
		if p := svc.old[(svc.oldest+i)%len(svc.old)]; !p.Time.Before(since) {
			out = append(out, p)
		}
	}
	for n := max(s.cur-hotSlots+1, svc.born, slotOf(since.Add(step-1))); n <= min(s.cur-settle, s.sampled); n++ {
		out = append(out, svc.point(n))
	}
	return out
}
