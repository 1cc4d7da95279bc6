package ctltest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/meshd/meshd/ctl/api"
)

// A Meshd answers as docs/reference/wire.md says, from what a test puts in.
type Meshd struct {
	*httptest.Server

	mu      sync.Mutex
	scales  map[string]api.Scale
	changed chan struct{} // closed and replaced when scales change
	Status  api.Status    // set before the first call
	Metrics api.Metrics
	Objects []api.Object
	Bodies  []string // of POST /api/v1/objects
	Answer  api.Applied
	// Answers are those to GET of paths that are not known here, such as
	// /api/v1/map; Asked are their queries.
	Answers map[string]any
	Asked   []string
	Level   string // of the log
}

// NewMeshd serves until the test ends.
func NewMeshd(t testing.TB) *Meshd {
	m := newMeshd()
	m.Server = httptest.NewServer(m.handler())
	t.Cleanup(func() {
		m.CloseClientConnections() // ends the streams, so that Close does not wait
		m.Close()
	})
	return m
}

func newMeshd() *Meshd {
	return &Meshd{scales: map[string]api.Scale{}, changed: make(chan struct{})}
}

func (m *Meshd) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "ok") })
	mux.HandleFunc("GET /api/v1/status", func(w http.ResponseWriter, r *http.Request) { answer(w, m.Status) })
	mux.HandleFunc("GET /api/v1/metrics", func(w http.ResponseWriter, r *http.Request) { answer(w, m.Metrics) })
	mux.HandleFunc("GET /api/v1/events", func(w http.ResponseWriter, r *http.Request) { event(w, m.Metrics) })
	mux.HandleFunc("GET /api/v1/objects", m.getObjects)
	mux.HandleFunc("POST /api/v1/objects", m.postObjects)
	mux.HandleFunc("DELETE /api/v1/objects/{kind}/{namespace}/{name}", m.deleteObject)
	mux.HandleFunc("GET /api/v1/scale/{namespace}/{name}", m.getScale)
	mux.HandleFunc("PUT /api/v1/scale/{namespace}/{name}", func(w http.ResponseWriter, r *http.Request) {
		var sc api.Scale
		if err := json.NewDecoder(r.Body).Decode(&sc); err != nil {
			refuse(w, 400, err.Error())
			return
		}
		m.SetScale(r.PathValue("namespace")+"/"+r.PathValue("name"), sc.Replicas)
	})
	mux.HandleFunc("GET /api/v1/log-level", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]string{"level": m.Level})
	})
	mux.HandleFunc("PUT /api/v1/log-level", func(w http.ResponseWriter, r *http.Request) {
		m.Level = r.URL.Query().Get("level")
		answer(w, map[string]string{"level": m.Level})
	})
	mux.HandleFunc("GET /api/v1/", m.other)
	return mux
}

func (m *Meshd) other(w http.ResponseWriter, r *http.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.Asked = append(m.Asked, r.URL.RequestURI())
	v, ok := m.Answers[r.URL.Path]
	if !ok {
		refuse(w, http.StatusNotFound, r.URL.Path+" is not there")
		return
	}
	answer(w, v)
}

// SetScale is PUT; instances are ready at once.
func (m *Meshd) SetScale(service string, n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.scales[service] = api.Scale{Replicas: n, Ready: n}
	close(m.changed)
	m.changed = make(chan struct{})
}

// Scale returns what is wanted of a service, and a channel that is closed at
// the next change of any.
func (m *Meshd) Scale(service string) (int, <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.scales[service].Replicas, m.changed
}

func (m *Meshd) getScale(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("namespace") + "/" + r.PathValue("name")
	last := -1
	for {
		m.mu.Lock()
		sc, changed := m.scales[name], m.changed
		m.mu.Unlock()
		if r.Header.Get("Accept") != "text/event-stream" {
			answer(w, sc)
			return
		}
		if sc.Replicas != last {
			event(w, sc)
			last = sc.Replicas
		}
		select {
		case <-changed:
		case <-r.Context().Done():
			return
		}
	}
}

func (m *Meshd) getObjects(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	items := []api.Object{}
	for _, o := range m.Objects {
		if (q.Get("kind") == "" || q.Get("kind") == o.Kind) && (q.Get("namespace") == "" || q.Get("namespace") == o.Namespace) &&
			(q.Get("name") == "" || q.Get("name") == o.Name) {
			items = append(items, o)
		}
	}
	answer(w, map[string]any{"items": items})
}

func (m *Meshd) postObjects(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	m.mu.Lock()
	m.Bodies = append(m.Bodies, string(body))
	m.mu.Unlock()
	if len(m.Answer.Refused) > 0 {
		w.WriteHeader(http.StatusUnprocessableEntity)
	}
	answer(w, m.Answer)
}

func (m *Meshd) deleteObject(w http.ResponseWriter, r *http.Request) {
	for _, o := range m.Objects {
		if o.Kind != r.PathValue("kind") || o.Namespace != r.PathValue("namespace") || o.Name != r.PathValue("name") {
			continue
		}
		if strings.HasPrefix(o.Source, "file:") {
			refuse(w, http.StatusConflict, fmt.Sprintf("%s %s/%s comes from %s: delete it there", o.Kind, o.Namespace, o.Name, o.Source))
		}
		return
	}
	refuse(w, http.StatusNotFound, fmt.Sprintf("no %s %s/%s", r.PathValue("kind"), r.PathValue("namespace"), r.PathValue("name")))
}

func refuse(w http.ResponseWriter, code int, message string) {
	w.WriteHeader(code)
	answer(w, map[string]string{"error": message})
}

func answer(w io.Writer, v any) { json.NewEncoder(w).Encode(v) }

func event(w http.ResponseWriter, v any) {
	b, _ := json.Marshal(v)
	fmt.Fprintf(w, "data: %s\n\n", b)
	w.(http.Flusher).Flush()
}
