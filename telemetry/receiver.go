package telemetry

import (
	"context"
	"errors"
	"fmt"
	"math"

	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
)

// receiver is the OTLP MetricsService: it takes what docs/reference/wire.md
// lists, passes over other metrics, and says in the answer's partial_success
// how many data points it refused and why the first one.
type receiver struct {
	metricspb.UnimplementedMetricsServiceServer
	store *Store
}

// Export implements MetricsServiceServer. It never fails a whole request: a
// reporter could not do better by sending it again.
func (r *receiver) Export(_ context.Context, req *metricspb.ExportMetricsServiceRequest) (*metricspb.ExportMetricsServiceResponse, error) {
	refused, why := r.store.ingest(req.GetResourceMetrics())
	resp := &metricspb.ExportMetricsServiceResponse{}
	if refused > 0 {
		resp.PartialSuccess = &metricspb.ExportMetricsPartialSuccess{
			RejectedDataPoints: refused,
			ErrorMessage:       why.Error(),
		}
	}
	return resp, nil
}

// ingest takes a request's metrics; it returns how many data points it
// refused and the reason of the first.
func (s *Store) ingest(rms []*otlp.ResourceMetrics) (refused int64, why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at := s.cfg.Clock()
	s.advance(slotOf(at))
	now := at.UnixNano()
	refuse := func(points int, err error) {
		refused += int64(points)
		if why == nil {
			why = err
		}
	}
	for _, rm := range rms {
		key := resourceKey(rm.GetResource().GetAttributes())
		r, knew := s.reporters[key]
		if r == nil {
			r = &reporter{series: map[seriesKey]*series{}}
		}
		for _, sm := range rm.GetScopeMetrics() {
			for _, m := range sm.GetMetrics() {
				spec, ok := metrics[m.GetName()]
				if !ok {
					continue
				}
				points, err := readPoints(m, spec.shape)
				if err == nil && key.instance == "" {
					err = fmt.Errorf("resource: service.instance.id is missing or longer than %d bytes", maxText)
				}
				if err != nil {
					s.stats.Invalid += uint64(max(points.n, 1))
					refuse(max(points.n, 1), err)
					continue
				}
				for i := range points.n {
					if err := s.take(r, knew, spec.kind, points.at(i), now); err != nil {
						refuse(1, fmt.Errorf("%s: %w", m.GetName(), err))
					}
				}
			}
		}
		for _, d := range r.demands {
			d.settle(now)
		}
		if len(r.series) > 0 {
			r.seen = max(r.seen, now)
			s.reporters[key] = r
		}
	}
	return refused, why
}

// point is one data point of any shape.
type point struct {
	attributes  []*commonpb.KeyValue
	start, time uint64
	value       float64
	hist        *otlp.ExponentialHistogramDataPoint
}

// points gives access to a metric's data points.
type points struct {
	n  int
	at func(i int) point
}

// readPoints checks that the metric has the shape it should have.
func readPoints(m *otlp.Metric, want shape) (points, error) {
	const cumulative = otlp.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE
	numbers := func(dps []*otlp.NumberDataPoint) points {
		return points{len(dps), func(i int) point {
			dp := dps[i]
			v := dp.GetAsDouble()
			if n, ok := dp.GetValue().(*otlp.NumberDataPoint_AsInt); ok {
				v = float64(n.AsInt)
			}
			return point{attributes: dp.GetAttributes(), start: dp.GetStartTimeUnixNano(), time: dp.GetTimeUnixNano(), value: v}
		}}
	}
	switch d := m.GetData().(type) {
	case *otlp.Metric_ExponentialHistogram:
		dps := d.ExponentialHistogram.GetDataPoints()
		ps := points{len(dps), func(i int) point {
			dp := dps[i]
			return point{attributes: dp.GetAttributes(), start: dp.GetStartTimeUnixNano(), time: dp.GetTimeUnixNano(), hist: dp}
		}}
		if want == histogram && d.ExponentialHistogram.GetAggregationTemporality() == cumulative {
			return ps, nil
		}
		return ps, shapeError(m, want)
	case *otlp.Metric_Sum:
		ps := numbers(d.Sum.GetDataPoints())
		if want != histogram && d.Sum.GetAggregationTemporality() == cumulative && d.Sum.GetIsMonotonic() == (want == counter) {
			return ps, nil
		}
		return ps, shapeError(m, want)
	case *otlp.Metric_Gauge:
		ps := numbers(d.Gauge.GetDataPoints())
		if want == gauge {
			return ps, nil
		}
		return ps, shapeError(m, want)
	}
	return points{}, shapeError(m, want)
}

func shapeError(m *otlp.Metric, want shape) error {
	accepted := map[shape]string{
		histogram: "a cumulative exponential histogram",
		counter:   "a cumulative monotonic sum",
		gauge:     "a gauge or a cumulative sum that is not monotonic",
	}
	return fmt.Errorf("%s: want %s", m.GetName(), accepted[want])
}

// maxValue is more than any counter reaches; sums of what is smaller stay
// finite, as JSON needs them.
const maxValue = 1 << 53

// take adds one data point of a reporter. Needs s.mu.
func (s *Store) take(r *reporter, knew bool, k kind, p point, now int64) error {
	service, attrs, ok := readAttributes(p.attributes)
	if !ok {
		s.stats.Invalid++
		return fmt.Errorf("attribute longer than %d bytes", maxText)
	}
	if p.time == 0 {
		s.stats.Invalid++
		return errors.New("time_unix_nano is missing")
	}
	if p.hist == nil && !(math.Abs(p.value) <= maxValue) {
		s.stats.Invalid++
		return fmt.Errorf("value %v: want a finite number, at most %g", p.value, float64(maxValue))
	}
	if p.hist != nil {
		if err := readHistogram(&s.scratch, p.hist); err != nil {
			s.stats.Invalid++
			return err
		}
	}
	if noService(service) {
		return nil
	}
	key := seriesKey{kind: k, service: service, attributes: attrs}
	sr := r.series[key]
	isNew := sr == nil
	if isNew {
		var err error
		if sr, err = s.newSeries(key); err != nil {
			r.partial = true
			return err
		}
	}
	from, reset, ok, drop := sr.span(r, p.start, p.time, now, isNew, knew)
	if drop {
		s.stats.OutOfOrder++
		return nil
	}
	if isNew {
		r.series[key] = sr
		s.nSeries++
		if sr.kind.isGauge() {
			r.gauges = append(r.gauges, sr)
		}
	}
	s.stats.Points++
	sr.service.lastSeen = s.cur
	sr.start, sr.time, sr.seen = p.start, p.time, now
	switch k {
	case clientDuration, serverDuration:
		if k == clientDuration {
			sr.service.sawClient(s.cur)
		}
		s.takeHistogram(sr, from, now, reset, ok)
		before := sr.seconds
		sr.seconds = p.hist.GetSum()
		if reset {
			before = 0
		}
		if d := s.demandOf(r, service); d != nil && ok && k == clientDuration {
			d.calls(attrs.errorType, float64(s.delta.total()), sr.seconds-before)
		}
	case clientActive, serverActive, openBreakers:
		sr.value = p.value
		if d := s.demandOf(r, service); d != nil && k == clientActive {
			d.active = p.value
		}
	default:
		delta := p.value
		if !reset && p.value >= sr.value {
			delta -= sr.value
		}
		sr.value = p.value
		if ok {
			s.addCount(sr, delta, from, now)
		}
	}
	return nil
}

// takeHistogram keeps s.scratch as the last value and adds what is new in it.
// Needs s.mu.
func (s *Store) takeHistogram(sr *series, from, now int64, reset, ok bool) {
	s.delta.copy(&s.scratch)
	if ok && !reset {
		s.delta.subtract(&sr.hist) // or else it fell: all of it is new
	}
	sr.hist.copy(&s.scratch)
	if ok {
		s.addCalls(sr, &s.delta, from, now)
	}
}

// newSeries checks that there is room for a series of this key.
func (s *Store) newSeries(key seriesKey) (*series, error) {
	id, err := ParseService(key.service)
	if err != nil {
		s.stats.Invalid++
		return nil, err
	}
	if s.nSeries >= s.cfg.MaxSeries {
		s.stats.OverflowSeries++
		return nil, fmt.Errorf("meshd keeps at most %d series", s.cfg.MaxSeries)
	}
	svc := s.service(id)
	if svc == nil {
		return nil, fmt.Errorf("meshd.service %q: meshd keeps at most %d services", key.service, s.cfg.MaxServices)
	}
	return &series{kind: key.kind, service: svc, failed: key.failed(), endpoint: key.endpoint}, nil
}

// readHistogram reads a data point; its negative values, which no duration
// has, count as zero.
func readHistogram(b *buckets, dp *otlp.ExponentialHistogramDataPoint) error {
	const minScale, maxScale, most = -10, 20, 4096 // of the OpenTelemetry specification; and more than any SDK sends
	scale, pos := dp.GetScale(), dp.GetPositive()
	if scale < minScale || scale > maxScale {
		return fmt.Errorf("scale %d: want %d to %d", scale, minScale, maxScale)
	}
	if n := len(pos.GetBucketCounts()); n > most {
		return fmt.Errorf("%d buckets: want at most %d", n, most)
	}
	zero := dp.GetZeroCount()
	for _, n := range dp.GetNegative().GetBucketCounts() {
		zero += n
	}
	b.set(scale, zero, pos.GetOffset(), pos.GetBucketCounts())
	return nil
}

// resourceKey names the reporter. Without an instance id, or with an id that
// is too long, the key's instance is empty.
func resourceKey(kvs []*commonpb.KeyValue) (key reporterKey) {
	for _, kv := range kvs {
		v := kv.GetValue().GetStringValue()
		if len(v) > maxText {
			continue
		}
		switch kv.GetKey() {
		case "service.namespace":
			key.namespace = v
		case "service.name":
			key.name = v
		case "service.instance.id":
			key.instance = v
		}
	}
	return key
}
