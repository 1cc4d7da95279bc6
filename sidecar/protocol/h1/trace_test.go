package h1

import (
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/tracing"
)

// A sampled call leaves a span, each attempt a child of it, and the endpoint is
// told its attempt's.
func TestSpans(t *testing.T) {
	var mu sync.Mutex
	var told []tracing.SpanContext
	addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		sc, ok := tracing.ParseTraceparent([]byte(r.Header.Get("traceparent")))
		if !ok || r.Header.Get("tracestate") != "a=b" {
			t.Errorf("%v", r.Header)
		}
		if told = append(told, sc); len(told) == 1 {
			w.WriteHeader(503)
		}
	})
	r := newRig(t, options{}, addr)
	c := r.dial()
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	c.send("GET /p?q HTTP/1.1\r\nHost: checkout\r\ntraceparent: " + parent + "\r\ntracestate: a=b\r\n\r\n")
	if res, _ := c.answer("GET"); res.StatusCode != 200 {
		t.Fatalf("%d", res.StatusCode)
	}
	r.stop()
	first, second, whole := <-r.spans, <-r.spans, <-r.spans
	up, _ := tracing.ParseTraceparent([]byte(parent))
	if whole.Parent != up || !whole.RemoteParent || whole.Kind != tracing.KindClient {
		t.Errorf("call: %+v", whole)
	}
	for i, s := range []tracing.Span{first, second} {
		if s.Parent != whole.Context || s.Context != told[i] || s.Kind != tracing.KindClient || s.TraceState != "a=b" {
			t.Errorf("attempt %d: %+v, the endpoint was told %v", i, s, told[i])
		}
	}
	if !first.Failed || second.Failed || whole.Failed || len(whole.Events) != 1 {
		t.Errorf("failed: %v, %v, %v; events %v", first.Failed, second.Failed, whole.Failed, whole.Events)
	}
	if len(r.spans) != 0 {
		t.Errorf("%d more spans", len(r.spans))
	}
}

// A call that is not sampled carries its trace on, with flag 00, and leaves nothing.
func TestUnsampled(t *testing.T) {
	r := newRig(t, options{ratio: 0}, headBackend(t, ""))
	c := r.dial()
	for _, parent := range []string{"", "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00\r\n", "traceparent: nonsense\r\n"} {
		c.send("GET / HTTP/1.1\r\nHost: checkout\r\n" + parent + "\r\n")
		_, got := c.answer("GET")
		_, value, ok := strings.Cut(got, "traceparent: ")
		sc, valid := tracing.ParseTraceparent([]byte(strings.TrimSpace(value)))
		if !ok || !valid || sc.Sampled() {
			t.Errorf("%q became %q", parent, got)
		}
		if strings.Contains(parent, "0af7") && !strings.Contains(value, "0af7651916cd43dd8448eb211c80319c") {
			t.Errorf("the trace was lost: %q", value)
		}
	}
	r.stop()
	if len(r.spans) != 0 {
		t.Errorf("%d spans", len(r.spans))
	}
}

// The inbound side leaves one span of kind server, which the application is
// told as its parent.
func TestServerSpan(t *testing.T) {
	r := newRig(t, options{ratio: 1, config: func(c *Config) {
		c.Server = true
		lookup := c.Lookup
		c.Lookup = func(name []byte) *call.Authority {
			a := lookup(name)
			a.Routes[0].Server = true
			return a
		}
	}}, headBackend(t, ""))
	c := r.dial()
	c.send(get)
	_, got := c.answer("GET")
	r.stop()
	s := <-r.spans
	if s.Kind != tracing.KindServer || !strings.Contains(got, string(s.Context.AppendTraceparent(nil))) || len(r.spans) != 0 {
		t.Errorf("%+v; the application was told %q; %d more spans", s, got, len(r.spans))
	}
}
