package watch

import (
	"compress/gzip"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	colmetricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/meshd/meshd/test/rig"
)

// A sink takes OTLP over HTTP: of metrics it keeps all, of anything else
// nothing.
type sink struct {
	mu  sync.Mutex
	got []*metricspb.ResourceMetrics
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from := io.Reader(r.Body)
	var err error
	if r.Header.Get("Content-Encoding") == "gzip" {
		from, err = gzip.NewReader(r.Body)
	}
	var body []byte
	if err == nil {
		body, err = io.ReadAll(from)
	}
	if err == nil && strings.HasSuffix(r.URL.Path, "/v1/metrics") {
		var req colmetricspb.ExportMetricsServiceRequest
		if err = proto.Unmarshal(body, &req); err == nil {
			s.mu.Lock()
			s.got = append(s.got, req.ResourceMetrics...)
			s.mu.Unlock()
		}
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

// serve returns the sink's URL.
func (s *sink) serve(t testing.TB) string { return "http://" + rig.Serve(t, 1, s) }

// each calls f with every metric of an instance, in the order in which they came.
func (s *sink) each(instance string, f func(m *metricspb.Metric)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rm := range s.got {
		if value(rm.Resource.GetAttributes(), "service.instance.id") != instance {
			continue
		}
		for _, sm := range rm.ScopeMetrics {
			for _, m := range sm.Metrics {
				f(m)
			}
		}
	}
}

// value is that of a text attribute; empty if there is none.
func value(attributes []*commonpb.KeyValue, key string) string {
	for _, kv := range attributes {
		if kv.Key == key {
			return kv.Value.GetStringValue()
		}
	}
	return ""
}
