package call

import (
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
	"github.com/meshd/meshd/xds/resource"
)

func (f *fixture) beginConnection(t *testing.T) *Call {
	t.Helper()
	c := &Call{}
	if e := c.BeginConnection(f.tracer, f.route, "10.0.0.9", nil, 1); e != Go {
		t.Fatal(e)
	}
	return c
}

// An open connection is in flight, and priced by how long it took to open.
func TestConnectionIsPricedByConnecting(t *testing.T) {
	f := setUp(t, policy, 0, "10.0.0.1:80")
	c := f.beginConnection(t)
	ep := c.Pick(1)
	c.Connected(1 + int64(2*time.Millisecond))
	c.Connected(1 + int64(time.Hour)) // once only
	c.Done(1+int64(time.Hour), 0, stats.ErrConnectionTerminated, int64(time.Hour))
	if got := ep.Load.Latency(); got != 2*time.Millisecond {
		t.Errorf("priced at %v", got)
	}
	if n := ep.Load.InFlight(); n != 1 {
		t.Errorf("%d in flight", n)
	}
	c.EndConnection(int64(time.Hour), stats.ErrNone, 1, 2)
	if got := ep.Load.Latency(); got != 2*time.Millisecond {
		t.Errorf("priced at %v after an hour", got)
	}
	f.connectionsRest(t, 1)
	if ep.Requests.Load() != 1 || ep.Failures.Load() != 0 {
		t.Errorf("%d attempts, %d failed", ep.Requests.Load(), ep.Failures.Load())
	}
}

// connectionsRest asserts that nothing of any connection is left, and nothing
// of them in the metrics of HTTP.
func (f *fixture) connectionsRest(t *testing.T, n uint64) {
	t.Helper()
	s := f.reg.Snapshot().Client[0]
	var ended uint64
	for _, e := range s.TCP.Ended {
		ended += e.Count
	}
	if s.TCP.Connections != n || ended != n || s.TCP.Active != 0 {
		t.Errorf("%d connections, %d ended, %d active; want %d", s.TCP.Connections, ended, s.TCP.Active, n)
	}
	f.rest(t, 0)
}

// Connections that are refused, and those that are taken and dropped, open the
// breaker; others close it.
func TestConnectionsAndBreaker(t *testing.T) {
	f := setUp(t, policy, 0, "10.0.0.1:80")
	ep := f.cluster.Endpoints()[0]
	end := func(how func(*Call)) {
		c := f.beginConnection(t)
		if c.Pick(1) == nil {
			t.Fatal("no endpoint")
		}
		how(c)
		c.EndConnection(3, stats.ErrNone, 0, 0)
	}
	refused := func(c *Call) { c.Done(2, 0, stats.ErrConnectionRefused, 1) }
	dropped := func(c *Call) { c.Connected(2); c.Judge(3, true); c.Judge(3, false) }
	fine := func(c *Call) { c.Connected(2) }
	for _, how := range []func(*Call){refused, dropped, fine, refused, dropped} {
		end(how)
		if got := ep.Breaker.State(); got != breaker.Closed {
			t.Fatalf("the breaker is %v", got)
		}
	}
	end(dropped) // the third in turn
	if got := ep.Breaker.State(); got != breaker.Open {
		t.Errorf("the breaker is %v", got)
	}
	if n := ep.Failures.Load(); n != 5 {
		t.Errorf("%d failures", n)
	}
	f.connectionsRest(t, 6)
}

func TestConnectionLimits(t *testing.T) {
	cfg := policy
	cfg.Limits = resource.Limits{Connections: 1, Requests: 2}
	f := setUp(t, cfg, 0, "10.0.0.1:80")
	first, second := f.beginConnection(t), f.beginConnection(t)
	for _, c := range []*Call{first, second} {
		c.Pick(1)
		if got := c.Crowded(); got != (c == second) {
			t.Errorf("crowded: %v", got)
		}
	}
	var third Call
	if e := third.BeginConnection(f.tracer, f.route, "", nil, 1); e != Refused || third.Refusal().Err != stats.ErrConnectionLimitReached {
		t.Errorf("%v", e)
	}
	third.EndConnection(2, stats.ErrConnectionLimitReached, 0, 0)
	first.EndConnection(2, stats.ErrNone, 0, 0)
	second.EndConnection(2, stats.ErrConnectionLimitReached, 0, 0)
	f.connectionsRest(t, 3)
}

func TestConnectionSpans(t *testing.T) {
	f := setUp(t, policy, 1, "10.0.0.1:80", "10.0.0.2:80")
	f.route.Retry.On = resource.RetryConnectFailure
	c := f.beginConnection(t)
	first := c.Pick(2).ID
	c.Done(3, 0, stats.ErrConnectionRefused, 1)
	if _, ok := c.Retry(3, stats.RetryConnectFailure, true); !ok {
		t.Fatal("not tried again")
	}
	second := c.Pick(4).ID
	c.Connected(5)
	c.EndConnection(9, stats.ErrConnectionTerminated, 10, 20)
	if len(f.spans) != 3 {
		t.Fatalf("%d spans", len(f.spans))
	}
	for i, want := range []map[attribute.Key]string{
		{tracing.ErrorType: "connection_refused", tracing.NetworkTransport: "tcp", tracing.MeshEndpointID: first},
		{tracing.MeshRetryReason: "connect-failure", tracing.NetworkTransport: "tcp", tracing.MeshEndpointID: second},
		{tracing.ErrorType: "connection_terminated", tracing.NetworkTransport: "tcp", tracing.ServerAddress: "checkout",
			tracing.MeshSent: "10", tracing.MeshReceived: "20", tracing.ClientAddress: "10.0.0.9"},
	} {
		s := f.spans[i]
		set := attribute.NewSet(s.Attributes.All()...)
		for key, value := range want {
			if got, _ := set.Value(key); got.String() != value {
				t.Errorf("span %d: %s is %q, want %q", i, key, got.String(), value)
			}
		}
		if s.Name != "TCP checkout" || s.Kind != tracing.KindClient || s.Failed != (i != 1) {
			t.Errorf("span %d: %q, %v, failed %v", i, s.Name, s.Kind, s.Failed)
		}
		for _, key := range []attribute.Key{tracing.HTTPMethod, tracing.URLFull, tracing.HTTPResendCount} {
			if set.HasValue(key) {
				t.Errorf("span %d has %s", i, key)
			}
		}
	}
}
