package dashboard

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/meshd/meshd/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(h http.Handler, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
	return w
}

// wellFormed reads HTML as XML: html/template's escapes and our own markup
// leave nothing open.
func wellFormed(t *testing.T, text []byte) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(text))
	d.Strict, d.AutoClose, d.Entity = false, []string{"meta", "link", "source", "img"}, xml.HTMLEntity
	for {
		if _, err := d.Token(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatalf("%v in:\n%s", err, text)
		}
	}
}

func TestPageWithoutScale(t *testing.T) {
	mesh(t, Config{}, func(d *Dashboard, _ *receiver) {
		if page := get(d, "/").Body.String(); strings.Contains(page, "<form") {
			t.Error("buttons without Config.Scale")
		}
		r := httptest.NewRequest("POST", "/scale/default/checkout", strings.NewReader("replicas=3"))
		w := httptest.NewRecorder()
		if d.ServeHTTP(w, r); w.Code != http.StatusNotFound {
			t.Errorf("POST: %d", w.Code)
		}
	})
}

func TestEmptyPage(t *testing.T) {
	d, err := New(Config{Store: telemetry.NewStore(telemetry.Config{})})
	if err != nil {
		t.Fatal(err)
	}
	w := get(d, "/")
	if !strings.Contains(w.Body.String(), "meshctl run --name hello --port 8080 -- ./app") {
		t.Errorf("the empty page does not say what to do:\n%s", w.Body)
	}
	if w := get(d, "/api/v1/metrics"); !strings.Contains(w.Body.String(), `"services":[]`) {
		t.Errorf("metrics: %s", w.Body)
	}
	if _, err := New(Config{}); err == nil {
		t.Error("no error without a store")
	}
}

func TestCharts(t *testing.T) {
	mesh(t, Config{}, func(d *Dashboard, _ *receiver) {
		for _, tc := range []struct {
			path   string
			status int
			want   []string
		}{
			{"/charts/default/checkout/latency.svg", 200, []string{"p50", "p99", "instances", "now", " ms<", "#FFFFFF"}},
			{"/charts/default/checkout/latency.svg?theme=dark&window=15m", 200, []string{"−10 min", "#161B22"}},
			{"/charts/default/checkout/throughput.svg", 200, []string{"calls", "failed", "retries"}},
			{"/charts/default/checkout/instances.svg?window=2m", 200, []string{"in flight", "−1 min<"}},
			{"/charts/default/checkout/other.svg", 404, []string{"throughput.svg"}},
			{"/charts/default/nobody/latency.svg", 404, []string{`"default/nobody"`}},
		} {
			w := get(d, tc.path)
			if w.Code != tc.status {
				t.Errorf("%s: status %d, want %d", tc.path, w.Code, tc.status)
			}
			for _, want := range tc.want {
				if !strings.Contains(w.Body.String(), want) {
					t.Errorf("%s: no %q in\n%s", tc.path, want, w.Body)
				}
			}
			if tc.status == 200 {
				if strings.Contains(w.Body.String(), "NaN") || w.Header().Get("Content-Type") != "image/svg+xml" {
					t.Errorf("%s: %v", tc.path, w.Header())
				}
				wellFormed(t, w.Body.Bytes())
			}
		}
		key := chartKey{telemetry.Service{Namespace: "default", Name: "checkout"}, "latency.svg", 1, false}
		drawn := func() *byte {
			svg, err := d.draw(key, latency)
			if err != nil {
				t.Fatal(err)
			}
			return &svg[0]
		}
		first := drawn()
		if drawn() != first {
			t.Error("drawn twice in a second")
		}
		time.Sleep(time.Second)
		if drawn() == first || len(d.charts.drawn) != 1 {
			t.Errorf("not drawn anew, %d pictures kept", len(d.charts.drawn))
		}
	})
}

func TestMetrics(t *testing.T) {
	mesh(t, Config{}, func(d *Dashboard, _ *receiver) {
		var got telemetry.Snapshot
		if err := json.Unmarshal(get(d, "/api/v1/metrics").Body.Bytes(), &got); err != nil {
			t.Fatal(err)
		}
		s := got.Services[0]
		if len(got.Services) != 1 || math.Abs(s.RPS-100) > 1 || math.Abs(s.P99Ms-10) > 0.3 || s.Instances != 3 || math.Abs(s.Success-0.9) > 0.001 {
			t.Errorf("%+v", got)
		}
	})
}

func TestScale(t *testing.T) {
	var asked string
	scale := func(ns, name string, n int) error {
		asked = fmt.Sprint(ns, "/", name, " ", n)
		if n > 8 {
			return errors.New("at most 8 fit")
		}
		return nil
	}
	mesh(t, Config{Scale: scale}, func(d *Dashboard, _ *receiver) {
		for _, tc := range []struct {
			name, path, replicas string
			header               map[string]string
			status               int
			asked, says          string
		}{
			{"same origin", "/scale/default/checkout?window=2m", "4", map[string]string{"Origin": "http://example.com"}, 303, "default/checkout 4", "/services/default/checkout?window=2m"},
			{"from the list", "/scale/default/checkout?window=2m&from=all", "4", nil, 303, "default/checkout 4", "/?window=2m#default/checkout"},
			{"same site by the browser's word", "/scale/default/checkout", "2", map[string]string{"Sec-Fetch-Site": "same-origin"}, 303, "default/checkout 2", ""},
			{"another origin", "/scale/default/checkout", "4", map[string]string{"Origin": "http://evil.example"}, 403, "", ""},
			{"another site", "/scale/default/checkout", "4", map[string]string{"Sec-Fetch-Site": "cross-site"}, 403, "", ""},
			{"not a number", "/scale/default/checkout", "many", nil, 422, "", "want a number from 0 to 1000"},
			{"negative", "/scale/default/checkout", "-1", nil, 422, "", "want a number from 0 to 1000"},
			{"nobody", "/scale/default/nobody", "1", nil, 404, "", "there is no such service"},
			{"refused", "/scale/default/checkout", "9", nil, 409, "default/checkout 9", "at most 8 fit"},
		} {
			t.Run(tc.name, func(t *testing.T) {
				asked = ""
				r := httptest.NewRequest("POST", tc.path, strings.NewReader(url.Values{"replicas": {tc.replicas}}.Encode()))
				r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
				for k, v := range tc.header {
					r.Header.Set(k, v)
				}
				w := httptest.NewRecorder()
				d.ServeHTTP(w, r)
				if w.Code != tc.status || asked != tc.asked || !strings.Contains(w.Body.String()+w.Header().Get("Location"), tc.says) {
					t.Errorf("status %d, asked %q, want %d, %q, and %q in:\n%s", w.Code, asked, tc.status, tc.asked, tc.says, w.Body)
				}
			})
		}
		if w := get(d, "/scale/default/checkout"); w.Code == 200 {
			t.Error("GET scales")
		}
	})
}

func TestColumns(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	var points []telemetry.Point
	for i := range 900 {
		p := telemetry.Point{Time: now.Add(time.Duration(i-900) * time.Second), RPS: 10, Success: 1, P50: time.Millisecond, P99: 2 * time.Millisecond, Instances: 2}
		if i == 451 {
			p.P99 = time.Second
		}
		if i >= 600 && i < 660 {
			p.RPS, p.P50, p.P99 = 0, 0, 0
		}
		points = append(points, p)
	}
	s := columns(points, now, 15*time.Minute)
	if len(s.x) > maxPoints+1 || len(s.x) != len(s.p99) || len(s.x) != len(s.instances) {
		t.Fatalf("%d points", len(s.x))
	}
	peak, gaps, calls := 0.0, 0, 0.0
	for i, v := range s.p99 {
		if math.IsNaN(v) {
			gaps++
		} else {
			peak = max(peak, v)
		}
		calls += s.rps[i]
	}
	if peak != 1000 || gaps < 19 || gaps > 21 || math.Abs(calls/float64(len(s.x))-10*840.0/900) > 0.1 {
		t.Errorf("peak %v, gaps %d, mean %v", peak, gaps, calls/float64(len(s.x)))
	}
	if empty := columns(nil, now, time.Minute); len(empty.x) != 0 {
		t.Error("points out of nothing")
	}
}

func TestPercent(t *testing.T) {
	for share, want := range map[float64]string{1: "100 %", 0.99999: "> 99.99 %", 0.5: "50.00 %", 0: "0.00 %"} {
		if got := percent(share); got != want {
			t.Errorf("%v → %q, want %q", share, got, want)
		}
	}
}

func BenchmarkDrawLatency(b *testing.B) {
	now := time.Now()
	var points []telemetry.Point
	for i := range 900 {
		points = append(points, telemetry.Point{Time: now.Add(time.Duration(i-900) * time.Second), RPS: 10, Success: 1, P50: time.Duration(i) * time.Microsecond, P99: 3 * time.Millisecond, Instances: i % 4})
	}
	for b.Loop() {
		if err := latency("default/checkout", columns(points, now, 15*time.Minute)).SVG(io.Discard, themeOf(false)); err != nil {
			b.Fatal(err)
		}
	}
}
