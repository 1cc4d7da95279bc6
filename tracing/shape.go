package tracing

import (
	"go.opentelemetry.io/otel/sdk/metric"
)

// shape is how a backend wants its metrics, which producers tell cumulatively
// and with exponential histograms.
type shape struct {
	delta, explicit, exemplars bool
}

// shape reads how. Every counter here is counted as calls go (the
// specification's synchronous instruments), so that lowmemory is delta. Of the
// exemplar filters, trace_based and always_on are one: what is eligible with
// either, of that kept calls are taken.
func (e *env) shape() shape {
	const aggregation = "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION"
	return shape{
		delta: e.choice("cumulative", []string{"cumulative", "delta", "lowmemory"}, "OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE") != "cumulative",
		explicit: e.choice("base2_exponential_bucket_histogram", []string{"explicit_bucket_histogram", "base2_exponential_bucket_histogram"},
			aggregation) == "explicit_bucket_histogram",
		exemplars: e.choice("trace_based", []string{"trace_based", "always_on", "always_off"}, "OTEL_METRICS_EXEMPLAR_FILTER") != "always_off",
	}
}

// of wraps producers for one reader.
func (s shape) of(producers []metric.Producer) []metric.Producer {
	out := make([]metric.Producer, len(producers))
	for i, p := range producers {
		if !s.exemplars {
			p = exemplars{p, 0}
		}
		if s.delta {
			p = &deltas{Producer: p}
		}
		if s.explicit {
			p = explicit{p}
		}
		out[i] = p
	}
	return out
}
