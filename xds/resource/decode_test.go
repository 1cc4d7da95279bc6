package resource

import (
	"net/netip"
	"reflect"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func equal(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %+v\nwant %+v", got, want)
	}
}

func TestListenerWithRDS(t *testing.T) {
	hcm := aManager(t)
	hcm.HttpFilters = append([]*hcmv3.HttpFilter{
		{Name: "vendor", IsOptional: true, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: &anypb.Any{TypeUrl: "type.googleapis.com/vendor.Filter"}}},
	}, hcm.HttpFilters...)
	l, err := DecodeListener(packed(t, aListener(t, hcm)))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, l, &Listener{Name: "checkout:8080", RouteName: "default/checkout:8080"})
}

func TestListenerWithInlineRoutes(t *testing.T) {
	hcm := aManager(t)
	hcm.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: aRouteConfig(aRoute(anAction()))}
	l, err := DecodeListener(packed(t, aListener(t, hcm)))
	if err != nil {
		t.Fatal(err)
	}
	if l.RouteName != "" || l.Routes == nil || len(l.Routes.VirtualHosts) != 1 {
		t.Errorf("got %+v", l)
	}
}

func TestRouteConfig(t *testing.T) {
	r := aRoute(anAction())
	r.Metadata = meshMetadata(t, map[string]any{
		"service": "default/checkout:8080", "retryBufferBytes": 1024, "via": true, "forwarded": "rfc7239", "traceRatio": 0.5,
	})
	plain := aRoute(&routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{Clusters: []*routev3.WeightedCluster_ClusterWeight{
			{Name: "a", Weight: wrapperspb.UInt32(90)}, {Name: "none", Weight: wrapperspb.UInt32(0)}, {Name: "b", Weight: wrapperspb.UInt32(10)},
		}}},
		Timeout:           durationpb.New(0),
		MaxStreamDuration: &routev3.RouteAction_MaxStreamDuration{MaxStreamDuration: durationpb.New(7 * time.Second)},
	})
	plain.Match.PathSpecifier = &routev3.RouteMatch_Path{Path: "/exact"}
	rc, err := DecodeRouteConfig(packed(t, aRouteConfig(plain, r)))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, rc, &RouteConfig{Name: "default/checkout:8080", VirtualHosts: []VirtualHost{{Name: "v", Domains: []string{"*"}, Routes: []Route{
		{
			Path: "/exact", Service: "a", TraceRatio: -1, Timeout: 7 * time.Second,
			Clusters: []WeightedCluster{{"a", 90}, {"b", 10}}, Retry: Retry{BufferBytes: DefaultRetryBuffer}, Hedge: Hedge{Disabled: true},
		},
		{
			Prefix: "/", Service: "default/checkout:8080", Clusters: []WeightedCluster{{"default/checkout:8080", 1}},
			Timeout: 1500 * time.Millisecond, AttemptTimeout: time.Second,
			Retry: Retry{Attempts: 2, On: RetryConnectFailure | RetryReset | Retry502 | Retry503,
				BackoffBase: 10 * time.Millisecond, BackoffMax: 250 * time.Millisecond, BufferBytes: 1024},
			Hedge: Hedge{Disabled: true}, Via: true, Forwarded: ForwardedRFC7239, TraceRatio: 0.5,
		},
	}}}})
}

func TestRetryWords(t *testing.T) {
	for words, want := range map[string]RetryOn{
		"":                              0,
		"5xx":                           RetryConnectFailure | RetryReset | RetryRefused | retry5xx,
		"gateway-error, refused-stream": RetryRefused | retry5xx,
		"cancelled,deadline-exceeded,internal,resource-exhausted,unavailable": RetryCancelled | RetryDeadlineExceeded | RetryInternal | RetryResourceExhausted | RetryUnavailable,
		"connect-failure,reset":             RetryConnectFailure | RetryReset, // 502 is listed, not asked for
		"reset,retriable-status-codes,":     RetryReset | Retry502,
		"connect-failure , connect-failure": RetryConnectFailure,
	} {
		a := anAction()
		a.RetryPolicy = &routev3.RetryPolicy{RetryOn: words, RetriableStatusCodes: []uint32{502}}
		rc, err := DecodeRouteConfig(packed(t, aRouteConfig(aRoute(a))))
		if err != nil {
			t.Errorf("%q: %v", words, err)
			continue
		}
		if got := rc.VirtualHosts[0].Routes[0].Retry; got.On != want || (got.Attempts == 1) != (want != 0) {
			t.Errorf("%q: got %+v, want on %b", words, got, want)
		}
	}
}

func TestCluster(t *testing.T) {
	c := aCluster()
	got, err := DecodeCluster(packed(t, c))
	if err != nil {
		t.Fatal(err)
	}
	want := &Cluster{
		Name: c.Name, EDSName: c.Name, ConnectTimeout: time.Second, Protocol: ProtocolHTTP1,
		Balancer: "least_request", Balancing: DefaultBalancing(),
		Limits: Limits{1, 2, 3}, Breaker: DefaultBreaker(), Budget: DefaultBudget(), Outlier: Outlier{Disabled: true},
	}
	equal(t, got, want)

	c.EdsClusterConfig.ServiceName = "other"
	c.Metadata = meshMetadata(t, map[string]any{
		"balancer": "peak_ewma", "idleTimeout": "90s", "budget": map[string]any{"ratio": 0, "minPerSecond": 1},
		"breaker": map[string]any{"disabled": true, "consecutiveFailures": 0, "errorRatio": 0.1, "minRequests": 1,
			"window": "1m", "openFor": "100ms", "halfOpenRequests": 7},
	})
	c.CircuitBreakers.PerHostThresholds = []*clusterv3.CircuitBreakers_Thresholds{{MaxConnections: wrapperspb.UInt32(50)}}
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptionsName: packed(t, httpOptions(t))}
	if got, err = DecodeCluster(packed(t, c)); err != nil {
		t.Fatal(err)
	}
	want.EDSName, want.Balancer, want.IdleTimeout = "other", "peak_ewma", 90*time.Second
	want.Limits.Connections = 50
	want.Budget = Budget{0, 1}
	want.Breaker = Breaker{true, 0, 0.1, 1, time.Minute, 100 * time.Millisecond, 7}
	equal(t, got, want)

	c.Metadata = nil
	if got, err = DecodeCluster(packed(t, c)); err != nil || got.IdleTimeout != time.Minute {
		t.Errorf("got %+v, %v; want the idle timeout of the protocol options", got, err)
	}
}

func TestEndpoints(t *testing.T) {
	a, b, c := anEndpoint("10.0.0.1", 80), anEndpoint("fd00::1", 81), anEndpoint("::ffff:10.0.0.2", 82)
	a.Metadata = meshMetadata(t, map[string]any{"id": "checkout-0", "startedAt": "2026-01-02T15:04:05.25Z"})
	a.LoadBalancingWeight = wrapperspb.UInt32(5)
	b.HealthStatus = corev3.HealthStatus_DRAINING
	c.HealthStatus = corev3.HealthStatus_TIMEOUT
	got, err := DecodeEndpoints(packed(t, anAssignment(aLocality(1, b), aLocality(0, a, c))))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, got, &Endpoints{Cluster: "default/checkout:8080", Endpoints: []Endpoint{
		{Addr: netip.MustParseAddrPort("[fd00::1]:81"), Weight: 1, Priority: 1, Region: "eu", Zone: "a", LocalityWeight: 1, Health: Draining},
		{Addr: netip.MustParseAddrPort("10.0.0.1:80"), ID: "checkout-0", Weight: 5, Region: "eu", Zone: "a", LocalityWeight: 1, Started: 1767366245250},
		{Addr: netip.MustParseAddrPort("10.0.0.2:82"), Weight: 1, Region: "eu", Zone: "a", LocalityWeight: 1, Health: Unhealthy},
	}})
	if got, err = DecodeEndpoints(packed(t, anAssignment())); err != nil || len(got.Endpoints) != 0 {
		t.Errorf("empty: got %+v, %v", got, err)
	}
}

func TestInstanceRoundTrip(t *testing.T) {
	want := Instance{
		ID: "checkout-0", Service: "checkout", Namespace: "shop", ServicePort: 8080,
		Addr: netip.MustParseAddrPort("127.0.0.1:31006"), Weight: 2, Region: "eu", Zone: "a",
		Ready: true, Draining: true, Admin: "127.0.0.1:31000", PID: 4711, Version: "v0.1.0",
	}
	n := &corev3.Node{Id: want.NodeID(), Cluster: want.Service, Metadata: want.Metadata()}
	if n.Id != "checkout.shop/checkout-0" {
		t.Errorf("node id %q", n.Id)
	}
	got, err := DecodeInstance(n)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, got, want)

	for _, n := range []*corev3.Node{nil, {Cluster: "c"}, {Cluster: "c", Metadata: Instance{}.Metadata()}} {
		got, err := DecodeInstance(n)
		if err != nil || got.Registers() || got.Namespace != "default" || got.Service != n.GetCluster() {
			t.Errorf("client %v: got %+v, %v", n, got, err)
		}
	}
	for _, admin := range []string{"", "127.0.0.1:15000", "[::1]:15000", "pod-0.shop.svc:1"} {
		i := Instance{Service: "gate", Namespace: "shop", Client: "gate-0", Admin: admin, Version: "v0.1.0"}
		got, err := DecodeInstance(&corev3.Node{Id: i.NodeID(), Cluster: i.Service, Metadata: i.Metadata()})
		if want := (Instance{Service: "gate", Namespace: "shop", Admin: admin, Version: "v0.1.0"}); err != nil || got != want {
			t.Errorf("client at %q: got %+v, %v", admin, got, err)
		}
	}
}
