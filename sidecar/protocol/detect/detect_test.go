package detect

import (
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var cases = []struct {
	in   string
	want Kind
}{
	{"", NeedMore},
	{"G", NeedMore},
	{"GET", NeedMore},
	{"GET ", HTTP1},
	{"GET / HTTP/1.1\r\n", HTTP1},
	{"GET  / HTTP/1.1\r\n", HTTP1}, // malformed, and HTTP's parser says so
	{"GET \x00", HTTP1},
	{"get / HTTP/1.1\r\n", HTTP1},
	{"get key\r\n", Other}, // memcached
	{"set k 0 0 5\r\n", Other},
	{"CONNECT db:5432 HTTP/1.1\r\n", HTTP1},
	{"PROPFIND /dav HTTP/1.1\r\n", HTTP1},
	{"PROPFIND ", NeedMore},
	{"PROPFIND h", NeedMore},
	{"PROPFIND HTTP://x/ HTTP/1.1", HTTP1},
	{"PROPFIND https://x/ HTTP/1.1", HTTP1},
	{"PROPFIND http", NeedMore},
	{"PROPFIND httpx", Other},
	{"M-SEARCH * HTTP/1.1\r\n", HTTP1},
	{strings.Repeat("M", 32), NeedMore},
	{strings.Repeat("M", 32) + " /", HTTP1},
	{strings.Repeat("M", 33), Other},
	{strings.Repeat("M", 33) + " /", Other},
	{"G@T / HTTP/1.1", Other},
	{" GET / HTTP/1.1", Other},
	{"\r\nGET / HTTP/1.1", Other},
	{"GET/ HTTP/1.1", Other},
	{"GET\t/ HTTP/1.1", Other},

	{"P", NeedMore},
	{"PRI * HTTP/2.0\r\n\r\nSM\r\n\r", NeedMore},
	{preface, HTTP2Preface},
	{preface + "\x00\x00\x00\x04", HTTP2Preface},
	{"PRI * HTTP/2.0\r\n\r\nSX", HTTP1}, // refused by HTTP/1's parser
	{"PRI x", Other},
	{"PUT /", HTTP1},
	{"POST ", HTTP1},

	{"\x16", NeedMore},
	{"\x16\x03", NeedMore},
	{"\x16\x03\x01\x02\x00", NeedMore},
	{"\x16\x03\x01\x02\x00\x01", TLS},
	{"\x16\x03\x03\x00\x05\x01\x00", TLS},
	{"\x16\x03\x03\x00\x05\x02\x00", Other}, // ServerHello
	{"\x16\x02", Other},
	{"\x16\x03\x05", Other},
	{"\x15\x03\x01\x00\x02", Other}, // an alert

	{"EHLO example.org\r\n", Other},
	{"SSH-2.0-OpenSSH_9.2\r\n", Other},
	{"*1\r\n$4\r\nPING\r\n", Other},                     // Redis
	{"\x00\x00\x00\x08\x04\xd2\x16\x2f", Other},         // PostgreSQL's SSLRequest
	{"\x10\x1e\x00\x04MQTT\x04\x02\x00\x3c\x00", Other}, // MQTT
	{"a1 LOGIN x y\r\n", Other},                         // IMAP
}

func TestDetect(t *testing.T) {
	for _, tc := range cases {
		if got := Detect([]byte(tc.in)); got != tc.want {
			t.Errorf("%q: %v, want %v", tc.in, got, tc.want)
		}
	}
}

func FuzzDetect(f *testing.F) {
	for _, tc := range cases {
		f.Add([]byte(tc.in))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		verdict, at := NeedMore, 0
		for n := range min(len(b), 2*MaxBytes) + 1 {
			got := Detect(b[:n])
			if verdict != NeedMore && got != verdict {
				t.Fatalf("%q: %v, but %v after %d bytes", b[:n], got, verdict, at)
			}
			if got == NeedMore && n >= MaxBytes {
				t.Fatalf("%q: undecided after %d bytes", b[:n], n)
			}
			if got == HTTP2Preface && string(b[:len(preface)]) != preface {
				t.Fatalf("%q: %v", b[:n], got)
			}
			if got != NeedMore && verdict == NeedMore {
				verdict, at = got, n
			}
		}
	})
}

func BenchmarkDetect(b *testing.B) {
	in := []byte("GET /hello HTTP/1.1\r\nHost: checkout\r\n")
	b.ReportAllocs()
	for b.Loop() {
		if Detect(in) != HTTP1 {
			b.Fatal("not HTTP")
		}
	}
}
