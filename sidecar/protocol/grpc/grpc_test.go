package grpc

import (
	"math"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"google.golang.org/grpc/codes"

	"github.com/meshd/meshd/sidecar/stats"
)

func TestIsGRPC(t *testing.T) {
	for contentType, want := range map[string]bool{
		"application/grpc":                    true,
		"application/grpc+proto":              true,
		"application/grpc+json;charset=utf-8": true,
		"application/grpc;charset=utf-8":      true,
		"application/grpc ; charset=utf-8":    true,
		"Application/gRPC":                    true,
		"application/grpc-web":                false,
		"application/grpc-web+proto":          false,
		"application/grpcfoo":                 false,
		"application/grp":                     false,
		"application/json":                    false,
		"text/plain; x=application/grpc":      false,
		"":                                    false,
		"application\x0fgrpc":                 false,
	} {
		if got := IsGRPC(contentType); got != want {
			t.Errorf("IsGRPC(%q) = %v", contentType, got)
		}
		if got := IsGRPC([]byte(contentType)); got != want {
			t.Errorf("IsGRPC([]byte(%q)) = %v", contentType, got)
		}
	}
}

func TestParseTimeout(t *testing.T) {
	for s, want := range map[string]time.Duration{
		"1n": 1, "99999999n": 99999999, "10u": 10 * time.Microsecond, "250m": 250 * time.Millisecond,
		"3S": 3 * time.Second, "00000001S": time.Second, "2M": 2 * time.Minute, "5H": 5 * time.Hour,
		"0n": 0, "0H": 0, "2562047H": 2562047 * time.Hour, "2562048H": math.MaxInt64, "99999999H": math.MaxInt64,
		"99999999M": 99999999 * time.Minute,
	} {
		if got, ok := ParseTimeout(s); !ok || got != want {
			t.Errorf("ParseTimeout(%q) = %v, %v; want %v", s, got, ok, want)
		}
	}
	for _, s := range []string{"", "n", "1", "1s", "1h", "-1S", "+1S", " 1S", "1 S", "1S ", "1.5S", "123456789n", "1nn", "S1", "0x1S", "١S"} {
		if got, ok := ParseTimeout(s); ok || got != 0 {
			t.Errorf("ParseTimeout(%q) = %v, %v", s, got, ok)
		}
	}
}

func TestAppendTimeout(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Hour: "1n", 0: "1n", 1: "1n", 99999999: "99999999n", 100000000: "100000u", 100000999: "100000u",
		time.Second: "1000000u", 100*time.Second - 1: "99999999u", 100 * time.Second: "100000m",
		100000 * time.Second: "100000S", 100000000 * time.Second: "1666666M",
		math.MaxInt64: "2562047H",
	} {
		if got := string(AppendTimeout([]byte("x: "), d)); got != "x: "+want {
			t.Errorf("AppendTimeout(%v) = %q, want %q", d, got, want)
		}
	}
}

func TestParseStatus(t *testing.T) {
	for s, want := range map[string]uint32{"0": 0, "14": 14, "16": 16, "17": 17, "014": 14, "4294967295": 1<<32 - 1} {
		if got, ok := ParseStatus(s); !ok || got != want {
			t.Errorf("ParseStatus(%q) = %v, %v", s, got, ok)
		}
	}
	for _, s := range []string{"", "-1", "+1", " 1", "1 ", "0x1", "OK", "4294967296", "99999999999", "1.0"} {
		if got, ok := ParseStatus(s); ok || got != Unknown {
			t.Errorf("ParseStatus(%q) = %v, %v", s, got, ok)
		}
	}
}

// Whatever the proxy answers by itself, it is an error, and one that it knows.
func TestEveryProxyErrorHasACode(t *testing.T) {
	for e := stats.ErrNone + 1; e <= stats.ErrClientClosed; e++ {
		for _, status := range []int{e.Status(), 0, 200, 400, 408, 500, 503, 508} {
			if code := FromProxyError(e, status); code == OK || code == Unknown || code > Unauthenticated {
				t.Errorf("%s with %d is %s", e, status, Name(code))
			}
		}
	}
}

func TestOutcome(t *testing.T) {
	for _, c := range []struct {
		http int
		grpc string
		want int
	}{
		{200, "0", stats.GRPC(OK)}, {200, "14", stats.GRPC(Unavailable)}, {200, "", stats.GRPC(Unknown)}, {200, "x", stats.GRPC(Unknown)},
		{200, "99", stats.GRPC(Unknown)}, {503, "", 503}, {404, "", 404}, {503, "8", stats.GRPC(ResourceExhausted)},
	} {
		if got := Outcome(c.http, c.grpc); got != c.want {
			t.Errorf("HTTP %d, grpc-status %q: %d, want %d", c.http, c.grpc, got, c.want)
		}
	}
}

func TestMessage(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "all is well": "all is well", "100%": "100%25", "a\r\nb": "a%0D%0Ab", "Größe": "Gr%C3%B6%C3%9Fe",
		"\t☺": "%09%E2%98%BA", "bad\xff\xfe": "bad%EF%BF%BD", "~ \x7f": "~ %7F",
	} {
		if got := EncodeMessage(text); got != want {
			t.Errorf("EncodeMessage(%q) = %q, want %q", text, got, want)
		}
	}
	for value, want := range map[string]string{
		"": "", "plain": "plain", "%C3%B6": "ö", "%c3%b6": "ö", "100%": "100%", "50%5": "50%5", "%zz%41": "%zzA", "%%41": "%A", "%41": "A",
	} {
		if got := DecodeMessage(value); got != want {
			t.Errorf("DecodeMessage(%q) = %q, want %q", value, got, want)
		}
	}
}

// The names and numbers are those of grpc-go, in the spelling of the
// specification.
func TestCodes(t *testing.T) {
	for code := range uint32(17) {
		want := strconv.Quote(Name(code))
		var c codes.Code
		if err := c.UnmarshalJSON([]byte(want)); err != nil || uint32(c) != code {
			t.Errorf("%d is %s; grpc-go reads %v, %v", code, want, uint32(c), err)
		}
		if got, _ := stats.GRPCCode(stats.GRPC(code)); got != code {
			t.Errorf("%d becomes %d", code, got)
		}
	}
	if Name(17) != "17" || Unauthenticated != 16 || known != 17 {
		t.Error("the table's end moved")
	}
	if got, _ := stats.GRPCCode(stats.GRPC(17)); got != Unknown {
		t.Errorf("17 counts as %s", Name(got))
	}
}

func TestVerdicts(t *testing.T) {
	failures := map[uint32]bool{Unknown: true, DeadlineExceeded: true, Internal: true, Unavailable: true, DataLoss: true}
	reasons := map[uint32]stats.RetryReason{
		Cancelled: stats.RetryCancelled, DeadlineExceeded: stats.RetryDeadlineExceeded, Internal: stats.RetryInternal,
		ResourceExhausted: stats.RetryResourceExhausted, Unavailable: stats.RetryUnavailable,
	}
	for code := range known {
		if Failure(code) != failures[code] {
			t.Errorf("Failure(%s) = %v", Name(code), Failure(code))
		}
		reason, ok := RetryReason(code)
		if want, has := reasons[code]; ok != has || ok && reason != want {
			t.Errorf("RetryReason(%s) = %v, %v", Name(code), reason, ok)
		}
		if ok && reason.String() != strings.ReplaceAll(strings.ToLower(Name(code)), "_", "-") {
			t.Errorf("%s is retried for %s", Name(code), reason)
		}
	}
	if !Failure(17) || !Failure(math.MaxUint32) {
		t.Error("an unknown code is UNKNOWN")
	}
	if _, ok := RetryReason(math.MaxUint32); ok {
		t.Error("an unknown code is retried")
	}
}

func TestFromProxyError(t *testing.T) {
	for _, c := range []struct {
		e      stats.ErrorType
		status int
		want   uint32
	}{
		{stats.ErrHTTPResponseTimeout, 504, DeadlineExceeded},
		{stats.ErrConnectionTimeout, 504, Unavailable},
		{stats.ErrConnectionRefused, 502, Unavailable},
		{stats.ErrConnectionTerminated, 502, Unavailable},
		{stats.ErrDestinationUnavailable, 503, Unavailable},
		{stats.ErrConnectionLimitReached, 503, Unavailable},
		{stats.ErrHTTPResponseIncomplete, 502, Unavailable},
		{stats.ErrDestinationNotFound, 404, Unimplemented},
		{stats.ErrHTTPRequestDenied, 403, PermissionDenied},
		{stats.ErrHTTPRequestDenied, 429, Unavailable},
		{stats.ErrHTTPRequestError, 400, Internal},
		{stats.ErrHTTPRequestError, 431, ResourceExhausted},
		{stats.ErrHTTPRequestError, 413, ResourceExhausted},
		{stats.ErrHTTPRequestError, 408, DeadlineExceeded},
		{stats.ErrHTTPRequestError, 417, Internal},
		{stats.ErrDestinationNotFound, 503, Unavailable},
		{stats.ErrProxyConfigurationError, 500, Unavailable},
		{stats.ErrHTTPProtocolError, 502, Unavailable},
		{stats.ErrProxyLoopDetected, 502, Internal},
		{stats.ErrProxyInternalError, 500, Internal},
		{stats.ErrClientClosed, 0, Cancelled},
		{stats.ErrNone, 200, Unknown},
		{stats.ErrNone, 401, Unauthenticated},
	} {
		if got := FromProxyError(c.e, c.status); got != c.want {
			t.Errorf("%s with %d is %s, want %s", c.e, c.status, Name(got), Name(c.want))
		}
	}
}

// FuzzTimeout: what is read can be written again, not longer than it was, and
// is read back the same within what 8 digits hold.
func FuzzTimeout(f *testing.F) {
	for _, s := range []string{"1n", "0n", "99999999n", "250m", "3S", "2562048H", "99999999M", "", "1s", "-1S", "123456789n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		d, ok := ParseTimeout(s)
		if bytes, same := ParseTimeout([]byte(s)); bytes != d || same != ok {
			t.Fatalf("%q: as bytes %v, %v, as text %v, %v", s, bytes, same, d, ok)
		}
		if !ok {
			return
		}
		out := string(AppendTimeout(nil, d))
		again, ok := ParseTimeout(out)
		if !ok || d > 0 && (again > d || d-again > d/100000) {
			t.Fatalf("%q is %v; %q is %v", s, d, out, again)
		}
	})
}

// FuzzStatus: the oracle is strconv.
func FuzzStatus(f *testing.F) {
	for _, s := range []string{"0", "14", "16", "17", "4294967295", "4294967296", "", "-1", "+1", " 1", "1_0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		code, ok := ParseStatus(s)
		want, err := strconv.ParseUint(s, 10, 32)
		strict := err == nil && len(s) <= 10
		if ok != strict || ok && uint64(code) != want {
			t.Fatalf("%q: %d, %v; strconv: %d, %v", s, code, ok, want, err)
		}
		if c, ok := stats.GRPCCode(stats.GRPC(code)); !ok || c > Unauthenticated {
			t.Fatalf("%q counts as %d", s, c)
		}
		Failure(code)
		RetryReason(code)
	})
}

// FuzzMessage: what is written is printable ASCII and reads back as it was.
func FuzzMessage(f *testing.F) {
	for _, s := range []string{"", "all is well", "100%", "a\r\nb", "Größe ☺", "bad\xff\xfe", "%zz", "%41%"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		value := EncodeMessage(s)
		for i := range len(value) {
			if value[i] < ' ' || value[i] > '~' {
				t.Fatalf("%q is written as %q", s, value)
			}
		}
		want := s
		if !utf8.ValidString(s) {
			want = strings.ToValidUTF8(s, "\uFFFD")
		}
		if got := DecodeMessage(value); got != want {
			t.Fatalf("%q is written as %q and read as %q", s, value, got)
		}
		if text := DecodeMessage(s); len(text) > len(s) {
			t.Fatalf("%q grew to %q", s, text)
		}
	})
}

func TestNothingIsAllocated(t *testing.T) {
	buf := make([]byte, 0, 16)
	in := []byte("1234567u")
	status := []byte("14")
	contentType := []byte("application/grpc+proto")
	n := testing.AllocsPerRun(100, func() {
		d, _ := ParseTimeout(in)
		buf = AppendTimeout(buf[:0], d)
		code, _ := ParseStatus(status)
		if !IsGRPC(contentType) || !Failure(code) || EncodeMessage("no healthy endpoint") == "" {
			t.Error("misread")
		}
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTimeout(b *testing.B) {
	b.ReportAllocs()
	buf := make([]byte, 0, 16)
	in := []byte("1234567u")
	for b.Loop() {
		d, _ := ParseTimeout(in)
		buf = AppendTimeout(buf[:0], d)
	}
}

func BenchmarkStatus(b *testing.B) {
	b.ReportAllocs()
	in := []byte("14")
	for b.Loop() {
		code, _ := ParseStatus(in)
		Failure(code)
	}
}

func TestToHTTP(t *testing.T) {
	for code, want := range map[uint32]int{OK: 200, Cancelled: 499, NotFound: 404, Aborted: 409, Unavailable: 503, DeadlineExceeded: 504, 99: 500} {
		if got := ToHTTP(code); got != want {
			t.Errorf("%s: %d, not %d", Name(code), got, want)
		}
	}
}
