package stats

import (
	"context"
	"maps"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// ScopeName is the instrumentation scope of everything that a Registry
// produces.
const ScopeName = "github.com/meshd/meshd/sidecar/stats"

// What there is for each caller and endpoint, or service.
const (
	endpointActive   = "meshd.endpoint.active_requests"
	endpointRequests = "meshd.endpoint.requests"
	endpointFailures = "meshd.endpoint.failures"
	endpointWeight   = "meshd.endpoint.weight"
	idleResets       = "meshd.client.idle_resets"
	retriesDenied    = "meshd.client.retries_denied"
)

// MeshdOmits are the metrics that meshd has no use for.
func MeshdOmits() []string { return []string{endpointActive, idleResets} }

// MeshdSparsely are those of which meshd is told what it does not know: there
// are so many, and few change from one second to the next.
func MeshdSparsely() []string {
	return []string{endpointRequests, endpointFailures, endpointWeight, retriesDenied}
}

var _ metric.Producer = (*Registry)(nil)

// Produce implements metric.Producer: the whole registry, cumulative since it
// was made. It may be called by several readers at once and never fails.
func (r *Registry) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	snap := r.Snapshot()
	p := production{start: snap.Start, now: snap.Time}
	p.side("client", snap.Client, true)
	p.side("server", snap.Server, false)
	p.clients(snap.Client)
	p.tcp(snap)
	p.figures(snap.Client)
	p.figures(snap.Server)
	p.figures([]ServiceSnapshot{{Figures: snap.Figures}})
	p.process(snap)
	return []metricdata.ScopeMetrics{{
		Scope:   instrumentation.Scope{Name: ScopeName},
		Metrics: p.metrics,
	}}, nil
}

type production struct {
	start, now time.Time
	metrics    []metricdata.Metrics
}

func (p *production) side(side string, services []ServiceSnapshot, routes bool) {
	var latency []metricdata.ExponentialHistogramDataPoint[float64]
	var active []metricdata.DataPoint[int64]
	for _, s := range services {
		active = append(active, p.point(s.Active, attribute.String("meshd.service", s.Name)))
		for _, series := range s.Series {
			latency = append(latency, p.histogram(s.Name, series, routes))
		}
	}
	if len(latency) > 0 {
		p.metrics = append(p.metrics, metricdata.Metrics{
			Name:        "http." + side + ".request.duration",
			Description: "Duration of HTTP " + side + " requests.",
			Unit:        "s",
			Data: metricdata.ExponentialHistogram[float64]{
				DataPoints:  latency,
				Temporality: metricdata.CumulativeTemporality,
			},
		})
	}
	p.sum("http."+side+".active_requests", "Number of HTTP "+side+" requests in flight.", "{request}", false, active)
}

func (p *production) histogram(service string, s Series, route bool) metricdata.ExponentialHistogramDataPoint[float64] {
	attrs := make([]attribute.KeyValue, 0, 5)
	attrs = append(attrs, attribute.String("meshd.service", service))
	if route {
		attrs = append(attrs, attribute.String("meshd.route", s.Route))
	}
	if s.Status != 0 {
		attrs = append(attrs, attribute.Int("http.response.status_code", s.Status))
	}
	if s.GRPC != "" {
		attrs = append(attrs, attribute.String("rpc.response.status_code", s.GRPC))
	}
	if s.Error != "" {
		attrs = append(attrs, attribute.String("error.type", s.Error))
	}
	return metricdata.ExponentialHistogramDataPoint[float64]{
		Attributes: attribute.NewSet(attrs...),
		StartTime:  p.start,
		Time:       p.now,
		Count:      s.Latency.Count,
		Sum:        s.Latency.Sum.Seconds(),
		Scale:      Scale,
		PositiveBucket: metricdata.ExponentialBucket{
			Offset: int32(s.Latency.Offset),
			Counts: s.Latency.Counts,
		},
		Exemplars: p.exemplars(s.Latency.Exemplars),
	}
}

// exemplarLife is how long an exemplar goes out: OpenTelemetry's default
// interval of export.
const exemplarLife = time.Minute

func (p *production) exemplars(all []*Exemplar) []metricdata.Exemplar[float64] {
	var out []metricdata.Exemplar[float64]
	for _, e := range all {
		if p.now.Sub(e.Time) < exemplarLife {
			out = append(out, metricdata.Exemplar[float64]{
				Time: e.Time, Value: e.Value.Seconds(), TraceID: e.Trace[:], SpanID: e.Span[:],
			})
		}
	}
	return out
}

func (p *production) clients(services []ServiceSnapshot) {
	var retries, denied, idle, breakers, requests, failures, inFlight, open, ejections []metricdata.DataPoint[int64]
	var weights []metricdata.DataPoint[float64]
	for _, s := range services {
		name := attribute.String("meshd.service", s.Name)
		for _, reason := range slices.Sorted(maps.Keys(s.Retries)) {
			retries = append(retries, p.point(int64(s.Retries[reason]), name, attribute.String("meshd.retry.reason", reason)))
		}
		denied = append(denied, p.point(int64(s.RetriesDenied), name))
		idle = append(idle, p.point(int64(s.IdleResets), name))
		breakers = append(breakers, p.point(int64(s.BreakersOpen), name))
		for _, e := range s.Endpoints {
			address, id := attribute.String("meshd.endpoint", e.Address), attribute.String("meshd.endpoint.id", e.ID)
			of := attribute.NewSet(name, address, id)
			requests = append(requests, p.pointOf(int64(e.Requests), of))
			failures = append(failures, p.pointOf(int64(e.Failures), of))
			inFlight = append(inFlight, p.pointOf(e.InFlight, of))
			if !s.quiet {
				weights = append(weights, metricdata.DataPoint[float64]{Attributes: of, StartTime: p.start, Time: p.now, Value: e.Weight})
			}
			if e.Breaker != BreakerClosed {
				open = append(open, p.point(1, name, address, id, attribute.String("meshd.breaker.rule", e.BreakerRule)))
			}
			for _, rule := range slices.Sorted(maps.Keys(e.Ejections)) {
				ejections = append(ejections, p.point(int64(e.Ejections[rule]), name, address, id, attribute.String("meshd.health.rule", rule)))
			}
		}
	}
	p.sum("meshd.client.retries", "Further attempts after a failed one.", "{attempt}", true, retries)
	p.sum(retriesDenied, "Retries refused because the budget was spent.", "{attempt}", true, denied)
	p.sum(idleResets, "Calls moved from a connection that was closed while idle to a fresh one.", "{attempt}", true, idle)
	p.gauge("meshd.breaker.open", "Endpoints whose breaker is open or half open.", "{endpoint}", breakers)
	p.sum(endpointRequests, "Attempts sent to an endpoint.", "{attempt}", true, requests)
	p.sum(endpointFailures, "Attempts on an endpoint that failed.", "{attempt}", true, failures)
	p.gauge(endpointActive, "Attempts in flight on an endpoint.", "{attempt}", inFlight)
	if len(weights) > 0 {
		p.metrics = append(p.metrics, metricdata.Metrics{
			Name: endpointWeight, Description: "Part of new calls that an endpoint is to get, 0 to 1.", Unit: "1",
			Data: metricdata.Gauge[float64]{DataPoints: weights},
		})
	}
	p.gauge("meshd.endpoint.breaker", "1 of an endpoint whose breaker is open or half open.", "{endpoint}", open)
	p.sum("meshd.endpoint.ejections", "Ejections of an endpoint as an outlier, by rule.", "{ejection}", true, ejections)
}

func (p *production) figures(services []ServiceSnapshot) {
	byMetric(services, func(m *Metric, of []namedFigure) {
		points := make([]metricdata.DataPoint[float64], 0, len(of))
		for _, f := range of {
			var attrs []attribute.KeyValue
			if f.service != "" {
				attrs = append(attrs, attribute.String("meshd.service", f.service))
			}
			if m.Attribute != "" {
				attrs = append(attrs, attribute.String(m.Attribute, f.Word))
			}
			points = append(points, metricdata.DataPoint[float64]{
				Attributes: attribute.NewSet(attrs...), StartTime: p.start, Time: p.now, Value: f.Value,
			})
		}
		var data metricdata.Aggregation = metricdata.Gauge[float64]{DataPoints: points}
		if m.Counter {
			data = metricdata.Sum[float64]{DataPoints: points, Temporality: metricdata.CumulativeTemporality, IsMonotonic: true}
		}
		p.metrics = append(p.metrics, metricdata.Metrics{Name: m.Name, Description: m.Help, Unit: m.Unit, Data: data})
	})
}

func (p *production) process(s Snapshot) {
	p.gauge("meshd.connections", "Open connections.", "{connection}", []metricdata.DataPoint[int64]{
		p.point(s.Connections.Downstream, attribute.String("meshd.side", "downstream")),
		p.point(s.Connections.Upstream, attribute.String("meshd.side", "upstream")),
	})
	one := func(n uint64) []metricdata.DataPoint[int64] {
		return []metricdata.DataPoint[int64]{p.point(int64(n))}
	}
	p.sum("meshd.panics", "Panics caught.", "{panic}", true, one(s.Panics))
	p.sum("meshd.malformed_requests", "Requests refused because they could not be parsed.", "{request}", true, one(s.Malformed))
	p.sum("meshd.passthrough", "Calls and connections to what the mesh does not know.", "{call}", true, one(s.Passthrough))
}

func (p *production) point(v int64, attrs ...attribute.KeyValue) metricdata.DataPoint[int64] {
	return p.pointOf(v, attribute.NewSet(attrs...))
}

func (p *production) pointOf(v int64, attrs attribute.Set) metricdata.DataPoint[int64] {
	return metricdata.DataPoint[int64]{Attributes: attrs, StartTime: p.start, Time: p.now, Value: v}
}

func (p *production) sum(name, description, unit string, monotonic bool, points []metricdata.DataPoint[int64]) {
	if len(points) == 0 {
		return
	}
	p.metrics = append(p.metrics, metricdata.Metrics{
		Name: name, Description: description, Unit: unit,
		Data: metricdata.Sum[int64]{
			DataPoints:  points,
			Temporality: metricdata.CumulativeTemporality,
			IsMonotonic: monotonic,
		},
	})
}

func (p *production) gauge(name, description, unit string, points []metricdata.DataPoint[int64]) {
	if len(points) == 0 {
		return
	}
	p.metrics = append(p.metrics, metricdata.Metrics{
		Name: name, Description: description, Unit: unit,
		Data: metricdata.Gauge[int64]{DataPoints: points},
	})
}
