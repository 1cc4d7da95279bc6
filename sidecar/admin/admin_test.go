package admin

import (
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAdmin(t *testing.T) {
	ready := true
	s, err := Listen("127.0.0.1:0", Config{
		Tap:   func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "taps") },
		Stats: stats.NewRegistry(), Ready: func() bool { return ready },
		Dump: func() any { return map[string]int{"clusters": 3} }, Logger: slog.New(slog.DiscardHandler),
		Why: func(q call.RecordQuery) []call.Record {
			if q.Service != "checkout" {
				return nil
			}
			return []call.Record{{Trace: "abc", Kept: q.Kept, Time: time.Now()}}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	get := func(path, host string) (int, string) {
		t.Helper()
		r, _ := http.NewRequest("GET", "http://"+s.Addr().String()+path, nil)
		r.Host = host
		res, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	for _, c := range []struct {
		path, host string
		status     int
		holds      string
	}{
		{"/", "", 200, "/config_dump"},
		{"/ready", "", 200, "ready"},
		{"/healthz", "localhost:15000", 200, "ok"},
		{"/metrics", "", 200, "meshd_"},
		{"/stats", "", 200, "{"},
		{"/stats?buckets=true", "", 200, "{"},
		{"/config_dump", "[::1]:15000", 200, "\"clusters\": 3"},
		{"/why?service=checkout&kept=error", "", 200, `"kept": "error"`},
		{"/why", "", 200, "[]"},
		{"/why?kept=all", "", 400, `kept "all": want one of error, slow, sampled`},
		{"/why?trace=xyz", "", 400, "32 hexadecimal digits"},
		{"/why?limit=0", "", 400, "want a number from 1"},
		{"/tap?side=in", "", 200, "taps"},
		{"/debug/pprof/", "", 200, "goroutine"},
		{"/nothing", "", 404, ""},
		{"/ready", "evil.example", 421, "localhost is accepted"},
	} {
		if code, body := get(c.path, c.host); code != c.status || !strings.Contains(body, c.holds) {
			t.Errorf("%s (Host %q): %d %.80q, want %d with %q", c.path, c.host, code, body, c.status, c.holds)
		}
	}
	ready = false
	if code, _ := get("/ready", ""); code != 503 {
		t.Errorf("not ready: %d", code)
	}
	if _, err := Listen(s.Addr().String(), Config{Tap: http.NotFound, Logger: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), "--admin") {
		t.Errorf("port in use: %v", err)
	}
}
