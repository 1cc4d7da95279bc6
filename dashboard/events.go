package dashboard

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/meshd/meshd/telemetry"
)

const (
	// writeTimeout is how long a client may take to read one event.
	writeTimeout = 2 * time.Second
	// heartbeat is the longest silence on an event stream: it tells proxies and
	// clients that the stream lives while the store has nothing to say.
	heartbeat = 10 * time.Second
)

// events is what all event streams share.
type events struct {
	free chan struct{} // holds one value a stream, up to its capacity

	mu      sync.Mutex
	version int64 // of the store, that json was made of
	json    []byte
}

// metrics is the JSON of GET /api/v1/metrics, made once a second however many
// ask.
func (d *Dashboard) metrics() ([]byte, error) {
	e := &d.events
	e.mu.Lock()
	defer e.mu.Unlock()
	version := d.cfg.Store.Version()
	if e.json != nil && e.version == version {
		return e.json, nil
	}
	text, err := json.Marshal(d.cfg.Store.Snapshot(telemetry.DefaultWindow))
	if err != nil {
		return nil, err
	}
	e.version, e.json = version, text
	return text, nil
}

func (d *Dashboard) serveMetrics(w http.ResponseWriter, r *http.Request) {
	text, err := d.metrics()
	if err != nil {
		d.jsonError(w, http.StatusInternalServerError, err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Write(append(text[:len(text):len(text)], '\n'))
}

// serveEvents sends the metrics as server-sent events, once a second. A client
// that does not read is dropped; one too many is told so.
func (d *Dashboard) serveEvents(w http.ResponseWriter, r *http.Request) {
	select {
	case d.events.free <- struct{}{}:
		defer func() { <-d.events.free }()
	default:
		w.Header().Set("Retry-After", "5")
		d.jsonError(w, http.StatusServiceUnavailable, "too many event streams are open; close one or poll /api/v1/metrics")
		return
	}
	updates, cancel := d.cfg.Store.Subscribe()
	defer cancel()
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Accel-Buffering", "no")
	rc := http.NewResponseController(w)
	defer rc.SetWriteDeadline(time.Time{})
	send := func(parts ...string) bool {
		// Not every ResponseWriter has deadlines; the flush then tells.
		_ = rc.SetWriteDeadline(time.Now().Add(writeTimeout))
		for _, p := range parts {
			if _, err := w.Write([]byte(p)); err != nil {
				return false
			}
		}
		return rc.Flush() == nil
	}
	event := func() bool {
		text, err := d.metrics()
		if err != nil {
			d.cfg.Logger.Error("dashboard: metrics", "error", err, "next", "report it with the error")
			return false
		}
		return send("data: ", string(text), "\n\n")
	}
	if !send("retry: 1000\n\n") || !event() {
		return
	}
	quiet := time.NewTicker(heartbeat)
	defer quiet.Stop()
	for {
		select {
		case <-r.Context().Done():
			return
		case _, running := <-updates:
			if !running || !event() {
				return
			}
			quiet.Reset(heartbeat)
		case <-quiet.C:
			if !send(": still here\n\n") {
				return
			}
		}
	}
}

// jsonError answers an API call with {"error": text}.
func (d *Dashboard) jsonError(w http.ResponseWriter, status int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"error": text})
}
