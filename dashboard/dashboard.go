// Package dashboard is meshd's page: what every service looks like to its
// callers, and what latency does as instances come and go, and why. It is
// rendered on the server and works without JavaScript; with it, numbers and
// pictures follow meshd's clock, once a second. All that a view shows is named
// by its URL.
package dashboard

import (
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/meshd/meshd/telemetry"
)

// Config of the page.
type Config struct {
	// Store has what there is to show. Its Run must be running for the page to
	// be live.
	Store *telemetry.Store
	// Reader answers for the views; the Store does by default.
	Reader telemetry.Reader
	// Scale asks for that many instances of a service. Nil: the page has no
	// buttons. An error is shown to the person as it is.
	Scale func(namespace, name string, replicas int) error
	// Replicas is the number of instances that was last asked for; ok is false
	// where nobody has asked. Nil: the buttons go from the number there is.
	Replicas func(namespace, name string) (n int, ok bool)
	// Clients are those that are connected for their configuration, by ID. Nil:
	// the view of it says that there are none.
	Clients func() []Client
	// MaxSubscribers bounds the event streams that are open at once; 64 by default.
	MaxSubscribers int
	// Logger takes failures that a person at the page cannot mend.
	Logger *slog.Logger
}

// A Client is one xDS stream.
type Client struct {
	ID, Service, Namespace string
	Connected              time.Time
	Acked, Nacked          uint64 // responses that it took and rejected
	Has                    []Has
}

// Has is what a client has of one type of resource.
type Has struct {
	Type      string // its short name, Cluster
	Resources int    // that it had been told of when it last took a response
	Rejected  string // why it keeps older ones of what it was sent; empty: it does not
}

// Dashboard is the handler. All its methods may be called from any goroutine.
type Dashboard struct {
	cfg    Config
	mux    *http.ServeMux
	pages  pageCache
	charts chartCache
	events events
}

// New makes the handler of
//
//	GET  /                                              all services
//	GET  /services/NAMESPACE/SERVICE                    one as it scales
//	GET  /services/NAMESPACE/SERVICE/instances          its instances
//	GET  /map                                           who calls whom
//	GET  /traces, /traces/ID                            kept calls
//	GET  /config                                        who has which configuration
//	GET  /charts/NAMESPACE/SERVICE/CHART.svg            pictures for elsewhere
//	POST /scale/NAMESPACE/SERVICE                       the buttons, if Config.Scale is set
//	GET  /api/v1/metrics, /api/v1/events                docs/reference/wire.md
//
// Event streams end when the Store's Run does or the client goes.
func New(cfg Config) (*Dashboard, error) {
	if cfg.Store == nil {
		return nil, errors.New("dashboard: Config.Store is nil: want the store that sidecars report to")
	}
	if cfg.Reader == nil {
		cfg.Reader = cfg.Store
	}
	if cfg.MaxSubscribers <= 0 {
		cfg.MaxSubscribers = 64
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	d := &Dashboard{cfg: cfg, mux: http.NewServeMux()}
	d.events.free = make(chan struct{}, cfg.MaxSubscribers)
	for pattern, v := range map[string]view{
		"/{$}":                                   {"services", d.services},
		"/services/{namespace}/{name}":           {"service", d.service},
		"/services/{namespace}/{name}/instances": {"instances", d.instances},
		"/map":                                   {"map", d.callMap},
		"/traces":                                {"traces", d.traces},
		"/traces/{id}":                           {"trace", d.trace},
		"/config":                                {"config", d.config},
	} {
		d.mux.HandleFunc("GET "+pattern, func(w http.ResponseWriter, r *http.Request) { d.serve(w, r, v) })
	}
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
