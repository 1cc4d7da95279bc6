package control

import (
	"cmp"
	"net/http"
	"slices"
	"strings"

	"github.com/meshd/meshd/mesh"
	"github.com/meshd/meshd/registry"
)

// A targetGroup is one sidecar that Prometheus is to scrape, in the format of
// its HTTP service discovery
// (https://prometheus.io/docs/prometheus/latest/http_sd/).
type targetGroup struct {
	Targets []string          `json:"targets"`
	Labels  map[string]string `json:"labels"`
}

// targets lists the admin ports of all instances that have registered, and of
// the sidecars connected here that only make calls.
func (a *api) targets(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, a.current.Load().targets(a.clients()))
}

func (p *picture) targets(clients []clientStatus) []targetGroup {
	newest := map[string]*registry.Instance{} // a process may have begun where an older one's entry is left
	for i := range p.instances {
		in := &p.instances[i]
		if old := newest[in.Admin]; in.Admin != "" && (old == nil || in.Since.After(old.Since)) {
			newest[in.Admin] = in
		}
	}
	for _, c := range clients {
		if _, id, _ := strings.Cut(c.ID, "/"); c.Admin != "" && newest[c.Admin] == nil {
			newest[c.Admin] = &registry.Instance{Instance: mesh.Instance{ID: id, Namespace: c.Namespace, Service: c.Service, Admin: c.Admin}}
		}
	}
	out := []targetGroup{}
	for _, in := range newest {
		out = append(out, targetGroup{[]string{in.Admin}, map[string]string{
			"instance": in.ID, "namespace": in.Namespace, "service": in.Service,
		}})
	}
	slices.SortFunc(out, func(x, y targetGroup) int { return cmp.Compare(x.Targets[0], y.Targets[0]) })
	return out
}
