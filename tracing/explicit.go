package tracing

import (
	"context"
	"math"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// durationBounds are the boundaries that the semantic conventions advise for
// the durations of HTTP's and RPC's calls, in seconds.
var durationBounds = []float64{0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10}

// defaultBounds are those of the specification, for what nobody has advised on.
var defaultBounds = []float64{0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000}

func boundsOf(name string) []float64 {
	if strings.HasPrefix(name, "http.") || strings.HasPrefix(name, "rpc.") {
		return durationBounds
	}
	return defaultBounds
}

// An explicit wrapper is for a reader that wants histograms with explicit
// boundaries (OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION).
type explicit struct{ metric.Producer }

// Produce implements metric.Producer. Each exponential bucket counts, whole,
// where its middle is: at a scale of 5 a value is misplaced only where it lies
// within 1.1 % of a boundary.
func (e explicit) Produce(ctx context.Context) ([]metricdata.ScopeMetrics, error) {
	scopes, err := e.Producer.Produce(ctx)
	for i := range scopes {
		for j := range scopes[i].Metrics {
			m := &scopes[i].Metrics[j]
			data, ok := m.Data.(metricdata.ExponentialHistogram[float64])
			if !ok {
				continue
			}
			bounds := boundsOf(m.Name)
			points := make([]metricdata.HistogramDataPoint[float64], len(data.DataPoints))
			for k := range data.DataPoints {
				points[k] = explicitPoint(&data.DataPoints[k], bounds)
			}
			m.Data = metricdata.Histogram[float64]{DataPoints: points, Temporality: data.Temporality}
		}
	}
	return scopes, err
}

func explicitPoint(p *metricdata.ExponentialHistogramDataPoint[float64], bounds []float64) metricdata.HistogramDataPoint[float64] {
	out := metricdata.HistogramDataPoint[float64]{
		Attributes: p.Attributes, StartTime: p.StartTime, Time: p.Time,
		Count: p.Count, Sum: p.Sum, Min: p.Min, Max: p.Max,
		Bounds: bounds, BucketCounts: make([]uint64, len(bounds)+1),
	}
	bucket := func(v float64) int { at, _ := slices.BinarySearch(bounds, v); return at } // (bounds[at-1], bounds[at]]
	out.BucketCounts[bucket(0)] += p.ZeroCount
	for i, n := range p.PositiveBucket.Counts {
		out.BucketCounts[bucket(middle(int(p.PositiveBucket.Offset)+i, p.Scale))] += n
	}
	for i, n := range p.NegativeBucket.Counts {
		out.BucketCounts[bucket(-middle(int(p.NegativeBucket.Offset)+i, p.Scale))] += n
	}
	newest := make([]*metricdata.Exemplar[float64], len(bounds)+1)
	for i := range p.Exemplars {
		x := &p.Exemplars[i]
		if at := &newest[bucket(x.Value)]; *at == nil || (*at).Time.Before(x.Time) {
			*at = x
		}
	}
	for _, x := range newest {
		if x != nil {
			out.Exemplars = append(out.Exemplars, *x)
		}
	}
	return out
}

// middle is the geometric middle of an exponential bucket, whose bounds are the
// powers index and index+1 of 2^(2^-scale).
func middle(index int, scale int32) float64 {
	return math.Exp2((float64(index) + 0.5) * math.Exp2(-float64(scale)))
}
