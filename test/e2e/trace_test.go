package e2e

import (
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"

	"github.com/meshd/meshd/internal/testkit/process"
	"github.com/meshd/meshd/test/rig"
)

// A chain is web, which calls checkout, which calls stock and hands the trace
// on; sidecars in between. stock has two instances, and the first attempt of
// each call gets a 503 if it stumbles.
type chain struct {
	web      *sidecar
	all      []*sidecar
	stumbles atomic.Bool
	mu       sync.Mutex
	heard    []http.Header // of the requests that stock got
}

func newChain(t *testing.T, env ...string) *chain {
	m := newMesh(t, nil, "", "")
	c := &chain{}
	var attempts atomic.Int64
	stock := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		c.heard = append(c.heard, r.Header)
		c.mu.Unlock()
		if c.stumbles.Load() && attempts.Add(1)%2 == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	var next atomic.Pointer[url.URL] // checkout's sidecar
	client := newClient(t, nil, 0, nil)
	checkout := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		req, err := http.NewRequestWithContext(r.Context(), http.MethodGet, next.Load().String(), nil)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		req.Host = "stock:8080"
		for _, name := range []string{"traceparent", "tracestate"} {
			req.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
		res, err := client.Do(req)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		w.WriteHeader(res.StatusCode)
		_, _ = io.Copy(w, res.Body)
	})
	for i := range 2 {
		c.all = append(c.all, m.instance("stock", fmt.Sprintf("stock-%d", i), serve(t, nil, "127.0.0.1:0", stock), env...))
	}
	s := m.instance("checkout", "checkout-0", serve(t, nil, "127.0.0.1:0", checkout), env...)
	next.Store(&url.URL{Scheme: "http", Host: s.Outbound, Path: "/items", RawQuery: "sku=1"})
	c.web = m.sidecar(rig.Spec{Service: "web", Instance: "web-0", Env: env})
	c.all = append(c.all, s, c.web)
	return c
}

// stop ends all sidecars, which export what they have.
func (c *chain) stop(t *testing.T) {
	t.Helper()
	var work sync.WaitGroup
	for _, s := range c.all {
		work.Go(func() { s.Terminate(t, patience) })
	}
	work.Wait()
}

const (
	callersTrace = "0af7651916cd43dd8448eb211c80319c"
	callersSpan  = "b7ad6b7169203331"
)

// One trace from the caller's span, or from the first sidecar's, down to the
// last instance, over either protocol.
func TestTrace(t *testing.T) {
	for name, tc := range map[string]struct {
		protocol string
		sampler  string // OTEL_TRACES_SAMPLER; empty: the default, 1 %
		fields   []string
	}{
		"begun here, to OTLP/gRPC":      {"grpc", "parentbased_always_on", nil},
		"the caller's, to OTLP/HTTP":    {"http/protobuf", "", []string{"traceparent", "00-" + callersTrace + "-" + callersSpan + "-01", "tracestate", "vendor=1"}},
		"begun here, from what is junk": {"http/protobuf", "parentbased_always_on", []string{"traceparent", "junk", "tracestate", "vendor=1"}},
	} {
		t.Run(name, func(t *testing.T) {
			s := &sink{}
			env := s.environment(t, tc.protocol)
			if tc.sampler != "" {
				env = append(env, "OTEL_TRACES_SAMPLER="+tc.sampler)
			}
			c := newChain(t, env...)
			c.stumbles.Store(true)
			if got := c.web.call(t, "checkout:8080", tc.fields...); got.status != 200 {
				t.Fatalf("%+v", got)
			}
			// web: call and attempt; checkout: server, call, two attempts; stock: two servers.
			const want = 8
			process.Await(t, patience, func() error {
				if n := len(s.all()); n < want {
					return fmt.Errorf("%d spans of %d", n, want)
				}
				return nil
			})
			c.stop(t)
			spans := s.all()
			if len(spans) != want {
				t.Fatalf("%d spans, want %d: %v", len(spans), want, spans)
			}
			root, state := "", ""
			if strings.HasPrefix(name, "the caller's") {
				root, state = callersSpan, "vendor=1"
			}
			chainOfSpans(t, spans, root, state)
			c.mu.Lock()
			defer c.mu.Unlock()
			for _, h := range c.heard {
				if h.Get("tracestate") != state {
					t.Errorf("the last application heard tracestate %q, want %q", h.Get("tracestate"), state)
				}
				if !strings.HasPrefix(h.Get("traceparent"), "00-"+hex.EncodeToString(spans[0].TraceId)) || !strings.HasSuffix(h.Get("traceparent"), "-01") {
					t.Errorf("the last application heard traceparent %q", h.Get("traceparent"))
				}
			}
		})
	}
}

// children finds a span's, by its id; the order is that of their start.
func children(spans []*span, parent []byte) (out []*span) {
	for _, s := range spans {
		if string(s.ParentSpanId) != string(parent) {
			continue
		}
		i := len(out)
		for i > 0 && out[i-1].StartTimeUnixNano > s.StartTimeUnixNano {
			i--
		}
		out = append(out[:i:i], append([]*span{s}, out[i:]...)...)
	}
	return out
}

// chainOfSpans walks down from the parent of the first span.
func chainOfSpans(t *testing.T, spans []*span, root, state string) {
	t.Helper()
	parent, err := hex.DecodeString(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range spans {
		if string(s.TraceId) != string(spans[0].TraceId) || root != "" && hex.EncodeToString(s.TraceId) != callersTrace {
			t.Errorf("%v is of trace %x", s, s.TraceId)
		}
		if s.TraceState != state {
			t.Errorf("%v: tracestate %q, want %q", s, s.TraceState, state)
		}
	}
	const client, server = tracepb.Span_SPAN_KIND_CLIENT, tracepb.Span_SPAN_KIND_SERVER
	only := func(parent []byte, what string, of string, kind tracepb.Span_SpanKind) *span {
		t.Helper()
		found := children(spans, parent)
		if len(found) != 1 {
			t.Fatalf("%s: %d spans under %x, want one: %v", what, len(found), parent, spans)
		}
		expect(t, what, found[0], of, kind)
		return found[0]
	}
	web := only(parent, "web's call", "web-0", client)
	webTry := only(web.SpanId, "web's attempt", "web-0", client)
	in := only(webTry.SpanId, "checkout's server", "checkout-0", server)
	call := only(in.SpanId, "checkout's call", "checkout-0", client)
	tries := children(spans, call.SpanId)
	if len(tries) != 2 {
		t.Fatalf("%d attempts, want 2: %v", len(tries), tries)
	}
	var ends [2]*span
	for i, try := range tries {
		expect(t, "checkout's attempt", try, "checkout-0", client)
		id, _ := try.attrs["meshd.endpoint.id"].(string)
		ends[i] = only(try.SpanId, "stock's server", id, server)
	}
	if tries[0].attrs["meshd.endpoint.id"] == tries[1].attrs["meshd.endpoint.id"] {
		t.Errorf("both attempts went to %v", tries[0].attrs["meshd.endpoint.id"])
	}

	toStock := map[string]any{
		"http.request.method": "GET", "url.full": "http://stock.default:8080/items?sku=1", "url.path": nil,
		"server.address": "stock.default", "server.port": int64(8080), "meshd.service": "default/stock:8080",
	}
	has(t, web, map[string]any{
		"http.request.method": "GET", "url.full": "http://checkout.default:8080/", "server.address": "checkout.default",
		"server.port": int64(8080), "http.response.status_code": int64(200), "error.type": nil, "http.request.resend_count": nil,
	})
	has(t, webTry, map[string]any{
		"network.peer.address": "127.0.0.1", "http.response.status_code": int64(200),
		"http.request.resend_count": nil, "meshd.retry.reason": nil, "meshd.endpoint.id": "checkout-0",
	})
	has(t, in, map[string]any{
		"http.request.method": "GET", "url.scheme": "http", "url.path": "/", "url.full": nil, "client.address": "127.0.0.1",
		"http.response.status_code": int64(200), "meshd.service": "default/checkout:8080",
	})
	for _, s := range []*span{call, tries[0], tries[1]} {
		has(t, s, toStock)
	}
	has(t, call, map[string]any{"http.response.status_code": int64(200), "error.type": nil})
	has(t, tries[0], map[string]any{
		"http.response.status_code": int64(503), "error.type": "503", "http.request.resend_count": nil, "meshd.retry.reason": nil})
	has(t, tries[1], map[string]any{
		"http.response.status_code": int64(200), "error.type": nil, "http.request.resend_count": int64(1), "meshd.retry.reason": "503"})
	has(t, ends[0], map[string]any{"http.response.status_code": int64(503), "error.type": "503", "url.path": "/items", "url.query": "sku=1"})
	has(t, ends[1], map[string]any{"http.response.status_code": int64(200), "error.type": nil})
	failed := map[*span]bool{tries[0]: true, ends[0]: true}
	for _, s := range spans {
		if got := s.Status.GetCode() == tracepb.Status_STATUS_CODE_ERROR; got != failed[s] {
			t.Errorf("%s of %v: failed %v, want %v", s.Name, s.resource["service.instance.id"], got, failed[s])
		}
	}
	if len(call.Events) != 1 || call.Events[0].Name != "retry" {
		t.Errorf("checkout's call has events %v, want one retry", call.Events)
	}
}

// expect looks at what each span has.
func expect(t *testing.T, what string, s *span, of string, kind tracepb.Span_SpanKind) {
	t.Helper()
	for key := range s.attrs {
		documented(t, key)
	}
	service, _, _ := strings.Cut(of, "-")
	if s.Kind != kind || s.resource["service.instance.id"] != of || s.resource["service.name"] != service || s.resource["service.namespace"] != "default" {
		t.Errorf("%s is a %v of %v, want a %v of %s", what, s.Kind, s.resource, kind, of)
	}
	if s.StartTimeUnixNano >= s.EndTimeUnixNano || !strings.HasPrefix(s.Name, "GET") {
		t.Errorf("%s: %v", what, s.Span)
	}
}

// has compares attributes; nil: it is not there.
func has(t *testing.T, s *span, want map[string]any) {
	t.Helper()
	for k, v := range want {
		if s.attrs[k] != v {
			t.Errorf("%s of %v: %s is %v, want %v", s.Name, s.resource["service.instance.id"], k, s.attrs[k], v)
		}
	}
}

// A caller that does not sample is followed: its trace goes on, and nobody
// exports a thing.
func TestUnsampled(t *testing.T) {
	s := &sink{}
	c := newChain(t, s.environment(t, "grpc")...)
	if got := c.web.call(t, "checkout:8080", "traceparent", "00-"+callersTrace+"-"+callersSpan+"-00", "tracestate", "vendor=1"); got.status != 200 {
		t.Fatalf("%+v", got)
	}
	c.stop(t)
	if spans := s.all(); len(spans) != 0 {
		t.Errorf("%d spans: %v", len(spans), spans)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.heard) != 1 {
		t.Fatalf("stock got %d calls", len(c.heard))
	}
	told := c.heard[0].Get("traceparent")
	if !strings.HasPrefix(told, "00-"+callersTrace+"-") || !strings.HasSuffix(told, "-00") || strings.Contains(told, callersSpan) || c.heard[0].Get("tracestate") != "vendor=1" {
		t.Errorf("traceparent %q, tracestate %q", told, c.heard[0].Get("tracestate"))
	}
}

// Sidecars that export no traces, not even to meshd, have no part in them: what
// a caller says goes through as it came. Where it says nothing, there is a trace
// that nobody samples, by which deadlines and retries cross applications.
func TestTracesOff(t *testing.T) {
	for name, env := range map[string][]string{
		"off":            {"OTEL_SDK_DISABLED=true"},
		"off, a backend": {"OTEL_SDK_DISABLED=true", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:9"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newChain(t, env...)
			const told = "00-" + callersTrace + "-" + callersSpan + "-01"
			if got := c.web.call(t, "checkout:8080", "traceparent", told, "tracestate", "vendor=1"); got.status != 200 {
				t.Fatalf("%+v", got)
			}
			if got := c.web.call(t, "checkout:8080"); got.status != 200 {
				t.Fatalf("%+v", got)
			}
			c.mu.Lock()
			defer c.mu.Unlock()
			if len(c.heard) != 2 || c.heard[0].Get("traceparent") != told || c.heard[0].Get("tracestate") != "vendor=1" ||
				!strings.HasSuffix(c.heard[1].Get("traceparent"), "-00") || c.heard[1].Values("tracestate") != nil {
				t.Errorf("the last application heard %v", c.heard)
			}
		})
	}
}
