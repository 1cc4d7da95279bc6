package watch

import (
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/meshd/meshd/test/rig"
)

// metrics are a sidecar's own, in Prometheus's words.
func metrics(t testing.TB, s *rig.Sidecar) map[string]*dto.MetricFamily {
	t.Helper()
	var text string
	if err := s.Get("/metrics", &text); err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return families
}
