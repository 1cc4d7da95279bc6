package resource

//lint:file-ignore SA1019 older control planes still set these fields

import (
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

var decoders = map[string]func(*anypb.Any) error{
	ListenerType:  func(a *anypb.Any) error { _, err := DecodeListener(a); return err },
	RouteType:     func(a *anypb.Any) error { _, err := DecodeRouteConfig(a); return err },
	ClusterType:   func(a *anypb.Any) error { _, err := DecodeCluster(a); return err },
	EndpointsType: func(a *anypb.Any) error { _, err := DecodeEndpoints(a); return err },
}

// fuzz checks that decoding never panics and that what is accepted is a valid
// protobuf of the generated type, with the same name.
func fuzz(f *testing.F, typ string, oracle func() proto.Message, name func(proto.Message) string, seeds ...proto.Message) {
	f.Add([]byte(nil))
	for _, m := range seeds {
		b, err := proto.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if decoders[typ](&anypb.Any{TypeUrl: typ, Value: b}) != nil {
			return
		}
		m := oracle()
		if err := proto.Unmarshal(b, m); err != nil {
			// What is skipped is not looked into.
			t.Skip()
		}
		if got := NameOf(b); got != name(m) || got == "" {
			t.Errorf("name %q, want %q", got, name(m))
		}
	})
}

func FuzzListener(f *testing.F) {
	fuzz(f, ListenerType, func() proto.Message { return &listenerv3.Listener{} },
		func(m proto.Message) string { return m.(*listenerv3.Listener).Name }, aListener(f, aManager(f)))
}

func FuzzRouteConfig(f *testing.F) {
	a := anAction()
	a.HashPolicy = []*routev3.RouteAction_HashPolicy{byHeader("x"), bySource(true), byCookie(&routev3.RouteAction_HashPolicy_Cookie{Name: "s"})}
	a.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{Cluster: "m"}}
	r := aRoute(a)
	r.Match.Headers = []*routev3.HeaderMatcher{{Name: "x", HeaderMatchSpecifier: stringMatch(matching)}}
	r.Match.QueryParameters = []*routev3.QueryParameterMatcher{{Name: "x"}}
	r.Metadata = meshMetadata(f, map[string]any{"via": true, "traceRatio": 0.1, "session": map[string]any{"cookie": "s", "key": "k"}})
	r.TypedPerFilterConfig = map[string]*anypb.Any{
		"f": packed(f, aFault()), "l": packed(f, &routev3.FilterConfig{IsOptional: true, Config: packed(f, aRateLimit())}),
	}
	fuzz(f, RouteType, func() proto.Message { return &routev3.RouteConfiguration{} },
		func(m proto.Message) string { return m.(*routev3.RouteConfiguration).Name }, aRouteConfig(r))
}

func FuzzCluster(f *testing.F) {
	c := aCluster()
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{httpOptionsName: packed(f, httpOptions(f))}
	c.Metadata = meshMetadata(f, map[string]any{"breaker": map[string]any{"window": "1s"}})
	h2, auto := aCluster(), aCluster()
	h2.Http2ProtocolOptions = &corev3.Http2ProtocolOptions{AllowConnect: true}
	withOptions(f, h2, http2(h2.Http2ProtocolOptions))
	withOptions(f, auto, downstream(&httpv3.HttpProtocolOptions_UseDownstreamHttpConfig{Http2ProtocolOptions: h2.Http2ProtocolOptions}))
	hashing := aCluster()
	hashing.LbPolicy, hashing.LbConfig, hashing.CommonLbConfig = clusterv3.Cluster_RING_HASH, ring(10, 20), balanceFactor(125)
	slow := aCluster()
	slow.CommonLbConfig = zoneAware(100)
	slow.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{SlowStartConfig: slowStart(1, 10)}}
	watched := aCluster()
	watched.OutlierDetection, watched.HealthChecks = anOutlier(), []*corev3.HealthCheck{aCheck()}
	fuzz(f, ClusterType, func() proto.Message { return &clusterv3.Cluster{} },
		func(m proto.Message) string { return m.(*clusterv3.Cluster).Name }, c, h2, auto, hashing, slow, watched)
}

func FuzzEndpoints(f *testing.F) {
	fuzz(f, EndpointsType, func() proto.Message { return &endpointv3.ClusterLoadAssignment{} },
		func(m proto.Message) string { return m.(*endpointv3.ClusterLoadAssignment).ClusterName },
		anAssignment(aLocality(0, anEndpoint("10.0.0.1", 80)), aLocality(1, anEndpoint("fd00::1", 81))))
}

func FuzzInstance(f *testing.F) {
	for _, i := range []Instance{{}, {ID: "a-0", Service: "a", ServicePort: 1}} {
		b, err := proto.Marshal(&corev3.Node{Id: "n", Metadata: i.Metadata()})
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var n corev3.Node
		if proto.Unmarshal(b, &n) != nil {
			return
		}
		i, err := DecodeInstance(&n)
		if err != nil || !i.Registers() {
			return
		}
		again, err := DecodeInstance(&corev3.Node{Metadata: i.Metadata()})
		if err != nil || again != i {
			t.Errorf("%+v came back as %+v, %v", i, again, err)
		}
	})
}
