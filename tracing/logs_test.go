package tracing

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

func exampleRecord() *LogRecord {
	return &LogRecord{
		Time: time.Unix(1_700_000_000, 5), Severity: SeverityError, Event: "meshd.call", Body: "GET /orders 503",
		Context:    SpanContext{TraceID: [16]byte{0x4b, 15: 1}, SpanID: [8]byte{7}, Flags: FlagSampled | FlagDebug},
		Attributes: []attribute.KeyValue{HTTPStatus.Int(503), URLPath.String("/orders"), MeshCost.Float64(1.5)},
	}
}

func TestLogsArrive(t *testing.T) {
	for _, protocol := range []string{protocolGRPC, protocolHTTP} {
		for _, compression := range []string{"none", "gzip"} {
			t.Run(protocol+"/"+compression, func(t *testing.T) {
				backend := newSink()
				env := map[string]string{
					"OTEL_LOGS_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": protocol, "OTEL_EXPORTER_OTLP_COMPRESSION": compression,
					"OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20secret", "OTEL_SERVICE_NAME": "shop",
					"OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT": "2",
				}
				if protocol == protocolGRPC {
					env["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"] = "http://" + backend.grpc(t)
				} else {
					env["OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"] = backend.http(t) + "/v1/logs"
				}
				telemetry := setup(t, Options{ServiceName: "checkout", InstanceID: "checkout-0", Getenv: getenv(env)})
				if !telemetry.Logging() || telemetry.Tracing() {
					t.Errorf("logging %v, tracing %v", telemetry.Logging(), telemetry.Tracing())
				}
				telemetry.Log(exampleRecord())
				telemetry.Log(&LogRecord{Time: time.Unix(1, 0), Severity: SeverityInfo})
				if err := shutdown(t, telemetry); err != nil {
					t.Error(err)
				}
				if got := telemetry.Counts("otel_logs"); got != (Counts{Exported: 2}) {
					t.Errorf("counts %+v", got)
				}
				if len(backend.logs) != 1 || len(backend.logs[0].ScopeLogs) != 1 || len(backend.logs[0].ScopeLogs[0].LogRecords) != 2 {
					t.Fatalf("logs %v", backend.logs)
				}
				if r := attrs(backend.logs[0].Resource.Attributes); r["service.name"] != "shop" || r["service.instance.id"] != "checkout-0" {
					t.Errorf("resource %v", r)
				}
				got, plain := backend.logs[0].ScopeLogs[0].LogRecords[0], backend.logs[0].ScopeLogs[0].LogRecords[1]
				want := exampleRecord()
				if got.TimeUnixNano != uint64(want.Time.UnixNano()) || got.ObservedTimeUnixNano == 0 || got.SeverityNumber != logspb.SeverityNumber_SEVERITY_NUMBER_ERROR ||
					got.SeverityText != "ERROR" || got.Body.GetStringValue() != want.Body || got.EventName != want.Event ||
					[16]byte(got.TraceId) != want.Context.TraceID || [8]byte(got.SpanId) != want.Context.SpanID || got.Flags != FlagSampled {
					t.Errorf("record %v", got)
				}
				if a := attrs(got.Attributes); len(a) != 2 || a["http.response.status_code"] != int64(503) || a["url.path"] != "/orders" || got.DroppedAttributesCount != 1 {
					t.Errorf("attributes %v, %d dropped", a, got.DroppedAttributesCount)
				}
				if plain.TraceId != nil || plain.SpanId != nil || plain.Body != nil || plain.SeverityNumber != logspb.SeverityNumber_SEVERITY_NUMBER_INFO {
					t.Errorf("record without anything: %v", plain)
				}
				for _, h := range backend.headers {
					if h != "Bearer secret" {
						t.Errorf("authorization %q", h)
					}
				}
			})
		}
	}
}

func TestLogsToConsole(t *testing.T) {
	var out bytes.Buffer
	telemetry := setup(t, Options{ServiceName: "s", Console: &out, Getenv: getenv(map[string]string{"OTEL_LOGS_EXPORTER": "console"})})
	telemetry.Log(exampleRecord())
	if err := shutdown(t, telemetry); err != nil {
		t.Error(err)
	}
	for _, want := range []string{`"severity":"ERROR"`, `"body":"GET /orders 503"`, `"event":"meshd.call"`, `"http.response.status_code":503`} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %s in %s", want, out.String())
		}
	}
}

// TestNoLogs: without an exporter a record costs nothing.
func TestNoLogs(t *testing.T) {
	off, r := &Telemetry{}, exampleRecord()
	if n := testing.AllocsPerRun(100, func() { off.Log(r) }); n != 0 || off.Logging() {
		t.Errorf("%v allocations", n)
	}
}

// TestSlowLogBackend: records beyond the queue are dropped, and counted.
func TestSlowLogBackend(t *testing.T) {
	release, entered := make(chan struct{}), make(chan struct{}, 10)
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		entered <- struct{}{}
		<-release
	}))
	defer server.Close()
	defer close(release)
	telemetry := setup(t, Options{ServiceName: "s", Getenv: getenv(map[string]string{
		"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": server.URL, "OTEL_BLRP_MAX_QUEUE_SIZE": "50",
		"OTEL_BLRP_SCHEDULE_DELAY": "1", "OTEL_BLRP_MAX_EXPORT_BATCH_SIZE": "1",
	})})
	telemetry.Log(exampleRecord())
	<-entered
	for range 60 {
		telemetry.Log(exampleRecord())
	}
	if got, want := telemetry.Counts("otel_logs"), (Counts{Pending: 50, Dropped: 11}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := telemetry.Shutdown(ctx); err == nil {
		t.Error("shutdown hides that records were lost")
	}
	if got, want := telemetry.Counts("otel_logs"), (Counts{Failed: 50, Dropped: 11}); got != want {
		t.Errorf("counts %+v, want %+v", got, want)
	}
}

// TestLogsTryAgain: a backend that is busy is asked again, one that refuses is not.
func TestLogsTryAgain(t *testing.T) {
	for _, c := range []struct {
		status int
		after  string
		tries  int32
	}{{503, "0", 2}, {429, "0", 2}, {400, "", 1}, {500, "", 1}, {503, "3600", 1}} {
		var tries atomic.Int32
		backend := newSink()
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if tries.Add(1) == 1 {
				w.Header().Set("Retry-After", c.after)
				w.WriteHeader(c.status)
				return
			}
			backend.ServeHTTP(w, r)
		}))
		telemetry := setup(t, Options{ServiceName: "s", Getenv: getenv(map[string]string{"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": server.URL + "/v1/logs"})})
		telemetry.Log(exampleRecord())
		if err := shutdown(t, telemetry); err != nil {
			t.Error(err)
		}
		server.Close()
		want := Counts{Failed: 1}
		if c.tries == 2 {
			want = Counts{Exported: 1}
		}
		if got := telemetry.Counts("otel_logs"); tries.Load() != c.tries || got != want {
			t.Errorf("%+v: %d tries, counts %+v", c, tries.Load(), got)
		}
	}
}

func TestGRPCErrors(t *testing.T) {
	busy, err := status.New(codes.ResourceExhausted, "busy").WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		err   error
		later bool
		after time.Duration
	}{
		{nil, false, 0}, {status.Error(codes.Unavailable, ""), true, -1}, {status.Error(codes.ResourceExhausted, ""), false, 0},
		{busy.Err(), true, time.Second}, {status.Error(codes.InvalidArgument, ""), false, 0},
	} {
		got := grpcError(c.err)
		var later laterError
		if is := errors.As(got, &later); is != c.later || is && later.after != c.after || (got == nil) != (c.err == nil) {
			t.Errorf("%v: %#v", c.err, got)
		}
	}
}

func TestAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		var at []time.Duration
		begun, dead := time.Now(), errors.New("dead")
		err := again(ctx, func() error { at = append(at, time.Since(begun)); return laterError{dead, -1} })
		if err != dead || len(at) < 3 || len(at) > 8 || time.Since(begun) > 10*time.Second {
			t.Errorf("%v after attempts at %v", err, at)
		}
		n := 0
		if err := again(t.Context(), func() error {
			if n++; n < 3 {
				return laterError{dead, time.Minute}
			}
			return nil
		}); err != nil || n != 3 {
			t.Errorf("%v after %d attempts", err, n)
		}
	})
}

func TestPartialSuccess(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		b, _ := proto.Marshal(&collogspb.ExportLogsServiceResponse{PartialSuccess: &collogspb.ExportLogsPartialSuccess{RejectedLogRecords: 1, ErrorMessage: "too old"}})
		w.Write(b)
	}))
	defer server.Close()
	var log bytes.Buffer
	telemetry := setup(t, Options{ServiceName: "s", Logger: textLogger(&log), Getenv: getenv(map[string]string{"OTEL_EXPORTER_OTLP_LOGS_ENDPOINT": server.URL})})
	telemetry.Log(exampleRecord())
	if err := shutdown(t, telemetry); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "too old") || telemetry.Counts("otel_logs").Failed != 1 {
		t.Errorf("%+v, and it is told %q", telemetry.Counts("otel_logs"), log.String())
	}
}

func FuzzRecord(f *testing.F) {
	f.Add("meshd.call", "GET /", "/a", 5)
	f.Add("\xff", "", "\xf0\x9f", 1)
	f.Fuzz(func(t *testing.T, event, body, path string, most int) {
		r := &LogRecord{Event: event, Body: body, Severity: SeverityInfo, Attributes: []attribute.KeyValue{URLPath.String(path)}}
		var got logspb.ScopeLogs
		if err := proto.Unmarshal(appendRecord(nil, r, &limits{valueLength: most, attributes: 1}), &got); err != nil || len(got.LogRecords) != 1 {
			t.Fatalf("%v: %v", &got, err)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	r, l := exampleRecord(), limits{valueLength: unlimited, attributes: 128}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		buf = appendRecord(buf[:0], r, &l)
	}
}
