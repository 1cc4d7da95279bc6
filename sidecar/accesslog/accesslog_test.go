package accesslog

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
)

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func example() *call.Entry {
	e := &call.Entry{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 6_789_000, time.FixedZone("", 3600)), Took: 12_345_678 * time.Nanosecond,
		Service: "default/checkout:8080", Route: "items", Method: "GET", Path: "/items/\"1\"", Peer: "10.0.0.9", Version: "1.1",
		Status: 503, Error: stats.ErrNone, Failed: true, Attempts: 2, Endpoint: "10.0.0.1:80", Instance: "checkout-0",
		Context: tracing.SpanContext{TraceID: [16]byte{0x4b, 0xf9}, SpanID: [8]byte{1}, Flags: 1}, Kept: "error",
	}
	e.Parts[stats.PartRetried] = 2 * time.Millisecond
	return e
}

func TestLine(t *testing.T) {
	rpc := example()
	rpc.Status, rpc.RPC, rpc.Inbound = stats.GRPC(14), true, true
	tcp := &call.Entry{Service: "default/db:5432", TCP: true, Sent: 10, Received: 20, Error: stats.ErrConnectionTimeout}
	for _, c := range []struct {
		e    *call.Entry
		want string
	}{
		{example(), `{"time":"2026-01-02T02:04:05.006789Z","side":"out","reporter":"web-0","service":"default/checkout:8080","route":"items",` +
			`"method":"GET","path":"/items/\"1\"","peer":"10.0.0.9","http":"1.1","status":503,"failed":true,"tookMs":12.345,"partsMs":{"retried":2.000},` +
			`"attempts":2,"endpoint":"10.0.0.1:80","instance":"checkout-0","trace":"4bf90000000000000000000000000000","span":"0100000000000000","kept":"error"}`},
		{rpc, `{"time":"2026-01-02T02:04:05.006789Z","side":"in","reporter":"web-0","service":"default/checkout:8080","route":"items",` +
			`"method":"GET","path":"/items/\"1\"","peer":"10.0.0.9","http":"1.1","grpc":"UNAVAILABLE","failed":true,"tookMs":12.345,"partsMs":{"retried":2.000},` +
			`"attempts":2,"endpoint":"10.0.0.1:80","instance":"web-0","trace":"4bf90000000000000000000000000000","span":"0100000000000000","kept":"error"}`},
		{tcp, `{"time":"0001-01-01T00:00:00Z","side":"out","reporter":"web-0","service":"default/db:5432","error":"connection_timeout",` +
			`"tookMs":0.000,"tcp":true,"sent":10,"received":20}`},
	} {
		got := string(AppendLine(nil, c.e, "web-0", nil))
		if got != c.want+"\n" {
			t.Errorf("got  %swant %s", got, c.want)
		}
		if !json.Valid([]byte(got)) {
			t.Errorf("not JSON: %s", got)
		}
	}
	headers := []call.Header{{Name: "x-user", Value: `"ann"`}, {Name: "x-request", Value: ""}}
	if got, want := string(AppendLine(nil, tcp, "", headers)), `"received":20,"headers":{"x-user":"\"ann\"","x-request":""}}`+"\n"; !strings.HasSuffix(got, want) || !json.Valid([]byte(got)) {
		t.Errorf("got %s", got)
	}
}

func FuzzQuoted(f *testing.F) {
	for _, s := range []string{"/a", `"\`, "\x00\x1f\x7f\n", "ü\u2028\u2029\u0085", "\xff\xc3", "<script>&", "\ufffd", "😀"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := quoted(nil, s)
		var got string
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
		if want := strings.ToValidUTF8(s, "\ufffd"); utf8.ValidString(s) && got != want {
			t.Fatalf("%q became %q", s, got)
		}
		for _, c := range b {
			if c < ' ' || c == 0x7f {
				t.Fatalf("%q has a control character", b)
			}
		}
	})
}

// lines reads a file's.
func lines(t *testing.T, path string) (out []string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := bufio.NewScanner(bytes.NewReader(b))
	for s.Scan() {
		if !json.Valid(s.Bytes()) {
			t.Errorf("not JSON: %s", s.Text())
		}
		out = append(out, s.Text())
	}
	return out
}

// TestFile: many write at once, no line is torn, and what was there stays.
func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	if err := os.WriteFile(path, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := Open(path, "web-0", discard())
	if err != nil {
		t.Fatal(err)
	}
	var writers sync.WaitGroup
	const each = 500
	for range 4 {
		writers.Go(func() {
			for range each {
				l.Write(example())
			}
		})
	}
	writers.Wait()
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
	l.Write(example())
	if got := len(lines(t, path)); got != 1+4*each {
		t.Errorf("%d lines", got)
	}
	if got, want := l.Counts(), (Counts{Written: 4 * each, Dropped: 1}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	pipe := filepath.Join(dir, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		dir: "is a directory", pipe: "nobody reads that pipe", filepath.Join(dir, "none", "log"): "no such file",
	} {
		if _, err := Open(path, "", discard()); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), `--access-log "`+path+`"`) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// stuck takes nothing until it is closed.
type stuck struct {
	entered, closed chan struct{}
}

func (s stuck) Write([]byte) (int, error) {
	select {
	case s.entered <- struct{}{}:
	default:
	}
	<-s.closed
	return 0, os.ErrClosed
}

func (s stuck) Close() error { close(s.closed); return nil }

// TestStuckFile: nobody waits for a file that takes nothing; what has no room
// is counted, and so is in the end what could not be written.
func TestStuckFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out := stuck{make(chan struct{}, 1), make(chan struct{})}
		l := newLog(out, "stuck", "web-0", discard())
		l.Write(example())
		<-out.entered
		size := len(AppendLine(nil, example(), "web-0", nil))
		const more = 100
		for range maxBuffered/size + more {
			l.Write(example())
		}
		if got := l.Counts(); got != (Counts{Dropped: more}) {
			t.Errorf("counts %+v, want %d dropped", got, more)
		}
		if len(l.buf) > maxBuffered {
			t.Errorf("%d bytes wait", len(l.buf))
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("closed: %v", err)
		}
		<-l.done
		if got, want := l.Counts().Dropped, uint64(1+more+maxBuffered/size); got != want {
			t.Errorf("%d dropped, want %d", got, want)
		}
	})
}

// full is a disk that is.
type full struct{ writes int }

func (f *full) Write([]byte) (int, error) { f.writes++; return 0, syscall.ENOSPC }
func (f *full) Close() error              { return nil }

func TestFullDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told bytes.Buffer
		out := &full{}
		l := newLog(out, "full", "web-0", slog.New(slog.NewTextHandler(&told, nil)))
		const rounds = 50
		for range rounds {
			l.Write(example())
			time.Sleep(2 * flushEvery)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if got := l.Counts(); got != (Counts{Dropped: rounds}) || out.writes != rounds {
			t.Errorf("counts %+v after %d writes", got, out.writes)
		}
		if n := strings.Count(told.String(), "\n"); n != 1 || !strings.Contains(told.String(), "meshd.access_log.dropped") {
			t.Errorf("it was told %d times: %s", n, told.String())
		}
	})
}

// TestNoAllocation: a line costs no garbage once the buffers are there.
func TestNoAllocation(t *testing.T) {
	l := newLog(keepOpen{nowhere{}}, "nowhere", "web-0", discard())
	defer l.Close(t.Context())
	e := example()
	for range 10_000 {
		l.Write(e)
	}
	if n := testing.AllocsPerRun(1000, func() { l.Write(e) }); n > 0.1 {
		t.Errorf("%v allocations a line", n)
	}
}

type nowhere struct{}

func (nowhere) Write(p []byte) (int, error) { return len(p), nil }

func BenchmarkWrite(b *testing.B) {
	l := newLog(keepOpen{nowhere{}}, "nowhere", "web-0", discard())
	defer l.Close(context.Background())
	e := example()
	b.ReportAllocs()
	for b.Loop() {
		l.Write(e)
	}
}

func BenchmarkLine(b *testing.B) {
	e := example()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = AppendLine(buf[:0], e, "web-0", nil)
	}
}
