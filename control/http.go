package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"
)

const (
	maxObjectsBody = 16 << 20
	maxSmallBody   = 4 << 10
	bodyTimeout    = 30 * time.Second // to send a body in
)

// api is the HTTP interface of docs/reference/wire.md.
type api struct {
	*assembler
	version  string
	started  time.Time
	clients  func() []clientStatus
	watching watching
	// rest serves the page, its pictures and the metrics.
	rest http.Handler
	// level answers for the log level; nil: nobody does.
	level http.Handler
	// hosts may be named in Host beside addresses and localhost.
	hosts []string
}

func (a *api) handler() http.Handler {
	mux := http.NewServeMux()
	ok := func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "ok\n") }
	mux.HandleFunc("GET /healthz", ok)
	mux.HandleFunc("GET /readyz", ok) // nothing is served before the first picture
	mux.HandleFunc("GET /api/v1/objects", a.listObjects)
	mux.HandleFunc("POST /api/v1/objects", a.applyObjects)
	mux.HandleFunc("DELETE /api/v1/objects/{kind}/{namespace}/{name}", a.deleteObject)
	mux.HandleFunc("GET /api/v1/status", a.status)
	mux.HandleFunc("GET /api/v1/targets", a.targets)
	mux.HandleFunc("GET /api/v1/scale/{namespace}/{service}", a.getScale)
	mux.HandleFunc("PUT /api/v1/scale/{namespace}/{service}", a.putScale)
	if a.level != nil {
		mux.Handle("/api/v1/log-level", a.level)
	}
	a.watching.register(mux)
	mux.HandleFunc("/api/", a.unknown)
	mux.Handle("GET /api/v1/metrics", a.rest)
	mux.Handle("GET /api/v1/events", a.rest)
	mux.Handle("/", a.rest)

	// A page of another site can send requests to 127.0.0.1, but not with our
	// name in Host (DNS rebinding), nor without Sec-Fetch-Site or Origin.
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		refuse(w, http.StatusForbidden, "the request comes from a page of another site (Origin %q, Sec-Fetch-Site %q)", r.Header.Get("Origin"), r.Header.Get("Sec-Fetch-Site"))
	}))
	guarded := origin.Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !hostAllowed(r.Host, a.hosts) {
			refuse(w, http.StatusForbidden, "Host %q: an IP address, localhost or a name given with --http-hosts is accepted", r.Host)
			return
		}
		guarded.ServeHTTP(w, r)
	})
}

// hostAllowed says whether the value of Host is one that this server has for
// certain, or by configuration.
func hostAllowed(host string, names []string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	name = strings.ToLower(strings.TrimSuffix(name, "."))
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return true
	}
	return name == "localhost" || strings.HasSuffix(name, ".localhost") || slices.Contains(names, name)
}

func (a *api) unknown(w http.ResponseWriter, r *http.Request) {
	refuse(w, http.StatusNotFound, "%s %s: no such call; docs/reference/wire.md has them", r.Method, r.URL.Path)
}

// readBody reads a body of one of the media types and of at most max bytes;
// where it cannot, it has answered, and says false.
func readBody(w http.ResponseWriter, r *http.Request, max int64, accepted ...string) ([]byte, bool) {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || !slices.Contains(accepted, kind) {
		refuse(w, http.StatusUnsupportedMediaType, "Content-Type %q: %s is accepted", r.Header.Get("Content-Type"), strings.Join(accepted, ", "))
		return nil, false
	}
	// Where the deadline cannot be set (a test's recorder), there is none.
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, max))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		refuse(w, http.StatusRequestEntityTooLarge, "the body is larger than %d bytes, which is what is accepted", max)
		return nil, false
	}
	if err != nil {
		refuse(w, http.StatusBadRequest, "the body did not come: %v", err)
		return nil, false
	}
	return body, true
}

func answer(w http.ResponseWriter, code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		code, b = http.StatusInternalServerError, []byte(`{"error":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	w.Write(append(b, '\n'))
}

func refuse(w http.ResponseWriter, code int, format string, args ...any) {
	answer(w, code, map[string]string{"error": fmt.Sprintf(format, args...)})
}
