package tracing

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// exemplarsFor is the age up to which meshd is told an exemplar. It hears every
// second and remembers; three exports may be lost on the way.
const exemplarsFor = 4 * time.Second

// An exemplars wrapper leaves those out that a reader is not to get. Which are
// left is of a point's own time, so that no clock is read.
type exemplars struct {
	metric.Producer
	younger time.Duration // 0: none at all
}

// recent wraps producers for meshd.
func recent(of []metric.Producer) []metric.Producer { return withExemplars(of, exemplarsFor) }

func withExemplars(of []metric.Producer, younger time.Duration) []metric.Producer {
	out := make([]metric.Producer, len(of))
	for i, p := range of {
		out[i] = exemplars{p, younger}
	}
	return out
}

// Produce changes what the producer returns in place: it is the caller's.
func (e exemplars) Produce(ctx context.Context) ([]metricdata.ScopeMetrics, error) {
	scopes, err := e.Producer.Produce(ctx)
	for i := range scopes {
		for j := range scopes[i].Metrics {
			switch data := scopes[i].Metrics[j].Data.(type) {
			case metricdata.ExponentialHistogram[float64]:
				for k := range data.DataPoints {
					p := &data.DataPoints[k]
					p.Exemplars = e.of(p.Exemplars, p.Time)
				}
			}
		}
	}
	return scopes, err
}

func (e exemplars) of(all []metricdata.Exemplar[float64], now time.Time) []metricdata.Exemplar[float64] {
	if e.younger == 0 {
		return nil
	}
	return slices.DeleteFunc(all, func(x metricdata.Exemplar[float64]) bool { return now.Sub(x.Time) > e.younger })
}
