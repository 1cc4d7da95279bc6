package dashboard

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/meshd/meshd/telemetry"
)

// serveScale is the target of the page's buttons. It answers with a redirect
// to the page, or with the page and what went wrong.
func (d *Dashboard) serveScale(w http.ResponseWriter, r *http.Request) {
	ns, name := r.PathValue("namespace"), r.PathValue("service")
	r.Body = http.MaxBytesReader(w, r.Body, 4096)
	text := r.PostFormValue("replicas")
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > maxReplicas {
		d.renderPage(w, r, http.StatusUnprocessableEntity,
			fmt.Sprintf("scale %s/%s: replicas %q: want a number from 0 to %d", ns, name, text, maxReplicas))
		return
	}
	known := slices.ContainsFunc(d.cfg.Store.Snapshot(telemetry.DefaultWindow).Services, func(s telemetry.ServiceSnapshot) bool {
		return s.Namespace == ns && s.Name == name
	})
	if !known {
		d.renderPage(w, r, http.StatusNotFound, fmt.Sprintf("scale %s/%s: there is no such service", ns, name))
		return
	}
	if err := d.cfg.Scale(ns, name, n); err != nil {
		d.renderPage(w, r, http.StatusConflict, fmt.Sprintf("scale %s/%s to %d: %v", ns, name, n, err))
		return
	}
	to := url.URL{Path: "/", RawQuery: url.Values{"window": {windowParam(windows[windowOf(r)].Span)}}.Encode(), Fragment: ns + "/" + name}
	http.Redirect(w, r, to.String(), http.StatusSeeOther)
}
