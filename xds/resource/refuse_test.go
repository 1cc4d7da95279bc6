package resource

//lint:file-ignore SA1019 older control planes still set these fields

import (
	"strings"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	httpv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// wantError checks that err names everything that a reader of the NACK needs.
func wantError(t *testing.T, name string, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: accepted", name)
		return
	}
	for _, p := range parts {
		if !strings.Contains(err.Error(), p) {
			t.Errorf("%s: error %q does not say %q", name, err, p)
		}
	}
}

func TestRefusedListeners(t *testing.T) {
	unknown := &hcmv3.HttpFilter{Name: "vendor", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: &anypb.Any{TypeUrl: "type.googleapis.com/vendor.Filter"}}}
	for name, c := range map[string]struct {
		change func(*hcmv3.HttpConnectionManager)
		want   string
	}{
		"no routes": {func(h *hcmv3.HttpConnectionManager) { h.RouteSpecifier = nil }, "rds: missing"},
		"rds from elsewhere": {func(h *hcmv3.HttpConnectionManager) {
			h.GetRds().ConfigSource.ConfigSourceSpecifier = &corev3.ConfigSource_ApiConfigSource{ApiConfigSource: &corev3.ApiConfigSource{}}
		}, "rds.config_source.api_config_source: not supported, want ads or self"},
		"v2":             {func(h *hcmv3.HttpConnectionManager) { h.GetRds().ConfigSource.ResourceApiVersion = 1 }, "resource_api_version: 1 is not"},
		"no route name":  {func(h *hcmv3.HttpConnectionManager) { h.GetRds().RouteConfigName = "" }, "route_config_name: missing"},
		"no router":      {func(h *hcmv3.HttpConnectionManager) { h.HttpFilters = nil }, "http_filters: no router"},
		"unknown filter": {func(h *hcmv3.HttpConnectionManager) { h.HttpFilters = append(h.HttpFilters, unknown) }, `http_filters[1]: filter "vendor" of type`},
		"router not last": {func(h *hcmv3.HttpConnectionManager) {
			h.HttpFilters = append(h.HttpFilters, &hcmv3.HttpFilter{Name: "z", Disabled: true})
		}, "after the router"},
		"normalised paths": {func(h *hcmv3.HttpConnectionManager) { h.NormalizePath = wrapperspb.Bool(true) }, "normalize_path: true is not supported"},
		"scoped routes":    {func(h *hcmv3.HttpConnectionManager) { h.RouteSpecifier = &hcmv3.HttpConnectionManager_ScopedRoutes{} }, "scoped_routes: not supported, want rds"},
		"bad inline routes": {func(h *hcmv3.HttpConnectionManager) {
			h.RouteSpecifier = &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: aRouteConfig(&routev3.Route{})}
		}, "route_config.virtual_hosts[0].routes[0].match: missing"},
	} {
		hcm := aManager(t)
		hcm.NormalizePath = wrapperspb.Bool(false) // harmless
		c.change(hcm)
		_, err := DecodeListener(packed(t, aListener(t, hcm)))
		wantError(t, name, err, `listener "checkout:8080": api_listener.api_listener.`, c.want)
	}
	l := aListener(t, aManager(t))
	l.ApiListener = nil
	_, err := DecodeListener(packed(t, l))
	wantError(t, "no API listener", err, `listener "checkout:8080": api_listener: missing`)
	_, err = DecodeListener(packed(t, aCluster()))
	wantError(t, "a cluster", err, "envoy.config.cluster.v3.Cluster", ListenerType)
}

func TestRefusedRoutes(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*routev3.Route, *routev3.RouteAction)
		want   string
	}{
		"regex": {func(r *routev3.Route, _ *routev3.RouteAction) {
			r.Match.PathSpecifier = &routev3.RouteMatch_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: ".*"}}
		}, "match.safe_regex: not supported, want prefix, path or path_separated_prefix"},
		"case":    {func(r *routev3.Route, _ *routev3.RouteAction) { r.Match.CaseSensitive = wrapperspb.Bool(false) }, "match.case_sensitive: false is not supported"},
		"no path": {func(r *routev3.Route, _ *routev3.RouteAction) { r.Match = &routev3.RouteMatch{} }, "path_specifier: want exactly one"},
		"odd path": {func(r *routev3.Route, _ *routev3.RouteAction) {
			r.Match.PathSpecifier = &routev3.RouteMatch_Path{Path: "x"}
		}, `match.path: "x" is not valid`},
		"redirect": {func(r *routev3.Route, _ *routev3.RouteAction) {
			r.Action = &routev3.Route_Redirect{Redirect: &routev3.RedirectAction{}}
		}, "redirect: not supported, want route or direct_response"},
		"filters": {func(r *routev3.Route, _ *routev3.RouteAction) {
			r.TypedPerFilterConfig = map[string]*anypb.Any{"x": nil}
		}, `typed_per_filter_config[0].x: type "" is not supported, want HTTPFault, LocalRateLimit, or is_optional`},
		"mirror": {func(_ *routev3.Route, a *routev3.RouteAction) {
			a.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{{}}
		}, "route.request_mirror_policies[0].cluster: missing"},
		"answer": {func(r *routev3.Route, _ *routev3.RouteAction) {
			r.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 200}}
		}, "direct_response.status: 200 is not supported, want 400..599"},
		"empty answer": {func(r *routev3.Route, _ *routev3.RouteAction) {
			r.Action = &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{}}
		}, "direct_response.status: missing"},
		"priority": {func(_ *routev3.Route, a *routev3.RouteAction) { a.Priority = corev3.RoutingPriority_HIGH }, "route.priority: 1 is not supported"},
		"negative": {func(_ *routev3.Route, a *routev3.RouteAction) { a.Timeout = durationpb.New(-time.Second) }, "route.timeout: -1 s"},
		"word":     {func(_ *routev3.Route, a *routev3.RouteAction) { a.RetryPolicy.RetryOn = "reset,retriable-4xx" }, `retry_policy.retry_on: "retriable-4xx" is not supported, want one of 5xx, cancelled`},
		"code": {func(_ *routev3.Route, a *routev3.RouteAction) {
			a.RetryPolicy.RetriableStatusCodes = []uint32{503, 418}
		}, "retriable_status_codes: 418 is not supported, want 502"},
		"predicate": {func(_ *routev3.Route, a *routev3.RouteAction) { a.RetryPolicy.RetryHostPredicate[0].Name = "x" }, `retry_host_predicate[0]: "x" is not supported`},
		"back-off": {func(_ *routev3.Route, a *routev3.RouteAction) {
			a.RetryPolicy.RetryBackOff.MaxInterval = durationpb.New(time.Millisecond)
		}, "max_interval: 1ms is not valid"},
		"weights": {func(_ *routev3.Route, a *routev3.RouteAction) {
			a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: &routev3.WeightedCluster{}}
		}, "weighted_clusters.clusters: weights add up to 0"},
		"no cluster": {func(_ *routev3.Route, a *routev3.RouteAction) { a.ClusterSpecifier = nil }, "cluster_specifier: want exactly one"},
		"ours": {func(r *routev3.Route, _ *routev3.RouteAction) {
			r.Metadata = meshMetadata(t, map[string]any{"traceRatio": 2})
		}, "metadata.filter_metadata[meshd.io].traceRatio: 2 is not valid, want a number of 0 to 1"},
		"ours, odd": {func(r *routev3.Route, _ *routev3.RouteAction) {
			r.Metadata = meshMetadata(t, map[string]any{"vai": true})
		}, "filter_metadata[meshd.io].vai: not known, want one of service"},
		"ours, typed": {func(r *routev3.Route, _ *routev3.RouteAction) {
			r.Metadata = meshMetadata(t, map[string]any{"via": "yes"})
		}, `via: "yes" is not valid, want true or false`},
		"unknown field": {func(_ *routev3.Route, a *routev3.RouteAction) {
			a.ProtoReflect().SetUnknown(protowire.AppendVarint(protowire.AppendTag(nil, 99, protowire.VarintType), 1))
		}, "field 99 of envoy.config.route.v3.RouteAction: not known"},
	} {
		a := anAction()
		r := aRoute(a)
		c.change(r, a)
		_, err := DecodeRouteConfig(packed(t, aRouteConfig(aRoute(anAction()), r)))
		wantError(t, name, err, `route configuration "default/checkout:8080": virtual_hosts[0].routes[1].`, c.want)
	}
	for domain, want := range map[string]string{"a*b": "is not valid", "": "missing", "*": "given twice"} {
		rc := aRouteConfig(aRoute(anAction()))
		rc.VirtualHosts[0].Domains = []string{"*", domain}
		_, err := DecodeRouteConfig(packed(t, rc))
		wantError(t, domain, err, "virtual_hosts[0].domains[1]: ", want)
	}
}

func TestRefusedClusters(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*clusterv3.Cluster)
		want   string
	}{
		"static": {func(c *clusterv3.Cluster) {
			c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_STATIC}
		}, "type: 0 is not supported, want EDS"},
		"no eds":   {func(c *clusterv3.Cluster) { c.EdsClusterConfig = nil }, "eds_cluster_config: missing"},
		"eds else": {func(c *clusterv3.Cluster) { c.EdsClusterConfig.EdsConfig = &corev3.ConfigSource{} }, "eds_config: missing, want ads or self"},
		"provided": {func(c *clusterv3.Cluster) { c.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED }, "lb_policy: 6 is not supported, want ROUND_ROBIN, LEAST_REQUEST, RING_HASH, RANDOM or MAGLEV"},
		"timeout":  {func(c *clusterv3.Cluster) { c.ConnectTimeout = durationpb.New(0) }, "connect_timeout: 0s is not valid"},
		"tls":      {func(c *clusterv3.Cluster) { c.TransportSocket = &corev3.TransportSocket{Name: "tls"} }, "transport_socket: not supported"},
		"options": {func(c *clusterv3.Cluster) {
			c.TypedExtensionProtocolOptions = map[string]*anypb.Any{"k": {TypeUrl: "x"}}
		}, `typed_extension_protocol_options[0].k: type "x" is not supported`},
		"no protocol": {func(c *clusterv3.Cluster) {
			withOptions(t, c, &httpv3.HttpProtocolOptions{CommonHttpProtocolOptions: &corev3.HttpProtocolOptions{}})
		}, "upstream_protocol_options: missing, want explicit_http_config or use_downstream_protocol_config"},
		"nothing explicit": {func(c *clusterv3.Cluster) {
			o := httpOptions(t)
			o.GetExplicitHttpConfig().ProtocolConfig = nil
			withOptions(t, c, o)
		}, "explicit_http_config.protocol_config: missing"},
		"http3": {func(c *clusterv3.Cluster) {
			o := httpOptions(t)
			o.GetExplicitHttpConfig().ProtocolConfig = &httpv3.HttpProtocolOptions_ExplicitHttpConfig_Http3ProtocolOptions{}
			withOptions(t, c, o)
		}, "explicit_http_config.http3_protocol_options: not supported, want http_protocol_options or http2_protocol_options"},
		"alpn": {func(c *clusterv3.Cluster) {
			withOptions(t, c, &httpv3.HttpProtocolOptions{UpstreamProtocolOptions: &httpv3.HttpProtocolOptions_AutoConfig{}})
		}, "auto_config: not supported, want explicit_http_config or use_downstream_protocol_config"},
		"settings": {func(c *clusterv3.Cluster) {
			withOptions(t, c, http2(&corev3.Http2ProtocolOptions{CustomSettingsParameters: []*corev3.Http2ProtocolOptions_SettingsParameter{{}}}))
		}, "http2_protocol_options.custom_settings_parameters: not supported"},
		"metadata frames": {func(c *clusterv3.Cluster) {
			c.Http2ProtocolOptions = &corev3.Http2ProtocolOptions{AllowMetadata: true}
		}, "http2_protocol_options.allow_metadata: true is not supported, want false"},
		"selection": {func(c *clusterv3.Cluster) { c.ProtocolSelection = 2 }, "protocol_selection: 2 is not supported, want USE_CONFIGURED_PROTOCOL or"},
		"protocol":  {func(c *clusterv3.Cluster) { c.Metadata = meshMetadata(t, map[string]any{"protocol": "udp"}) }, `protocol: "udp" is not valid, want tcp`},
		"breaker": {func(c *clusterv3.Cluster) {
			c.Metadata = meshMetadata(t, map[string]any{"breaker": map[string]any{"openFor": 5}})
		}, `filter_metadata[meshd.io].breaker.openFor: 5 is not valid, want a duration such as "250ms"`},
		"balancer": {func(c *clusterv3.Cluster) { c.Metadata = meshMetadata(t, map[string]any{"balancer": "ring"}) }, `balancer: "ring" is not valid, want peak_ewma, least_request, round_robin`},
		"fractions": {func(c *clusterv3.Cluster) {
			c.Metadata = meshMetadata(t, map[string]any{"breaker": map[string]any{"minRequests": 1.5}})
		}, "want a whole number"},
	} {
		cl := aCluster()
		c.change(cl)
		_, err := DecodeCluster(packed(t, cl))
		wantError(t, name, err, `cluster "default/checkout:8080": `, c.want)
	}
}

func TestRefusedEndpoints(t *testing.T) {
	named := &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_EndpointName{EndpointName: "x"}}
	zeroWeight := anEndpoint("10.0.0.1", 80)
	zeroWeight.LoadBalancingWeight = wrapperspb.UInt32(0)
	udp := anEndpoint("10.0.0.1", 80)
	udp.GetEndpoint().Address.GetSocketAddress().Protocol = corev3.SocketAddress_UDP
	for name, c := range map[string]struct {
		cla  *endpointv3.ClusterLoadAssignment
		want string
	}{
		"host name":   {anAssignment(aLocality(0, anEndpoint("checkout.example", 80))), `endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address: "checkout.example" is not valid, want an IP address`},
		"any address": {anAssignment(aLocality(0, anEndpoint("0.0.0.0", 80))), "is not valid"},
		"no port":     {anAssignment(aLocality(0, anEndpoint("10.0.0.1", 0))), "port_value: 0 is not valid"},
		"twice":       {anAssignment(aLocality(0, anEndpoint("10.0.0.1", 80)), aLocality(1, anEndpoint("::ffff:10.0.0.1", 80))), "endpoints[1].lb_endpoints[0]: address 10.0.0.1:80 is given twice"},
		"gap":         {anAssignment(aLocality(0), aLocality(2)), "endpoints: priority 1 is missing"},
		"named":       {anAssignment(aLocality(0, named)), `endpoint_name: "x" is not supported, want endpoint`},
		"no address":  {anAssignment(aLocality(0, &endpointv3.LbEndpoint{})), "lb_endpoints[0].endpoint: missing"},
		"weight":      {anAssignment(aLocality(0, zeroWeight)), "load_balancing_weight: 0 is not valid"},
		"udp":         {anAssignment(aLocality(0, udp)), "protocol: 1 is not supported, want TCP"},
	} {
		_, err := DecodeEndpoints(packed(t, c.cla))
		wantError(t, name, err, `endpoints of "default/checkout:8080": `, c.want)
	}
}

func TestRefusedInstances(t *testing.T) {
	good := map[string]any{"id": "a-0", "service": "a", "servicePort": 80, "address": "10.0.0.1", "port": 81}
	for name, c := range map[string]struct {
		field string
		value any
		want  string
	}{
		"no id": {"id", nil, "instance.id: missing"}, "no service": {"service", "", "instance.service: missing"},
		"service port": {"servicePort", 70000, "instance.servicePort: 70000 is not valid"},
		"address":      {"address", "localhost", `instance.address: "localhost" is not valid`},
		"port":         {"port", nil, "instance.port: 0 is not valid"},
		"admin":        {"admin", "127.0.0.1", `instance.admin: "127.0.0.1" is not valid, want HOST:PORT`},
		"typo":         {"weigth", 1, "instance.weigth: not known"},
	} {
		fields := map[string]any{}
		for k, v := range good {
			fields[k] = v
		}
		fields[c.field] = c.value
		s, err := structpb.NewStruct(map[string]any{MetadataKey: map[string]any{"instance": fields}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = DecodeInstance(&corev3.Node{Id: "n", Metadata: s})
		wantError(t, name, err, `node "n": metadata[meshd.io].`, c.want)
	}
	for _, admin := range []string{
		":1", "h:0", "h:65536", "h:http", "h:-1", "h:1/x", "h/x:1", "a b:1", "h\n:1", "u@h:1", "[fe80::1%eth0]:1", strings.Repeat("h", maxAdmin) + ":1",
	} {
		s, err := structpb.NewStruct(map[string]any{MetadataKey: map[string]any{"client": map[string]any{"admin": admin}}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = DecodeInstance(&corev3.Node{Id: "n", Metadata: s})
		wantError(t, admin, err, `node "n": metadata[meshd.io].client.admin: "`, "is not valid, want HOST:PORT")
		if len(err.Error()) > 200 {
			t.Errorf("a long error: %v", err)
		}
	}
}

func TestMalformed(t *testing.T) {
	for _, b := range [][]byte{{0xff}, {0x0a}, {0x0a, 0x05, 'x'}, {0x08, 0x01}, {0x0a, 1, 0xff}} {
		for typ, decode := range decoders {
			if err := decode(&anypb.Any{TypeUrl: typ, Value: b}); err == nil {
				t.Errorf("%s accepted %x", typ, b)
			}
		}
	}
}
