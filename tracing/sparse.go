package tracing

import (
	"cmp"
	"context"
	"math"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// A sparse wrapper tells one reader of some gauges only what it does not know:
// there are so many of their points that all of them each second would be a
// third of the report, and most are what they were. A tenth goes each time, or
// sparseLeast where that is more: those first that have never gone, then those
// that differ most from what has gone, and that has gone the longest ago. So
// each goes about every ten times, and what changes much at the next.
type sparse struct {
	metric.Producer
	names []string

	mu   sync.Mutex
	gone map[sparseKey]sent
}

const (
	sparseLeast = 16
	sparsePart  = 10
	// sparseAge is how long ago counts as much as if the value were another one
	// altogether.
	sparseAge = 10 * time.Second
)

type sparseKey struct {
	metric string
	set    attribute.Distinct
}

type sent struct {
	value float64
	at    time.Time
}

func sparsely(of []metric.Producer, names []string) []metric.Producer {
	out := make([]metric.Producer, len(of))
	for i, p := range of {
		out[i] = &sparse{Producer: p, names: names}
	}
	return out
}

// Produce changes what the producer returns in place: it is the caller's.
func (s *sparse) Produce(ctx context.Context) ([]metricdata.ScopeMetrics, error) {
	scopes, err := s.Producer.Produce(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[sparseKey]sent{} // without what is not there any more
	for i := range scopes {
		for j := range scopes[i].Metrics {
			m := &scopes[i].Metrics[j]
			if data, ok := m.Data.(metricdata.Gauge[float64]); ok && slices.Contains(s.names, m.Name) {
				data.DataPoints = s.some(m.Name, data.DataPoints, next)
				m.Data = data
			}
		}
	}
	s.gone = next
	return scopes, err
}

// some are the points that go.
func (s *sparse) some(name string, all []metricdata.DataPoint[float64], next map[sparseKey]sent) []metricdata.DataPoint[float64] {
	type due struct {
		point   metricdata.DataPoint[float64]
		key     sparseKey
		urgency float64
	}
	list := make([]due, len(all))
	for i, p := range all {
		d := due{p, sparseKey{name, p.Attributes.Equivalent()}, math.Inf(1)}
		if was, ok := s.gone[d.key]; ok {
			next[d.key] = was
			d.urgency = p.Time.Sub(was.at).Seconds() / sparseAge.Seconds()
			if p.Value != was.value {
				d.urgency += math.Abs(p.Value-was.value) / max(math.Abs(p.Value), math.Abs(was.value))
			}
		}
		list[i] = d
	}
	slices.SortStableFunc(list, func(a, b due) int { return cmp.Compare(b.urgency, a.urgency) })
	out := all[:0]
	for _, d := range list[:min(len(list), max(sparseLeast, (len(list)+sparsePart-1)/sparsePart))] {
		next[d.key] = sent{d.point.Value, d.point.Time}
		out = append(out, d.point)
	}
	return out
}
