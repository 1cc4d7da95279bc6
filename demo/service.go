package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/meshd/meshd/internal/wait"
)

// The roles of the demo's services, which are their names too.
const (
	Front = "front"
	Fast  = "fast"
	Slow  = "slow"
)

// Roles in the order in which calls reach them.
var Roles = []string{Front, Fast, Slow}

const (
	// serviceTime is a worker's time for one call of slow.
	serviceTime = 5 * time.Millisecond
	// queueLimit bounds the calls that wait for a worker of slow; more are
	// answered 503.
	queueLimit = 256
	// callTimeout bounds front's calls.
	callTimeout = 5 * time.Second
)

// A ServiceConfig is one instance of one service.
type ServiceConfig struct {
	Role     string
	Instance string
	Listener net.Listener
	Outbound string // host:port of the sidecar; for front
	Workers  int    // for slow
}

// A service answers calls on / and is asked and told things below /-/.
type service struct {
	cfg     ServiceConfig
	workers chan struct{} // holds one token a busy worker
	waiting atomic.Int64
	extra   atomic.Int64 // nanoseconds more a call
	calls   atomic.Int64
	first   atomic.Int64 // when the first call came, Unix nanoseconds
	client  *http.Client
}

// Stats is GET /-/stats.
type Stats struct {
	Calls int64 `json:"calls"`
	// First is when the first call came, in Unix nanoseconds; 0 if none did.
	First int64 `json:"first"`
}

// RunService serves until ctx ends, then finishes the calls in flight.
func RunService(ctx context.Context, cfg ServiceConfig) error {
	s := &service{cfg: cfg, workers: make(chan struct{}, max(cfg.Workers, 1))}
	mux := http.NewServeMux()
	switch cfg.Role {
	case Front:
		transport := &http.Transport{MaxIdleConnsPerHost: 256, IdleConnTimeout: time.Minute}
		if cfg.Outbound != "" {
			transport.Proxy = http.ProxyURL(&url.URL{Scheme: "http", Host: cfg.Outbound})
		}
		defer transport.CloseIdleConnections()
		s.client = &http.Client{Transport: transport, Timeout: callTimeout}
		mux.HandleFunc("/", s.counted(s.front))
	case Fast:
		mux.HandleFunc("/", s.counted(s.fast))
	case Slow:
		mux.HandleFunc("/", s.counted(s.slow))
	default:
		return fmt.Errorf("demo service: role %q: want front, fast or slow", cfg.Role)
	}
	mux.HandleFunc("GET /-/stats", s.stats)
	mux.HandleFunc("POST /-/slow", s.slowDown)

	server := &http.Server{Handler: mux}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.Background(), callTimeout)
		defer cancel()
		server.Shutdown(grace) // what is left after the grace is cut off by the end of the process
	}()
	if err := server.Serve(cfg.Listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("demo service %s: %w", cfg.Role, err)
	}
	<-stopped
	return nil
}

func (s *service) counted(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if s.calls.Add(1) == 1 {
			s.first.Store(time.Now().UnixNano())
		}
		h(w, r)
	}
}

// fast answers at once.
func (s *service) fast(w http.ResponseWriter, r *http.Request) {
	if s.pause(r.Context(), 0) {
		fmt.Fprintf(w, "%s\n", s.cfg.Instance)
	}
}

// slow answers after a worker took its time.
func (s *service) slow(w http.ResponseWriter, r *http.Request) {
	if s.waiting.Add(1) > queueLimit {
		s.waiting.Add(-1)
		http.Error(w, "queue full", http.StatusServiceUnavailable)
		return
	}
	select {
	case s.workers <- struct{}{}:
		s.waiting.Add(-1)
	case <-r.Context().Done():
		s.waiting.Add(-1)
		return
	}
	done := s.pause(r.Context(), serviceTime)
	<-s.workers
	if done {
		fmt.Fprintf(w, "%s\n", s.cfg.Instance)
	}
}

// front asks both others at once.
func (s *service) front(w http.ResponseWriter, r *http.Request) {
	if !s.pause(r.Context(), 0) {
		return
	}
	answers := make(chan error, 2)
	for _, name := range []string{Fast, Slow} {
		go func() { answers <- s.ask(r, name) }()
	}
	if err := errors.Join(<-answers, <-answers); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintf(w, "%s\n", s.cfg.Instance)
}

// traceHeaders are W3C Trace Context and Baggage: all that an application has
// to pass on to be seen as one trace.
var traceHeaders = []string{"Traceparent", "Tracestate", "Baggage"}

func (s *service) ask(r *http.Request, name string) error {
	req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, "http://"+name+"/", nil)
	if err != nil {
		return err
	}
	for _, h := range traceHeaders {
		if v := r.Header.Values(h); len(v) > 0 {
			req.Header[h] = v
		}
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	io.Copy(io.Discard, resp.Body)
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %s", name, resp.Status)
	}
	return nil
}

// pause takes d and what the service was slowed down by; false if ctx ended.
func (s *service) pause(ctx context.Context, d time.Duration) bool {
	return wait.For(ctx, d+time.Duration(s.extra.Load())) == nil
}

func (s *service) stats(w http.ResponseWriter, _ *http.Request) {
	json.NewEncoder(w).Encode(Stats{Calls: s.calls.Load(), First: s.first.Load()})
}

// slowDown is POST /-/slow?by=25ms; 0s takes it back.
func (s *service) slowDown(w http.ResponseWriter, r *http.Request) {
	by, err := time.ParseDuration(r.URL.Query().Get("by"))
	if err != nil || by < 0 || by > time.Minute {
		http.Error(w, fmt.Sprintf("by=%q: want a duration from 0s to 1m, such as 25ms", r.URL.Query().Get("by")), http.StatusBadRequest)
		return
	}
	s.extra.Store(int64(by))
}
