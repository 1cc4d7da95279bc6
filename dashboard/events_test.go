package dashboard

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/meshd/meshd/telemetry"
)

// stream is a client of /api/v1/events inside a bubble.
type stream struct {
	header http.Header
	body   *io.PipeWriter
	lines  *bufio.Scanner
	status int
}

func (s *stream) Header() http.Header { return s.header }
func (s *stream) WriteHeader(c int)   { s.status = c }
func (s *stream) Flush()              {}
func (s *stream) Write(p []byte) (int, error) {
	return s.body.Write(p)
}

func open(d *Dashboard, ctx context.Context) (s *stream, ended chan struct{}) {
	r, w := io.Pipe()
	s = &stream{header: http.Header{}, body: w, lines: bufio.NewScanner(r)}
	s.lines.Buffer(nil, 1<<20)
	ended = make(chan struct{})
	go func() {
		d.ServeHTTP(s, httptest.NewRequest("GET", "/api/v1/events", nil).WithContext(ctx))
		w.Close()
		close(ended)
	}()
	return s, ended
}

func TestEvents(t *testing.T) {
	mesh(t, Config{MaxSubscribers: 1}, func(d *Dashboard, _ *receiver) {
		ctx, leave := context.WithCancel(context.Background())
		defer leave()
		s, ended := open(d, ctx)
		begin, events := time.Now(), 0
		for events < 6 && s.lines.Scan() {
			if data, ok := strings.CutPrefix(s.lines.Text(), "data: "); ok {
				events++
				var snap telemetry.Snapshot
				if err := json.Unmarshal([]byte(data), &snap); err != nil || len(snap.Services) != 1 {
					t.Fatalf("%v: %s", err, data)
				}
			}
		}
		if took := time.Since(begin).Round(time.Second); took != 5*time.Second {
			t.Errorf("one event at once and five more took %v", took)
		}
		if w := get(d, "/api/v1/events"); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
			t.Errorf("one stream too many: %d", w.Code)
		}
		leave()
		for s.lines.Scan() {
		}
		<-ended
		if len(d.events.free) != 0 {
			t.Error("the place of a client that left is not free")
		}
	})
}

// TestHeartbeat: a store that does not run has nothing to say.
func TestHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, err := New(Config{Store: telemetry.NewStore(telemetry.Config{})})
		if err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(context.Background())
		s, ended := open(d, ctx)
		begin := time.Now()
		for s.lines.Scan() && !strings.HasPrefix(s.lines.Text(), ":") {
		}
		if d := time.Since(begin); d != heartbeat {
			t.Errorf("heartbeat after %v", d)
		}
		leave()
		for s.lines.Scan() {
		}
		<-ended
	})
}

// TestSlowClient: each event has to be taken within writeTimeout; a client
// that has not is dropped, and the connection's deadline is taken back.
func TestSlowClient(t *testing.T) {
	d, err := New(Config{Store: telemetry.NewStore(telemetry.Config{})})
	if err != nil {
		t.Fatal(err)
	}
	w := &stuck{header: http.Header{}}
	ended := make(chan struct{})
	go func() {
		d.ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/events", nil))
		close(ended)
	}()
	<-ended
	if until := time.Until(w.first); until <= 0 || until > writeTimeout || !w.last.IsZero() {
		t.Errorf("deadlines: first in %v, last %v; want %v and none", until, w.last, writeTimeout)
	}
}

// stuck is a connection whose write deadline passes.
type stuck struct {
	header      http.Header
	first, last time.Time
}

func (s *stuck) Header() http.Header { return s.header }
func (s *stuck) WriteHeader(int)     {}
func (s *stuck) Write([]byte) (int, error) {
	return 0, errors.New("i/o timeout")
}
func (s *stuck) SetWriteDeadline(t time.Time) error {
	if s.first.IsZero() {
		s.first = t
	}
	s.last = t
	return nil
}
