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

// A sparse wrapper tells one reader only what it does not know: there are so
// many points for each endpoint that all of them each second would be most of
// the report, and most are what they were.
//
// Of the named sums that only grow those go that have grown, and of the others
// every tenth in turn, if they have ever grown. Of the named gauges, which move a
// little all the time, a tenth goes each time, or sparseLeast where that is more:
// those first that have never gone, then those that differ most from what has
// gone, and that has gone the longest ago. So each point goes about every ten
// times, and what changes much at the next.
type sparse struct {
	metric.Producer
	names []string

	mu    sync.Mutex
	round int
	gone  map[sparseKey]sent
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

func sparsely(of []metric.Producer, names []string) (sparsed []*sparse) {
	for _, p := range of {
		sparsed = append(sparsed, &sparse{Producer: p, names: names})
	}
	return sparsed
}

// Produce changes what the producer returns in place: it is the caller's.
func (s *sparse) Produce(ctx context.Context) ([]metricdata.ScopeMetrics, error) {
	scopes, err := s.Producer.Produce(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.round++
	next := make(map[sparseKey]sent, len(s.gone)) // without what is not there any more
	for i := range scopes {
		for j := range scopes[i].Metrics {
			m := &scopes[i].Metrics[j]
			if !slices.Contains(s.names, m.Name) {
				continue
			}
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				data.DataPoints = s.grown(m.Name, data.DataPoints, next)
				m.Data = data
			case metricdata.Gauge[float64]:
				data.DataPoints = s.some(m.Name, data.DataPoints, next)
				m.Data = data
			}
		}
	}
	s.gone = next
	return scopes, err
}

// forget has everything told again.
func (s *sparse) forget() {
	s.mu.Lock()
	s.gone = nil
	s.mu.Unlock()
}

// grown are the points of a sum that go.
func (s *sparse) grown(name string, all []metricdata.DataPoint[int64], next map[sparseKey]sent) []metricdata.DataPoint[int64] {
	out := all[:0]
	for i, p := range all {
		key := sparseKey{name, p.Attributes.Equivalent()}
		was, ok := s.gone[key]
		if !ok && p.Value == 0 {
			continue // as who has never been told of it takes it to be
		}
		if !ok || was.value != float64(p.Value) || i%sparsePart == s.round%sparsePart {
			was = sent{float64(p.Value), p.Time}
			out = append(out, p)
		}
		next[key] = was
	}
	return out
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

// A retelling exporter has producers tell everything again when an export
// failed: whoever did not get it may have lost all that went before, too.
type retelling struct {
	metric.Exporter
	of []*sparse
}

func (r *retelling) Export(ctx context.Context, rm *metricdata.ResourceMetrics) error {
	err := r.Exporter.Export(ctx, rm)
	if err != nil {
		for _, s := range r.of {
			s.forget()
		}
	}
	return err
}
