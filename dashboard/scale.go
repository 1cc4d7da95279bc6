package dashboard

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"

	"github.com/meshd/meshd/telemetry"
)

// serveScale is the target of the page's buttons. It answers with a redirect
// to the view that they were on, or with it and what went wrong.
func (d *Dashboard) serveScale(w http.ResponseWriter, r *http.Request) {
	id := telemetry.Service{Namespace: r.PathValue("namespace"), Name: r.PathValue("service")}
	s := stateOf(r, d.cfg.Store.Now())
	on, back := view{"service", d.service}, s.link(servicePath(id))
	if r.URL.Query().Get("from") == "all" {
		on, back = view{"services", d.services}, s.link("/")+"#"+id.String()
	}
	r.SetPathValue("name", id.Name)
	refuse := func(status int, format string, args ...any) {
		d.refuse(w, r, on, status, fmt.Sprintf(format, args...))
	}
	r.Body = http.MaxBytesReader(w, r.Body, 4096)
	text := r.PostFormValue("replicas")
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > maxReplicas {
		refuse(http.StatusUnprocessableEntity, "scale %s: replicas %q: want a number from 0 to %d", id, text, maxReplicas)
		return
	}
	if !slices.Contains(d.known(), id) {
		on = view{"services", d.services}
		refuse(http.StatusNotFound, "scale %s: there is no such service", id)
		return
	}
	if err := d.cfg.Scale(id.Namespace, id.Name, n); err != nil {
		refuse(http.StatusConflict, "scale %s to %d: %v", id, n, err)
		return
	}
	http.Redirect(w, r, back, http.StatusSeeOther)
}
