package control

import (
	"context"
	"io"
	"math"
	"sync"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	metricspb "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	otlp "go.opentelemetry.io/proto/otlp/metrics/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/meshd/meshd/xds/resource"
)

// A sharer is a hand-written client that calls checkout, asks for its shares
// and reports its calls.
type sharer struct {
	id     string // of the instance
	conn   *grpc.ClientConn
	shares chan *resource.Shares
	stop   func()

	began time.Time
	calls uint64
}

func startSharer(t *testing.T, addr, id string) *sharer {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	s := &sharer{id: id, conn: conn, shares: make(chan *resource.Shares, 100), began: time.Now()}
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		t.Fatal(err)
	}
	in := resource.Instance{Service: "front", Client: id}
	for _, typ := range []string{resource.ClusterType, resource.RouteType, resource.SharesType} {
		req := &discovery.DeltaDiscoveryRequest{
			Node:    &core.Node{Id: in.NodeID(), Cluster: in.Service, Metadata: in.Metadata()},
			TypeUrl: typ, ResourceNamesSubscribe: []string{watched},
		}
		if typ == resource.SharesType {
			req.ResourceNamesSubscribe[0] = resource.SharesName(in.NodeID())
		}
		if err := stream.Send(req); err != nil {
			t.Fatal(err)
		}
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			resp, err := stream.Recv()
			if err != nil {
				if err != io.EOF && ctx.Err() == nil {
					t.Error(err)
				}
				return
			}
			for _, r := range resp.Resources {
				if resp.TypeUrl != resource.SharesType {
					continue
				}
				got, err := resource.DecodeShares(r.Resource)
				if err != nil {
					t.Error(err)
					continue
				}
				s.shares <- got
			}
		}
	})
	s.stop = sync.OnceFunc(func() { cancel(); running.Wait(); conn.Close() })
	t.Cleanup(s.stop)
	return s
}

// report says over OTLP that n more calls have ended.
func (s *sharer) report(t *testing.T, n uint64) {
	t.Helper()
	text := func(k, v string) *commonpb.KeyValue {
		return &commonpb.KeyValue{Key: k, Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: v}}}
	}
	s.calls += n
	_, err := metricspb.NewMetricsServiceClient(s.conn).Export(t.Context(), &metricspb.ExportMetricsServiceRequest{ResourceMetrics: []*otlp.ResourceMetrics{{
		Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{
			text("service.name", "front"), text("service.namespace", "default"), text("service.instance.id", s.id)}},
		ScopeMetrics: []*otlp.ScopeMetrics{{Metrics: []*otlp.Metric{{
			Name: "http.client.request.duration",
			Data: &otlp.Metric_ExponentialHistogram{ExponentialHistogram: &otlp.ExponentialHistogram{
				AggregationTemporality: otlp.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE,
				DataPoints: []*otlp.ExponentialHistogramDataPoint{{
					Attributes: []*commonpb.KeyValue{text("meshd.service", watched)}, Count: s.calls, ZeroCount: s.calls,
					StartTimeUnixNano: uint64(s.began.UnixNano()), TimeUnixNano: uint64(time.Now().UnixNano()),
				}},
			}},
		}}}},
	}}})
	if err != nil {
		t.Error(err)
	}
}

// await waits for shares that are about so.
func (s *sharer) await(t *testing.T, requests, rate float64) {
	t.Helper()
	timeout := time.After(15 * time.Second)
	var last *resource.Shares
	for {
		select {
		case last = <-s.shares:
			if last.Requests[watched] == requests && math.Abs(last.Rates[watched]-rate) <= 0.02*rate {
				return
			}
		case <-timeout:
			t.Fatalf("%s never had %v at once and %v a second; the last is %+v", s.id, requests, rate, last)
		}
	}
}

// What a policy says of all callers together reaches each in parts, which
// follow who is there and what each wants.
func TestSharesReachClients(t *testing.T) {
	m := run(t, nil, nil)
	code, body := call(t, m, "POST", "/api/v1/objects", "Content-Type: application/yaml", fileObjects+`---
apiVersion: meshd.io/v1alpha1
kind: TrafficPolicy
metadata: {name: all}
spec: {targetRefs: [{kind: Service, name: checkout}], limits: {sharedRequests: 10}, rateLimit: {requests: 100, scope: mesh}}
`)
	if code != 200 {
		t.Fatal(code, body)
	}
	a := startSharer(t, m.xds, "front-0")
	a.await(t, 10, 100)
	b := startSharer(t, m.xds, "front-1")
	a.await(t, 5, 50)
	b.await(t, 5, 50)

	// a calls, b does not: a has all but the floor of b's.
	ticker := time.NewTicker(250 * time.Millisecond)
	defer ticker.Stop()
	done := make(chan struct{})
	var reporting sync.WaitGroup
	reporting.Go(func() {
		for {
			a.report(t, 1000)
			b.report(t, 0)
			select {
			case <-ticker.C:
			case <-done:
				return
			}
		}
	})
	b.await(t, 5, 5)
	a.await(t, 5, 95)
	close(done)
	reporting.Wait()

	a.stop()
	b.await(t, 10, 100)
}
