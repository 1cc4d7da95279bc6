package call

import (
	"testing"

	"github.com/meshd/meshd/breaker"
	"github.com/meshd/meshd/sidecar/protocol/grpc"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
	"github.com/meshd/meshd/xds/resource"
)

func TestSpansOfAnRPC(t *testing.T) {
	f := setUp(t, policy, 1, "10.0.0.1:80", "10.0.0.2:80")
	f.route.Retry.On = resource.RetryUnavailable
	c := f.begin(t)
	c.DescribeProtocol("2", true)
	c.Describe([]byte("POST"), []byte("/shop.v1.Cart/Add"), []byte("10.9.9.9"), nil)
	c.Pick(2)
	c.Done(3, stats.GRPC(grpc.Unavailable), stats.ErrNone, 1)
	reason, _ := grpc.RetryReason(grpc.Unavailable)
	if _, ok := c.Retry(3, reason, true); !ok {
		t.Fatal("not tried again")
	}
	c.Pick(4)
	c.Done(5, stats.GRPC(grpc.OK), stats.ErrNone, 1)
	c.End(6, stats.GRPC(grpc.OK), stats.ErrNone)
	if len(f.spans) != 3 {
		t.Fatalf("%d spans", len(f.spans))
	}
	a, b, all := f.spans[0], f.spans[1], f.spans[2]
	for _, tc := range []struct {
		span      tracing.Span
		key, want string
	}{
		{a, "rpc.response.status_code", "UNAVAILABLE"},
		{a, "error.type", "UNAVAILABLE"},
		{a, "network.protocol.version", ""},
		{b, "rpc.response.status_code", "OK"},
		{b, "error.type", ""},
		{b, string(tracing.MeshRetryReason), "unavailable"},
		{all, "rpc.system.name", "grpc"},
		{all, "rpc.method", "shop.v1.Cart/Add"},
		{all, "rpc.response.status_code", "OK"},
		{all, "network.protocol.version", "2"},
		{all, "server.address", "checkout"},
		{all, "http.request.method", ""},
		{all, "http.response.status_code", ""},
		{all, "url.full", ""},
	} {
		if got := attributeOf(tc.span, tc.key); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.key, got, tc.want)
		}
	}
	if !a.Failed || b.Failed || all.Failed || all.Name != "shop.v1.Cart/Add" || a.Name != all.Name {
		t.Errorf("failed %v %v %v, names %q %q", a.Failed, b.Failed, all.Failed, a.Name, all.Name)
	}
	f.rest(t, 1)
}

// On a client's span whatever is not OK is an error, on a server's what is the
// server's doing; an answer of our own is one on both.
func TestFailedRPCSpans(t *testing.T) {
	serverErrors := map[uint32]bool{2: true, 4: true, 12: true, 13: true, 14: true, 15: true}
	for code := range uint32(17) {
		for _, server := range []bool{false, true} {
			for _, e := range []stats.ErrorType{stats.ErrNone, stats.ErrConnectionRefused} {
				f := setUp(t, policy, 1, "10.0.0.1:80")
				f.route.Server = server
				c := f.begin(t)
				c.Describe([]byte("POST"), []byte("/"), nil, nil)
				c.DescribeProtocol("2", true)
				c.End(2, stats.GRPC(code), e)
				s := f.spans[0]
				want := e != stats.ErrNone || code != 0 && !server || serverErrors[code]
				errorType := ""
				switch {
				case e != stats.ErrNone:
					errorType = e.String()
				case want:
					errorType = grpc.Name(code)
				}
				if s.Failed != want || attributeOf(s, "error.type") != errorType || s.Name != "grpc" {
					t.Errorf("%s, server %v, %q: failed %v, error.type %q, name %q",
						grpc.Name(code), server, e, s.Failed, attributeOf(s, "error.type"), s.Name)
				}
			}
		}
	}
}

// An answer to a gRPC call that is no gRPC has its HTTP status.
func TestRPCWithoutGRPCStatus(t *testing.T) {
	f := setUp(t, policy, 1, "10.0.0.1:80")
	c := f.begin(t)
	c.Describe([]byte("POST"), []byte("/a.B/C"), nil, nil)
	c.DescribeProtocol("2", true)
	c.End(2, 404, stats.ErrNone)
	s := f.spans[0]
	if !s.Failed || attributeOf(s, "http.response.status_code") != "404" || attributeOf(s, "rpc.response.status_code") != "" {
		t.Errorf("%+v", s)
	}
}

// The codes that say that an endpoint cannot serve open its breaker; others do not.
func TestRPCFailuresOpenTheBreaker(t *testing.T) {
	for code := range uint32(17) {
		f := setUp(t, policy, 0, "10.0.0.1:80")
		for range 3 {
			c := f.begin(t)
			if c.Pick(1) == nil {
				t.Fatalf("%s: no endpoint", grpc.Name(code))
			}
			c.Done(2, stats.GRPC(code), stats.ErrNone, 1)
			c.End(3, stats.GRPC(code), stats.ErrNone)
		}
		ep := f.cluster.Endpoints()[0]
		open := ep.Breaker.State() != breaker.Closed
		if open != grpc.Failure(code) || open != (ep.Failures.Load() == 3) {
			t.Errorf("%s: open %v after %d failures", grpc.Name(code), open, ep.Failures.Load())
		}
	}
}
