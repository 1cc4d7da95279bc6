package accesslog

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/meshd/meshd/sidecar/call"
	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
)

func TestRecord(t *testing.T) {
	fine := example()
	fine.Status, fine.Failed, fine.Attempts, fine.Endpoint, fine.Method = 200, false, 1, "[fd00::1]:80", "BREW"
	fine.Parts, fine.Kept = [stats.Parts]time.Duration{}, ""
	rpc := example()
	rpc.Status, rpc.RPC, rpc.Inbound, rpc.Path = stats.GRPC(14), true, true, "/shop.v1.Cart/Add"
	tcp := &call.Entry{Service: "default/db:5432", TCP: true, Sent: 10, Received: 20, Error: stats.ErrConnectionTimeout, Failed: true}
	for _, c := range []struct {
		e           *call.Entry
		severity    tracing.Severity
		event, body string
		attributes  []string
	}{
		{example(), tracing.SeverityError, "meshd.call", `GET /items/"1" 503`, []string{
			"client.address=10.0.0.9", "error.type=503", "http.request.method=GET", "http.request.resend_count=1", "http.response.status_code=503",
			"meshd.duration_ms=12.345", "meshd.endpoint.id=checkout-0", "meshd.kept=error", "meshd.retried_ms=2", "meshd.route=items",
			"meshd.service=default/checkout:8080", "meshd.side=client", "network.peer.address=10.0.0.1", "network.peer.port=80",
			"network.protocol.version=1.1", `url.path=/items/"1"`,
		}},
		{fine, tracing.SeverityInfo, "meshd.call", `BREW /items/"1" 200`, []string{
			"client.address=10.0.0.9", "http.request.method=_OTHER", "http.request.method_original=BREW", "http.response.status_code=200",
			"meshd.duration_ms=12.345", "meshd.endpoint.id=checkout-0", "meshd.route=items",
			"meshd.service=default/checkout:8080", "meshd.side=client", "network.peer.address=fd00::1", "network.peer.port=80",
			"network.protocol.version=1.1", `url.path=/items/"1"`,
		}},
		{rpc, tracing.SeverityError, "meshd.call", "shop.v1.Cart/Add UNAVAILABLE", []string{
			"client.address=10.0.0.9", "error.type=UNAVAILABLE", "http.request.resend_count=1",
			"meshd.duration_ms=12.345", "meshd.endpoint.id=checkout-0", "meshd.kept=error", "meshd.retried_ms=2", "meshd.route=items",
			"meshd.service=default/checkout:8080", "meshd.side=server", "network.peer.address=10.0.0.1", "network.peer.port=80",
			"network.protocol.version=1.1", "rpc.method=shop.v1.Cart/Add", "rpc.response.status_code=UNAVAILABLE", "rpc.system.name=grpc",
		}},
		{tcp, tracing.SeverityError, "meshd.connection", "TCP default/db:5432 connection_timeout", []string{
			"error.type=connection_timeout", "meshd.bytes.received=20", "meshd.bytes.sent=10", "meshd.duration_ms=0",
			"meshd.service=default/db:5432", "meshd.side=client", "network.transport=tcp",
		}},
	} {
		n := 0
		NewRecorder(func(r *tracing.LogRecord) {
			n++
			var got []string
			for _, kv := range r.Attributes {
				got = append(got, fmt.Sprintf("%s=%v", kv.Key, kv.Value.AsInterface()))
			}
			slices.Sort(got)
			if r.Severity != c.severity || r.Event != c.event || r.Body != c.body || r.Context != c.e.Context || !r.Time.Equal(c.e.Time.Add(c.e.Took)) {
				t.Errorf("%+v", r)
			}
			if !slices.Equal(got, c.attributes) {
				t.Errorf("%s: attributes\n%q, want\n%q", c.body, got, c.attributes)
			}
		}).Write(c.e)
		if n != 1 {
			t.Errorf("%d records", n)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	r, e := NewRecorder(func(*tracing.LogRecord) {}), example()
	b.ReportAllocs()
	for b.Loop() {
		r.Write(e)
	}
}
