package loadgen

import (
	"context"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
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

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A server that stalls shows in the latency of what was due
// meanwhile, and what does not fit the backlog counts as failed.
func TestStallIsNotHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := generator(t, Config{URL: "http://checkout/", Rate: 100, Connections: 1, Backlog: 10, Duration: 2 * time.Second})
		const stall = 995 * time.Millisecond
		start := time.Now()
		g.transport = roundTrip(func(*http.Request) (*http.Response, error) {
			if wait := stall - time.Since(start); wait > 0 {
				time.Sleep(wait)
			}
			return &http.Response{StatusCode: 200, Body: http.NoBody}, nil
		})
		g.Run(context.Background())
		// One was in flight and ten waited for up to a second; 89 were dropped.
		s := g.Snapshot()
		if s.Sent != 200 || s.Dropped != 89 || s.Failed != 89 || s.OK != 111 || s.Causes["dropped: too many waiting"] != 89 {
			t.Errorf("%+v", s.Causes)
		}
		if worst := s.Quantile(1); worst < 970*time.Millisecond || worst > 1020*time.Millisecond {
			t.Errorf("longest %v, want about a second: the stall is hidden", worst)
		}
		if p50 := s.Quantile(0.5); p50 > time.Millisecond {
			t.Errorf("p50 %v, want nothing", p50)
		}
	})
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
