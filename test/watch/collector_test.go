package watch

import (
	"fmt"
	"net/http"
	"testing"

	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// The Collector takes the sidecars' exponential histograms and passes them on,
// over either protocol; they count every call once.
func TestMetrics(t *testing.T) {
	b := newBackends(t, "prometheus.yml")
	m := rig.New(t)
	for preference, want := range temporalities {
		for protocol, endpoint := range map[string]string{"grpc": "http://127.0.0.1:4317", "http/protobuf": collectorURL} {
			t.Run(preference+" "+protocol, func(t *testing.T) {
				name := preference + "-" + protocol[:4]
				env := environment("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE="+preference,
					"OTEL_EXPORTER_OTLP_ENDPOINT="+endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol)
				m.Sidecar(t, rig.Spec{Service: name, App: rig.Serve(t, 1, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})), Env: env})
				edge := m.Sidecar(t, rig.Spec{Service: "edge", Instance: "edge-" + name, Env: env})
				m.AwaitReady(name)
				client := &http.Client{Transport: rig.Transport(t, 1, edge.Outbound), Timeout: rig.Patience}
				const rounds, calls = 3, 40
				for round := range rounds { // each within an interval of its own
					for range calls {
						res, err := client.Get("http://" + name + ":8080/")
						if err != nil {
							t.Fatal(err)
						}
						_ = res.Body.Close()
					}
					process.Await(t, rig.Patience, func() error {
						n, err := b.out.count("edge-"+name, "http.client.request.duration", want)
						if err == nil && n != uint64((round+1)*calls) {
							err = fmt.Errorf("%d calls of %d", n, (round+1)*calls)
						}
						return err
					})
				}
			})
		}
	}
}

var temporalities = map[string]metricspb.AggregationTemporality{
	"cumulative": metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
	"delta":      metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA,
}

// count is how many calls the points of a histogram that came so far stand for.
func (s *sink) count(instance, name string, want metricspb.AggregationTemporality) (n uint64, err error) {
	s.each(instance, func(m *metricspb.Metric) {
		if m.Name != name {
			return
		}
		h := m.GetExponentialHistogram()
		if h == nil || h.AggregationTemporality != want {
			err = fmt.Errorf("%s is %v", name, m)
			return
		}
		var sum uint64
		for _, p := range h.DataPoints {
			sum += p.Count
			inside := p.ZeroCount
			for _, k := range p.Positive.GetBucketCounts() {
				inside += k
			}
			if inside != p.Count || p.Scale != 5 || p.GetSum() <= 0 && p.Count > 0 || p.TimeUnixNano < p.StartTimeUnixNano {
				err = fmt.Errorf("%s: %d of %d calls are in buckets: %v", name, inside, p.Count, p)
			}
		}
		if want == metricspb.AggregationTemporality_AGGREGATION_TEMPORALITY_DELTA {
			n += sum
		} else {
			n = sum
		}
	})
	return n, err
}

// TestPushed: where Prometheus does not reach the sidecars it has the same from
// the Collector, under the same names.
func TestPushed(t *testing.T) {
	b := newBackends(t, "prometheus-collector.yml")
	c := newChain(t, environment("OTEL_TRACES_SAMPLER=parentbased_always_on",
		"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION=explicit_bucket_histogram")...)
	t.Run("exemplars", func(t *testing.T) { exemplars(t, b, c) })
	t.Run("dashboards", func(t *testing.T) { dashboards(t, b, c) })
}
