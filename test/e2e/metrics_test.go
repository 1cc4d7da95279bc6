package e2e

import (
	"fmt"

	"github.com/meshd/meshd/ctl/api"
)

// metrics is what meshd has heard of a service.
func (m *mesh) metrics(service string) (api.ServiceMetrics, error) {
	var all api.Metrics
	if err := fetchJSON(m.client, "http://"+m.http+"/api/v1/metrics", &all); err != nil {
		return api.ServiceMetrics{}, err
	}
	for _, s := range all.Services {
		if s.Name == service && s.Namespace == "default" {
			return s, nil
		}
	}
	return api.ServiceMetrics{}, fmt.Errorf("meshd has heard nothing of %s: %+v", service, all)
}

// reported asks for more than rps calls a second of a service.
func (m *mesh) reported(service string, rps float64) error {
	s, err := m.metrics(service)
	if err == nil && s.RPS <= rps {
		err = fmt.Errorf("%s: %+v", service, s)
	}
	return err
}
