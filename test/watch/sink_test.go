package watch

import (
	"compress/gzip"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	colmetricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	metricspb "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/meshd/meshd/test/rig"
)

// A sink takes OTLP over HTTP: it keeps all metrics and logs, and of anything
// else nothing.
type sink struct {
	mu   sync.Mutex
	got  []*metricspb.ResourceMetrics
	logs []*logspb.ResourceLogs
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
	if err == nil {
		err = s.keep(r.URL.Path, body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (s *sink) keep(path string, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case strings.HasSuffix(path, "/v1/metrics"):
		var req colmetricspb.ExportMetricsServiceRequest
		if err := proto.Unmarshal(body, &req); err != nil {
			return err
		}
		s.got = append(s.got, req.ResourceMetrics...)
	case strings.HasSuffix(path, "/v1/logs"):
		var req collogspb.ExportLogsServiceRequest
		if err := proto.Unmarshal(body, &req); err != nil {
			return err
		}
		s.logs = append(s.logs, req.ResourceLogs...)
	}
	return nil
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

// lines are what the logs say of a trace, a line a record, sorted.
func (s *sink) lines(trace string) (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rl := range s.logs {
		for _, sl := range rl.ScopeLogs {
			for _, r := range sl.LogRecords {
				if hex.EncodeToString(r.TraceId) != trace {
					continue
				}
				out = append(out, fmt.Sprintf("%s %s: %s %s", value(rl.Resource.GetAttributes(), "service.instance.id"),
					value(r.Attributes, "meshd.side"), r.SeverityText, r.Body.GetStringValue()))
			}
		}
	}
	slices.Sort(out)
	return out
}
