package call

import (
	"testing"

	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
	"github.com/meshd/meshd/xds/resource"
)

func attributeOf(s tracing.Span, key string) string {
	for _, a := range s.Attributes.All() {
		if string(a.Key) == key {
			return a.Value.String()
		}
	}
	return ""
}

func TestSpansOfACall(t *testing.T) {
	f := setUp(t, policy, 1, "10.0.0.1:80", "10.0.0.2:80")
	c := f.begin(t)
	whole := c.Context
	c.Describe([]byte("PURGE"), []byte("/a?b"), []byte("10.9.9.9"), []byte("k=v"))
	first := c.Pick(2)
	told := c.Context
	c.Done(3, 0, stats.ErrConnectionTerminated, 1)
	c.Retry(3, stats.RetryReset, true)
	c.Pick(4)
	c.Done(5, 200, stats.ErrNone, 1)
	c.End(6, 200, stats.ErrNone)
	if len(f.spans) != 3 {
		t.Fatalf("%d spans", len(f.spans))
	}
	a, b, all := f.spans[0], f.spans[1], f.spans[2]
	if all.Context != whole || all.Parent.Valid() || all.RemoteParent || a.Parent != whole || b.Parent != whole || a.Context != told || a.Context == b.Context {
		t.Errorf("%+v\n%+v\n%+v", a, b, all)
	}
	for _, tc := range []struct {
		span      tracing.Span
		key, want string
	}{
		{a, "error.type", "connection_terminated"},
		{a, "network.peer.address", first.Addr.Addr().String()},
		{a, "http.request.resend_count", ""},
		{b, "http.request.resend_count", "1"},
		{b, string(tracing.MeshRetryReason), "reset"},
		{b, "http.response.status_code", "200"},
		{all, "http.response.status_code", "200"},
		{all, "error.type", ""},
		{all, "url.full", "http://checkout:80/a?b"},
		{a, "url.full", "http://checkout:80/a?b"},
		{all, "url.path", ""},
		{all, "meshd.route", "r"},
		{all, "server.address", "checkout"},
		{all, "server.port", "80"},
		{all, "http.request.method", "_OTHER"},
		{all, "http.request.method_original", "PURGE"},
		{all, "client.address", "10.9.9.9"},
	} {
		if got := attributeOf(tc.span, tc.key); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.key, got, tc.want)
		}
	}
	if !a.Failed || b.Failed || all.Failed || len(all.Events) != 1 || all.TraceState != "k=v" {
		t.Errorf("failed %v %v %v, events %v", a.Failed, b.Failed, all.Failed, all.Events)
	}
	f.rest(t, 1)
}

// A server's span fails from 500 up only, and stands for its attempt too.
func TestServerSpan(t *testing.T) {
	for status, failed := range map[int]bool{200: false, 404: false, 500: true} {
		f := setUp(t, policy, 1, "10.0.0.1:80")
		f.route.Server = true
		c := f.begin(t)
		before := c.Context
		c.Pick(1)
		if c.Context != before {
			t.Error("the application is told another span")
		}
		c.Done(1, status, stats.ErrNone, 1)
		c.End(2, status, stats.ErrNone)
		if len(f.spans) != 1 || f.spans[0].Kind != tracing.KindServer || f.spans[0].Failed != failed {
			t.Errorf("%d: %+v", status, f.spans)
		}
	}
}

// A URL is whole on a client's span and in parts on a server's, and holds no
// credentials.
func TestURLs(t *testing.T) {
	for _, tc := range []struct {
		server                    bool
		method, target            string
		host                      string
		port                      int
		full, scheme, path, query string
	}{
		{false, "GET", "/", "checkout.default", 8080, "http://checkout.default:8080/", "", "", ""},
		{false, "GET", "/a?", "example.org", 0, "http://example.org/a", "", "", ""},
		{false, "GET", "/a?sig=x&b=c&Signature=y", "::1", 80, "http://[::1]:80/a?sig=REDACTED&b=c&Signature=REDACTED", "", "", ""},
		{false, "OPTIONS", "*", "h", 80, "http://h:80", "", "", ""},
		{false, "CONNECT", "", "h", 443, "http://h:443", "", "", ""},
		{true, "GET", "/a?X-Goog-Signature=x&design=1", "h", 80, "", "http", "/a", "X-Goog-Signature=REDACTED&design=1"},
		{true, "GET", "/", "h", 80, "", "http", "/", ""},
	} {
		f := setUp(t, policy, 1, "10.0.0.1:80")
		f.route.Server, f.route.Host, f.route.Port = tc.server, tc.host, tc.port
		c := f.begin(t)
		c.Describe([]byte(tc.method), []byte(tc.target), nil, nil)
		c.End(2, 200, stats.ErrNone)
		for key, want := range map[string]string{"url.full": tc.full, "url.scheme": tc.scheme, "url.path": tc.path, "url.query": tc.query} {
			if got := attributeOf(f.spans[0], key); got != want {
				t.Errorf("%s %s, server %v: %s is %q, want %q", tc.method, tc.target, tc.server, key, got, want)
			}
		}
	}
}

// A call that is not sampled allocates nothing.
func TestUnsampledCallAllocatesNothing(t *testing.T) {
	f := setUp(t, policy, 0, "10.0.0.1:80", "10.0.0.2:80")
	var c Call
	n := testing.AllocsPerRun(1000, func() {
		c.Begin(f.tracer, f.route, &Said{}, nil, 1)
		c.Describe(nil, nil, nil, nil)
		c.DescribeProtocol("2", true)
		c.Pick(2)
		c.Done(3, 200, stats.ErrNone, 1)
		c.End(4, 200, stats.ErrNone)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The spans say what was decided, and on what grounds.
func TestSpansSayWhy(t *testing.T) {
	f := setUp(t, policy, 1, "10.0.0.1:80", "10.0.0.2:80")
	f.route.Hedge = resource.Hedge{Share: 1, Delay: 5}
	f.route.Init(nil, f.cluster.Now)
	var c Call
	if step := c.Begin(f.tracer, f.route, &Said{Priority: []byte("sheddable")}, nil, 1); step != Go {
		t.Fatal(step)
	}
	c.Pick(2)
	c.HedgeAfter(2)
	if c.Hedge(7) == nil {
		t.Fatal("no hedge")
	}
	c.HedgeWon(8)
	c.Done(9, 200, stats.ErrNone, 1)
	c.End(9, 200, stats.ErrNone)
	var d Call
	f.route.Clusters, f.route.Route.Clusters = nil, nil
	f.route.Fault = resource.Fault{Abort: 503, AbortShare: 1}
	d.Begin(f.tracer, f.route, &Said{}, nil, 1)
	d.End(2, 503, stats.ErrFaultInjected)
	if len(f.spans) != 4 {
		t.Fatalf("%d spans", len(f.spans))
	}
	for _, tc := range []struct {
		span      tracing.Span
		key, want string
	}{
		{f.spans[0], "meshd.hedge", ""},
		{f.spans[1], "meshd.hedge", "true"},
		{f.spans[1], "meshd.retry.reason", ""},
		{f.spans[1], "meshd.endpoint.cost", "0"},
		{f.spans[2], "meshd.balancer", "round_robin"},
		{f.spans[2], "meshd.priority", "sheddable"},
		{f.spans[2], "meshd.held_ms", ""},
		{f.spans[3], "meshd.refusal", "fault injected by the route's policy"},
	} {
		if got := attributeOf(tc.span, tc.key); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.key, got, tc.want)
		}
	}
}

// A hedge that has nowhere to go leaves nothing behind.
func TestHedgeWithoutAnother(t *testing.T) {
	f := setUp(t, policy, 1, "10.0.0.1:80", "10.0.0.2:80")
	f.route.Hedge = resource.Hedge{Share: 1, Delay: 5}
	f.route.Init(nil, f.cluster.Now)
	c := f.begin(t)
	first := c.Pick(2)
	c.HedgeAfter(2)
	for _, ep := range f.cluster.Endpoints() {
		if ep != first {
			ep.SetVerdict(2)
		}
	}
	told := c.Context
	if ep := c.Hedge(7); ep != nil && ep == first {
		t.Errorf("%v beside itself", ep)
	} else if ep == nil && (c.Attempts() != 1 || c.Context != told || c.Hedging() || first.Requests.Load() != 1) {
		t.Errorf("%d attempts, %d requests", c.Attempts(), first.Requests.Load())
	}
	c.Unhedge(8)
	c.Done(9, 200, stats.ErrNone, 1)
	c.End(9, 200, stats.ErrNone)
	f.rest(t, 1)
}
