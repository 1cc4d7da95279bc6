// Package dashboard is meshd's page: what every service looks like to its
// callers, and what latency does as instances come and go. It is rendered on
// the server and works without JavaScript; with it, numbers and pictures
// follow meshd's clock, once a second.
package dashboard

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/meshd/meshd/telemetry"
)

// Config of the page.
type Config struct {
	// Store has what there is to show. Its Run must be running for the page to
	// be live.
	Store *telemetry.Store
	// Scale asks for that many instances of a service. Nil: the page has no
	// buttons. An error is shown to the person as it is.
	Scale func(namespace, name string, replicas int) error
	// Replicas is the number of instances that was last asked for; ok is false
	// where nobody has asked. Nil: the buttons go from the number there is.
	Replicas func(namespace, name string) (n int, ok bool)
	// MaxSubscribers bounds the event streams that are open at once; 64 by default.
	MaxSubscribers int
	// Logger takes failures that a person at the page cannot mend.
	Logger *slog.Logger
}

// Dashboard is the handler. All its methods may be called from any goroutine.
type Dashboard struct {
	cfg    Config
	mux    *http.ServeMux
	charts chartCache
	events events
}

// New makes the handler of
//
//	GET  /                                              the page
//	GET  /charts/NAMESPACE/SERVICE/CHART.svg            its pictures
//	POST /scale/NAMESPACE/SERVICE                       its buttons, if Config.Scale is set
//	GET  /api/v1/metrics, /api/v1/events                docs/reference/wire.md
//
// Event streams end when the Store's Run does or the client goes.
func New(cfg Config) (*Dashboard, error) {
	if cfg.Store == nil {
		return nil, errors.New("dashboard: Config.Store is nil: want the store that sidecars report to")
	}
	if cfg.MaxSubscribers <= 0 {
		cfg.MaxSubscribers = 64
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	d := &Dashboard{cfg: cfg, mux: http.NewServeMux()}
	d.events.free = make(chan struct{}, cfg.MaxSubscribers)
	d.mux.HandleFunc("GET /{$}", d.servePage)
	d.mux.HandleFunc("GET /charts/{namespace}/{service}/{chart}", d.serveChart)
	d.mux.HandleFunc("GET /api/v1/metrics", d.serveMetrics)
	d.mux.HandleFunc("GET /api/v1/events", d.serveEvents)
	if cfg.Scale != nil {
		// A form of another site must not scale anything: Sec-Fetch-Site, or
		// else Origin, has to name this one.
		guard := http.NewCrossOriginProtection()
		d.mux.Handle("POST /scale/{namespace}/{service}", guard.Handler(http.HandlerFunc(d.serveScale)))
	}
	return d, nil
}

// ServeHTTP implements http.Handler.
func (d *Dashboard) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	d.mux.ServeHTTP(w, r)
}

// windows are the stretches of time that the pictures can show.
var windows = []struct {
	Text string
	Span time.Duration
}{
	{"2 min", 2 * time.Minute},
	{"5 min", 5 * time.Minute},
	{"15 min", 15 * time.Minute},
}

// windowOf reads the query's window, such as 15m: the index of one of the
// windows, 5 min by default.
func windowOf(r *http.Request) (index int) {
	asked := r.URL.Query().Get("window")
	for i, w := range windows {
		if asked == windowParam(w.Span) {
			return i
		}
	}
	return 1
}

func windowParam(d time.Duration) string { return strings.TrimSuffix(d.String(), "0s") }
