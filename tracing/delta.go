package tracing

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// A deltas wrapper is for one reader that wants delta temporality: of counters
// and histograms, which the producer sums up since its start, it tells what has
// come since the last time (OpenTelemetry, metrics data model, "Temporality").
// What goes up and down stays as it is. A series where nothing has come is left
// out, and forgotten once the producer does not tell of it any more.
type deltas struct {
	metric.Producer

	mu   sync.Mutex
	last map[seriesKey]series
	at   time.Time // of the last time, or zero
}

type seriesKey struct {
	scope, metric string
	set           attribute.Distinct
}

// series is what one was the last time.
type series struct {
	start, at time.Time
	whole     int64
	broken    float64
	histogram metricdata.ExponentialHistogramDataPoint[float64]
}

// Produce implements metric.Producer. It changes what the wrapped one returns.
func (d *deltas) Produce(ctx context.Context) ([]metricdata.ScopeMetrics, error) {
	scopes, err := d.Producer.Produce(ctx)
	d.mu.Lock()
	defer d.mu.Unlock()
	c := collection{deltas: d, next: make(map[seriesKey]series, len(d.last)), at: d.at}
	for i := range scopes {
		s := &scopes[i]
		kept := s.Metrics[:0]
		for _, m := range s.Metrics {
			if m.Data = c.delta(s.Scope.Name, m.Name, m.Data); m.Data != nil {
				kept = append(kept, m)
			}
		}
		s.Metrics = kept
	}
	if err != nil {
		// What is missing may come again, and must not count twice then.
		for k, v := range d.last {
			if _, ok := c.next[k]; !ok {
				c.next[k] = v
			}
		}
	}
	d.last, d.at = c.next, c.at
	return scopes, err
}

// A collection is one call of Produce.
type collection struct {
	*deltas
	next map[seriesKey]series
	at   time.Time
}

// delta is nil where nothing is left.
func (c *collection) delta(scope, name string, data metricdata.Aggregation) metricdata.Aggregation {
	switch data := data.(type) {
	case metricdata.Sum[int64]:
		return sumDelta(c, scope, name, data, func(s *series) *int64 { return &s.whole })
	case metricdata.Sum[float64]:
		return sumDelta(c, scope, name, data, func(s *series) *float64 { return &s.broken })
	case metricdata.ExponentialHistogram[float64]:
		data.DataPoints = c.histogramDeltas(scope, name, data.DataPoints)
		data.Temporality = metricdata.DeltaTemporality
		if len(data.DataPoints) == 0 {
			return nil
		}
		return data
	}
	return data
}

// remember notes what a series is now, and says what it was and since when the
// difference is; known is false for what is new, or has begun anew.
func (c *collection) remember(scope, name string, set attribute.Set, now series) (was series, since time.Time, known bool) {
	key := seriesKey{scope, name, set.Equivalent()}
	c.next[key] = now
	if now.at.After(c.at) {
		c.at = now.at
	}
	was, known = c.last[key]
	switch {
	case known && was.start.Equal(now.start):
		return was, was.at, true
	case c.deltas.at.After(now.start): // it came after the last time
		return series{}, c.deltas.at, false
	}
	return series{}, now.start, false
}

// sumDelta is delta of a sum; value is where a series keeps it.
func sumDelta[N int64 | float64](c *collection, scope, name string, data metricdata.Sum[N], value func(*series) *N) metricdata.Aggregation {
	if !data.IsMonotonic {
		return data
	}
	out := data.DataPoints[:0]
	for _, p := range data.DataPoints {
		now := series{start: p.StartTime, at: p.Time}
		*value(&now) = p.Value
		was, since, known := c.remember(scope, name, p.Attributes, now)
		if before := *value(&was); known && before <= p.Value { // less: whoever counted has begun anew
			p.Value -= before
		}
		if p.Value == 0 {
			continue
		}
		p.StartTime = since
		out = append(out, p)
	}
	if len(out) == 0 {
		return nil
	}
	data.DataPoints, data.Temporality = out, metricdata.DeltaTemporality
	return data
}

func (c *collection) histogramDeltas(scope, name string, points []metricdata.ExponentialHistogramDataPoint[float64]) []metricdata.ExponentialHistogramDataPoint[float64] {
	out := points[:0]
	for _, p := range points {
		was, since, known := c.remember(scope, name, p.Attributes, series{start: p.StartTime, at: p.Time, histogram: p})
		before := &was.histogram
		if known && before.Count <= p.Count && before.Scale == p.Scale {
			if p.Count == before.Count {
				continue
			}
			p.Count -= before.Count
			p.Sum -= before.Sum
			p.ZeroCount -= min(before.ZeroCount, p.ZeroCount)
			p.PositiveBucket = bucketsDelta(p.PositiveBucket, before.PositiveBucket)
			p.NegativeBucket = bucketsDelta(p.NegativeBucket, before.NegativeBucket)
			p.Min, p.Max = metricdata.Extrema[float64]{}, metricdata.Extrema[float64]{} // they were of all times
		}
		if p.Count == 0 {
			continue
		}
		p.StartTime = since
		var recent []metricdata.Exemplar[float64] // the others have been told
		for _, x := range p.Exemplars {
			if x.Time.After(since) {
				recent = append(recent, x)
			}
		}
		p.Exemplars = recent
		out = append(out, p)
	}
	return out
}

// bucketsDelta is now without before, in a slice of its own: now is remembered.
// Empty buckets at both ends are left out.
func bucketsDelta(now, before metricdata.ExponentialBucket) metricdata.ExponentialBucket {
	out := metricdata.ExponentialBucket{Offset: now.Offset, Counts: make([]uint64, len(now.Counts))}
	copy(out.Counts, now.Counts)
	for i, n := range before.Counts {
		if at := int(before.Offset) + i - int(now.Offset); at >= 0 && at < len(out.Counts) {
			out.Counts[at] -= min(n, out.Counts[at])
		}
	}
	for len(out.Counts) > 0 && out.Counts[0] == 0 {
		out.Counts = out.Counts[1:]
		out.Offset++
	}
	for n := len(out.Counts); n > 0 && out.Counts[n-1] == 0; n-- {
		out.Counts = out.Counts[:n-1]
	}
	return out
}
