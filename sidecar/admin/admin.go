// Package admin is a sidecar's port for people and probes: readiness, metrics,
// what it knows, profiles. It listens on loopback only.
package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/stats"
)

// Config of a Server; all fields but LogLevel are needed.
type Config struct {
	Stats *stats.Registry
	Ready func() bool
	Dump  func() any // what GET /config_dump shows, as JSON
	// Why is what GET /why?trace=&service=&kept=&limit= shows.
	Why func(call.RecordQuery) []call.Record
	// Tap is GET /tap: calls as they end, as long as somebody looks.
	Tap http.HandlerFunc
	// LogLevel is GET and PUT /log-level; nil: they are not there.
	LogLevel http.Handler
	Logger   *slog.Logger
}

// A Server answers on one port until Close.
type Server struct {
	l    net.Listener
	http *http.Server
	done sync.WaitGroup
}

// Listen binds addr (--admin) and serves.
func Listen(addr string, cfg Config) (*Server, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("--admin %s: %w", addr, err)
	}
	s := &Server{l: l, http: &http.Server{
		Handler: local(handler(cfg)), ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug),
	}}
	s.done.Go(func() { _ = s.http.Serve(l) })
	return s, nil
}

// Addr is the bound address.
func (s *Server) Addr() netip.AddrPort { return s.l.Addr().(*net.TCPAddr).AddrPort() }

// Close ends the server.
func (s *Server) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
	s.done.Wait()
}

func handler(cfg Config) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /ready", func(w http.ResponseWriter, _ *http.Request) {
		if !cfg.Ready() {
			http.Error(w, "not ready: starting or draining", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		format := stats.AcceptedFormat(r.Header.Get("Accept"))
		w.Header().Set("Content-Type", format.ContentType())
		w.Header().Set("Vary", "Accept")
		_ = cfg.Stats.WritePrometheus(w, format)
	})
	mux.HandleFunc("GET /stats", func(w http.ResponseWriter, r *http.Request) {
		s := cfg.Stats.Snapshot()
		if r.URL.Query().Get("buckets") == "true" {
			s.AddBuckets()
		}
		writeJSON(w, s)
	})
	mux.HandleFunc("GET /config_dump", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, cfg.Dump()) })
	mux.HandleFunc("GET /why", func(w http.ResponseWriter, r *http.Request) {
		q, err := call.ParseRecordQuery(r.URL.Query())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		records := cfg.Why(q)
		if records == nil {
			records = []call.Record{}
		}
		writeJSON(w, records)
	})
	mux.HandleFunc("GET /tap", cfg.Tap)
	if cfg.LogLevel != nil {
		mux.Handle("/log-level", cfg.LogLevel)
	}
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "meshd sidecar\n\n  /ready\n  /healthz\n  /stats         JSON\n  /metrics       Prometheus\n  /config_dump   JSON\n  /why           JSON: calls that failed, were slow, or are sampled\n  /tap           JSON lines: calls as they end\n  /log-level     JSON; PUT /log-level?level=debug\n  /debug/pprof/\n")
	})
	return mux
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	_ = e.Encode(v)
}

// local refuses requests that name us by anything but an address or localhost:
// a web page that had its own name resolve to loopback could send those.
func local(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host := r.Host
		if h, _, err := net.SplitHostPort(host); err == nil {
			host = h
		}
		_, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil && host != "localhost" && host != "" {
			http.Error(w, fmt.Sprintf("Host %q: an IP address or localhost is accepted", r.Host), http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}
