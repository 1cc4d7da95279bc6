package tap

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/stats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func still() int64 { return 1 }

func entry(path string) *call.Entry {
	return &call.Entry{
		Time: time.Date(2026, 11, 24, 3, 0, 0, 0, time.UTC), Took: 12500 * time.Microsecond, Service: "default/checkout:80",
		Route: "orders", Method: "GET", Path: path, Peer: "10.0.0.9", Version: "1.1", Status: 503, Failed: true, Attempts: 2,
		Endpoint: "10.0.0.1:80", Instance: "checkout-1", Kept: "error",
		Parts:   [stats.Parts]time.Duration{stats.PartRetried: 2 * time.Millisecond},
		Headers: []call.Header{{Name: "x-user", Value: "ann"}, {Name: "authorization", Value: "Bearer x"}},
	}
}

// A reader gets the calls that it asks for, as JSON lines, and the tracer is
// left alone when it has gone.
func TestReaderGetsCalls(t *testing.T) {
	var at atomic.Pointer[call.Tap]
	h := New(&at, still, "shell-0")
	defer h.Close()
	server := httptest.NewServer(h)
	defer server.Close()
	res, err := http.Get(server.URL + "/tap?service=checkout&path=/items&headers=x-user,authorization")
	if err != nil {
		t.Fatal(err)
	}
	at.Load().End(entry("/other"))
	at.Load().End(entry("/items"))
	text, err := bufio.NewReader(res.Body).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"time":"2026-11-24T03:00:00Z","side":"out","reporter":"shell-0","service":"default/checkout:80","route":"orders",` +
		`"method":"GET","path":"/items","peer":"10.0.0.9","http":"1.1","status":503,"failed":true,"tookMs":12.500,"partsMs":{"retried":2.000},` +
		`"attempts":2,"endpoint":"10.0.0.1:80","instance":"checkout-1","kept":"error","headers":{"x-user":"ann","authorization":"REDACTED"}}`
	if got := strings.TrimSpace(text); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := strings.Join(at.Load().Headers, ","); got != "x-user,authorization" {
		t.Errorf("asks for headers %s", got)
	}
	res.Body.Close()
	h.Close()
	if at.Load() != nil {
		t.Error("the tap is still there")
	}
}

func TestRefused(t *testing.T) {
	var at atomic.Pointer[call.Tap]
	h := New(&at, still, "")
	get := func(query string) (int, string) {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/tap?"+query, nil))
		return w.Code, w.Body.String()
	}
	if code, body := get("max-rps=0"); code != 400 || !strings.Contains(body, "at most 1000") {
		t.Errorf("%d %s", code, body)
	}
	for range maxReaders {
		r, err := h.join(Filter{PerSecond: 1})
		if err != nil {
			t.Fatal(err)
		}
		defer h.leave(r)
	}
	if code, body := get(""); code != 429 || !strings.Contains(body, "4 readers") {
		t.Errorf("%d %s", code, body)
	}
	close(h.closed)
	if code, _ := get(""); code != 503 {
		t.Errorf("%d after Close", code)
	}
}

// A stuck is a reader's connection that takes nothing until it is let go.
type stuck struct {
	*httptest.ResponseRecorder
	let chan struct{}
}

func (s stuck) Write(p []byte) (int, error) {
	<-s.let
	return s.ResponseRecorder.Write(p)
}

// Calls do not wait for a slow reader, who is told how many it has missed.
func TestSlowReaderLoses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at atomic.Pointer[call.Tap]
		h := New(&at, still, "")
		w := stuck{httptest.NewRecorder(), make(chan struct{})}
		ctx, cancel := context.WithCancel(context.Background())
		go h.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/tap?max-rps=1000", nil))
		synctest.Wait()
		at.Load().End(entry("/first"))
		synctest.Wait() // it is being written
		for range 700 {
			at.Load().End(entry("/a"))
		}
		for range 500 { // of which 299 are within the burst of 1000
			at.Load().End(entry("/b"))
		}
		close(w.let)
		time.Sleep(tellEvery + time.Millisecond)
		synctest.Wait()
		cancel()
		h.Close()
		lines := strings.Split(strings.TrimSpace(w.Body.String()), "\n")
		var last struct{ Missed Missed }
		if err := json.Unmarshal([]byte(lines[len(lines)-1]), &last); err != nil {
			t.Fatal(err)
		}
		want := Missed{Over: 201, Lost: 1000 - 1 - maxWaiting}
		if n := len(lines) - 1; n != 1+maxWaiting || last.Missed != want {
			t.Errorf("%d calls, missed %+v, want %+v", n, last.Missed, want)
		}
	})
}

// What waits in a reader that does not read is bounded in bytes too.
func TestLinesAreShort(t *testing.T) {
	e := entry("/" + strings.Repeat("x", 1<<20))
	e.Method = strings.Repeat("M", 1<<20)
	if l := line(e, &Filter{}, ""); len(l) > 1500 || strings.Contains(string(l), "headers") {
		t.Errorf("%d bytes: %.2000s", len(l), l)
	}
}

func TestInboundAndRPC(t *testing.T) {
	e := &call.Entry{Inbound: true, Status: stats.GRPC(14), Instance: "checkout-1", Error: stats.ErrShed}
	l := string(line(e, &Filter{}, "checkout-1"))
	for _, want := range []string{`"side":"in"`, `"grpc":"UNAVAILABLE"`, `"error":"` + stats.ErrShed.String() + `"`} {
		if !strings.Contains(l, want) || strings.Contains(l, `"status"`) {
			t.Errorf("no %s, or a status: %s", want, l)
		}
	}
}

// What a call pays while somebody looks, for calls of others and for one that
// is shown.
func BenchmarkOffer(b *testing.B) {
	for name, f := range map[string]Filter{"other": {Service: "cart", PerSecond: 1e9}, "shown": {Service: "checkout", PerSecond: 1e9}} {
		b.Run(name, func(b *testing.B) {
			r := &reader{filter: f, rate: breaker.NewBucket(f.PerSecond, 1e9), lines: make(chan []byte, maxWaiting)}
			e := entry("/items")
			b.ReportAllocs()
			for b.Loop() {
				r.offer(e, "shell-0", 1)
				for len(r.lines) > 0 {
					<-r.lines
				}
			}
		})
	}
}
