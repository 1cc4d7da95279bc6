package loadgen

import (
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func generator(t *testing.T, cfg Config) *Generator {
	t.Helper()
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func TestFixedNumber(t *testing.T) {
	var n atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "checkout" || r.Header.Get("X-A") != "b" {
			t.Errorf("Host %q, header %v", r.Host, r.Header)
		}
		if n.Add(1)%4 == 0 {
			w.Header().Set("Proxy-Status", "meshd; error=connection_refused")
			w.WriteHeader(503)
		}
	}))
	defer server.Close()
	g := generator(t, Config{URL: server.URL, Host: "checkout", Header: http.Header{"X-A": {"b"}}, Rate: 1000, Duration: 100 * time.Millisecond})
	g.Run(context.Background())
	s := g.Snapshot()
	if s.Sent != 100 || s.OK != 75 || s.Failed != 25 || s.InFlight != 0 || n.Load() != 100 {
		t.Errorf("%d served, %+v", n.Load(), s)
	}
	if s.Causes["503 Service Unavailable (meshd; error=connection_refused)"] != 25 {
		t.Errorf("causes %v", s.Causes)
	}
	if s.Quantile(0.5) <= 0 || s.Quantile(0.5) > s.Quantile(0.99) {
		t.Errorf("p50 %v, p99 %v", s.Quantile(0.5), s.Quantile(0.99))
	}
	if d := s.Since(s); d.Sent != 0 || d.OK != 0 || len(d.Causes) != 0 || d.Quantile(0.5) != 0 {
		t.Errorf("since itself: %+v", d)
	}
}

func TestProxy(t *testing.T) {
	got := make(chan string, 1)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { got <- r.RequestURI }))
	defer proxy.Close()
	g := generator(t, Config{URL: "http://checkout/x", Proxy: strings.TrimPrefix(proxy.URL, "http://"), Rate: 1000, Duration: time.Millisecond})
	g.Run(context.Background())
	if uri := <-got; uri != "http://checkout/x" {
		t.Errorf("asked for %q", uri)
	}
}

// A server that stalls shows in the latency of what was due meanwhile, and
// what does not fit the backlog counts as failed.
func TestStallIsNotHidden(t *testing.T) {
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-release }))
	defer server.Close()
	g := generator(t, Config{URL: server.URL, Rate: 1000, Connections: 1, Backlog: 10, Duration: 100 * time.Millisecond})
	done := make(chan struct{})
	go func() {
		defer close(done)
		g.Run(context.Background())
	}()
	for g.Snapshot().Sent < 90 {
		time.Sleep(time.Millisecond)
	}
	close(release)
	<-done
	s := g.Snapshot()
	if s.Sent != 100 || s.Dropped < 80 || s.OK+s.Failed != 100 || s.OK < 10 {
		t.Errorf("%+v", s)
	}
	if s.Quantile(0.1) < 20*time.Millisecond {
		t.Errorf("p10 %v: the stall is hidden", s.Quantile(0.1))
	}
}

func TestEndsWithContext(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	ctx, cancel := context.WithCancel(context.Background())
	g := generator(t, Config{URL: server.URL, Rate: 0.001})
	cancel()
	g.Run(ctx)
}

func TestRefused(t *testing.T) {
	for _, cfg := range []Config{{URL: "checkout", Rate: 1}, {URL: "http://a"}, {URL: "http://a", Rate: -1}, {URL: "http://a", Rate: 1, Connections: -1}} {
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "want") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func TestQuantile(t *testing.T) {
	var h histogram
	for i := 1; i <= 1000; i++ {
		h.record(time.Duration(i) * time.Millisecond)
	}
	c := h.load()
	for q, want := range map[float64]float64{0.5: 500, 0.9: 900, 0.99: 990, 1: 1000} {
		if got := float64(c.quantile(q)) / 1e6; math.Abs(got-want) > 0.022*want {
			t.Errorf("q%v: %v ms, want %v", q, got, want)
		}
	}
}
