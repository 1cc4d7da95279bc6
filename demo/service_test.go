package demo

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func terminated() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGTERM)
}

// start serves one instance and returns its URL.
func start(t *testing.T, cfg ServiceConfig) string {
	t.Helper()
	var err error
	if cfg.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	cfg.Instance = cfg.Role + "-0"
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- RunService(ctx, cfg) }()
	t.Cleanup(func() {
		cancel()
		http.DefaultClient.CloseIdleConnections()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return "http://" + cfg.Listener.Addr().String()
}

func get(t *testing.T, url string, header http.Header) (int, string) {
	t.Helper()
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		req.Header = header
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(body))
}

// front asks both others through its sidecar, passes the trace on, and
// answers 200 only if both did.
func TestFront(t *testing.T) {
	var mu sync.Mutex
	var asked []string
	broken := ""
	sidecar := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, fmt.Sprint(r.RequestURI, " ", r.Header.Get("Traceparent"), " ", r.Header.Get("Tracestate")))
		if r.Host == broken {
			w.WriteHeader(503)
		}
	}))
	t.Cleanup(sidecar.Close)
	url := start(t, ServiceConfig{Role: Front, Outbound: strings.TrimPrefix(sidecar.URL, "http://")})
	if code, body := get(t, url, http.Header{"Traceparent": {"00-1-2-01"}, "Tracestate": {"a=b"}}); code != 200 || body != "front-0" {
		t.Errorf("%d %s", code, body)
	}
	mu.Lock()
	if all := strings.Join(asked, "\n"); len(asked) != 2 || !strings.Contains(all, "http://fast/ 00-1-2-01 a=b") || !strings.Contains(all, "http://slow/ 00-1-2-01 a=b") {
		t.Errorf("asked %q", asked)
	}
	broken = Slow
	mu.Unlock()
	if code, body := get(t, url, nil); code != 502 || body != "slow answered 503 Service Unavailable" {
		t.Errorf("%d %s", code, body)
	}
}

// slow takes a worker's time for each call: calls at once wait for each other.
func TestSlowQueues(t *testing.T) {
	url := start(t, ServiceConfig{Role: Slow, Workers: 2})
	begin := time.Now()
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if code, body := get(t, url, nil); code != 200 || body != "slow-0" {
				t.Errorf("%d %s", code, body)
			}
		})
	}
	wg.Wait()
	if d := time.Since(begin); d < 5*serviceTime {
		t.Errorf("ten calls on two workers took %v, want at least %v", d, 5*serviceTime)
	}
	if code, body := get(t, url+"/-/stats", nil); code != 200 || !strings.HasPrefix(body, `{"calls":10,"first":1`) {
		t.Errorf("%d %s", code, body)
	}
}

func TestSlowDown(t *testing.T) {
	url := start(t, ServiceConfig{Role: Fast})
	for by, want := range map[string]int{"20ms": 200, "-1s": 400, "": 400, "1h": 400} {
		resp, err := http.Post(url+"/-/slow?by="+by, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("by %q: %d, want %d", by, resp.StatusCode, want)
		}
	}
	begin := time.Now()
	get(t, url, nil)
	if d := time.Since(begin); d < 20*time.Millisecond {
		t.Errorf("answered after %v, want 20ms or more", d)
	}
}

func TestUnknownRole(t *testing.T) {
	if err := RunService(context.Background(), ServiceConfig{Role: "clown"}); err == nil || !strings.Contains(err.Error(), "front, fast or slow") {
		t.Errorf("error %v", err)
	}
}
