package resource

import (
	"math"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func slowStart(aggression, least float64) *clusterv3.Cluster_SlowStartConfig {
	return &clusterv3.Cluster_SlowStartConfig{
		SlowStartWindow: durationpb.New(30 * time.Second), Aggression: &corev3.RuntimeDouble{DefaultValue: aggression, RuntimeKey: "k"},
		MinWeightPercent: &typev3.Percent{Value: least},
	}
}

func zoneAware(enabled float64) *clusterv3.Cluster_CommonLbConfig {
	return &clusterv3.Cluster_CommonLbConfig{LocalityConfigSpecifier: &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig_{
		ZoneAwareLbConfig: &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig{
			RoutingEnabled: &typev3.Percent{Value: enabled}, MinClusterSize: wrapperspb.UInt64(9),
		},
	}}
}

func ring(least, most uint64) *clusterv3.Cluster_RingHashLbConfig_ {
	return &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{
		MinimumRingSize: wrapperspb.UInt64(least), MaximumRingSize: wrapperspb.UInt64(most), HashFunction: 1,
	}}
}

func table(n uint64) *clusterv3.Cluster_MaglevLbConfig_ {
	return &clusterv3.Cluster_MaglevLbConfig_{MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{TableSize: wrapperspb.UInt64(n)}}
}

func balanceFactor(n uint32) *clusterv3.Cluster_CommonLbConfig {
	return &clusterv3.Cluster_CommonLbConfig{ConsistentHashingLbConfig: &clusterv3.Cluster_CommonLbConfig_ConsistentHashingLbConfig{
		HashBalanceFactor: wrapperspb.UInt32(n), UseHostnameForHashing: true,
	}}
}

func TestBalancing(t *testing.T) {
	for name, c := range map[string]struct {
		change   func(*clusterv3.Cluster)
		balancer string
		want     func(*Balancing)
	}{
		"ring": {func(c *clusterv3.Cluster) {
			c.LbPolicy, c.LbConfig, c.CommonLbConfig = clusterv3.Cluster_RING_HASH, ring(2000, 4000), balanceFactor(150)
		}, "ring_hash", func(b *Balancing) { b.Ring, b.LoadFactor = RingSize{2000, 4000}, 1.5 }},
		"maglev": {func(c *clusterv3.Cluster) { c.LbPolicy, c.LbConfig = clusterv3.Cluster_MAGLEV, table(251) },
			"maglev", func(b *Balancing) { b.TableSize = 251 }},
		"random": {func(c *clusterv3.Cluster) { c.LbPolicy = clusterv3.Cluster_RANDOM }, "random", func(*Balancing) {}},
		"slow least request": {func(c *clusterv3.Cluster) {
			c.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{
				SlowStartConfig: slowStart(2, 20), ChoiceCount: wrapperspb.UInt32(3)}}
		}, "least_request", func(b *Balancing) { b.SlowStart = SlowStart{30 * time.Second, 2, 0.2} }},
		"slow round robin": {func(c *clusterv3.Cluster) {
			c.LbPolicy, c.LbConfig = clusterv3.Cluster_ROUND_ROBIN, &clusterv3.Cluster_RoundRobinLbConfig_{
				RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: slowStart(1, 0)}}
		}, "round_robin", func(b *Balancing) { b.SlowStart = SlowStart{30 * time.Second, 1, 0} }},
		"panic": {func(c *clusterv3.Cluster) {
			c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{Value: 12.5}}
		}, "least_request", func(b *Balancing) { b.PanicThreshold = 0.125 }},
		"zones":    {func(c *clusterv3.Cluster) { c.CommonLbConfig = zoneAware(100) }, "least_request", func(b *Balancing) { b.Zone.MinEndpoints = 9 }},
		"no zones": {func(c *clusterv3.Cluster) { c.CommonLbConfig = zoneAware(0) }, "least_request", func(b *Balancing) { b.Zone = ZoneAware{true, 9} }},
		"localities": {func(c *clusterv3.Cluster) {
			c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{LocalityConfigSpecifier: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig_{
				LocalityWeightedLbConfig: &clusterv3.Cluster_CommonLbConfig_LocalityWeightedLbConfig{}}}
		}, "least_request", func(b *Balancing) { b.ByLocality = true }},
		"ours": {func(c *clusterv3.Cluster) {
			c.Metadata = meshMetadata(t, map[string]any{"balancer": "weighted_round_robin", "subset": 20,
				"reports": map[string]any{"blackout": "5s", "expiration": "1m", "update": "2s", "errorPenalty": 3}})
		}, "weighted_round_robin", func(b *Balancing) {
			b.Subset, b.Reports = 20, Reports{5 * time.Second, time.Minute, 2 * time.Second, 3}
		}},
	} {
		cl := aCluster()
		c.change(cl)
		want := DefaultBalancing()
		c.want(&want)
		got, err := DecodeCluster(packed(t, cl))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got.Balancer != c.balancer || got.Balancing != want {
			t.Errorf("%s: %s %+v, want %s %+v", name, got.Balancer, got.Balancing, c.balancer, want)
		}
	}
}

func TestRefusedBalancing(t *testing.T) {
	for want, change := range map[string]func(*clusterv3.Cluster){
		"ring_hash_lb_config.minimum_ring_size: 8388609 is not valid, want 0..8388608":                             func(c *clusterv3.Cluster) { c.LbConfig = ring(8<<20+1, 8<<20) },
		"ring_hash_lb_config: minimum_ring_size is 5, want at most maximum_ring_size, which is 4":                  func(c *clusterv3.Cluster) { c.LbConfig = ring(5, 4) },
		"maglev_lb_config.table_size: 65536 is not valid, want a prime number":                                     func(c *clusterv3.Cluster) { c.LbConfig = table(65536) },
		"maglev_lb_config.table_size: 5000012 is not valid, want 2..5000011":                                       func(c *clusterv3.Cluster) { c.LbConfig = table(5000012) },
		"common_lb_config.consistent_hashing_lb_config.hash_balance_factor: 99 is not valid, want 100..4294967295": func(c *clusterv3.Cluster) { c.CommonLbConfig = balanceFactor(99) },
		"common_lb_config.zone_aware_lb_config.routing_enabled: 50 % is not supported, want 0 or 100":              func(c *clusterv3.Cluster) { c.CommonLbConfig = zoneAware(50) },
		"common_lb_config.zone_aware_lb_config.routing_enabled.value: NaN is not valid, want 0 to 100":             func(c *clusterv3.Cluster) { c.CommonLbConfig = zoneAware(math.NaN()) },
		"least_request_lb_config.slow_start_config.aggression.default_value: -1 is not valid, want a number above 0": func(c *clusterv3.Cluster) {
			c.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{SlowStartConfig: slowStart(-1, 1)}}
		},
		"filter_metadata[meshd.io].reports.update: 5 is not valid, want a duration": func(c *clusterv3.Cluster) {
			c.Metadata = meshMetadata(t, map[string]any{"reports": map[string]any{"update": 5}})
		},
	} {
		cl := aCluster()
		change(cl)
		_, err := DecodeCluster(packed(t, cl))
		wantError(t, want, err, want)
	}
	for want, e := range map[string]*endpointv3.ClusterLoadAssignment{
		"policy.overprovisioning_factor: 0 is not valid, want at least 1": {ClusterName: "a", Policy: &endpointv3.ClusterLoadAssignment_Policy{OverprovisioningFactor: wrapperspb.UInt32(0)}},
		`startedAt: "yesterday" is not valid, want a time such as`: {ClusterName: "a", Endpoints: []*endpointv3.LocalityLbEndpoints{aLocality(0, &endpointv3.LbEndpoint{
			HostIdentifier: anEndpoint("10.0.0.1", 1).HostIdentifier, Metadata: meshMetadata(t, map[string]any{"startedAt": "yesterday"})})}},
	} {
		_, err := DecodeEndpoints(packed(t, e))
		wantError(t, want, err, want)
	}
}

func TestOverprovisioning(t *testing.T) {
	a := anAssignment(aLocality(0, anEndpoint("10.0.0.1", 80)))
	a.Policy = &endpointv3.ClusterLoadAssignment_Policy{OverprovisioningFactor: wrapperspb.UInt32(175)}
	if got, err := DecodeEndpoints(packed(t, a)); err != nil || got.Overprovisioning != 1.75 {
		t.Errorf("%+v, %v", got, err)
	}
}

func byHeader(name string) *routev3.RouteAction_HashPolicy {
	return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Header_{
		Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: name}}}
}

func byCookie(c *routev3.RouteAction_HashPolicy_Cookie) *routev3.RouteAction_HashPolicy {
	return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_Cookie_{Cookie: c}, Terminal: true}
}

func bySource(on bool) *routev3.RouteAction_HashPolicy {
	return &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_ConnectionProperties_{
		ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: on}}}
}

func TestHashPolicies(t *testing.T) {
	a := anAction()
	a.HashPolicy = []*routev3.RouteAction_HashPolicy{
		byHeader("X-User"), byHeader(":path"),
		byCookie(&routev3.RouteAction_HashPolicy_Cookie{Name: "s", Ttl: durationpb.New(time.Hour), Path: "/"}),
		byCookie(&routev3.RouteAction_HashPolicy_Cookie{Name: "t"}), bySource(true),
		{PolicySpecifier: &routev3.RouteAction_HashPolicy_QueryParameter_{QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: "q"}}},
	}
	rc, err := DecodeRouteConfig(packed(t, aRouteConfig(aRoute(a))))
	if err != nil {
		t.Fatal(err)
	}
	equal(t, rc.VirtualHosts[0].Routes[0].Hash, []HashPolicy{
		{Header: "x-user"}, {Header: ":path"}, {Cookie: "s", Generate: true, CookieTTL: time.Hour, CookiePath: "/", Terminal: true},
		{Cookie: "t", Terminal: true}, {SourceAddress: true}, {Query: "q"},
	})
}

func TestRefusedHashPolicies(t *testing.T) {
	rewritten := byHeader("a")
	rewritten.GetHeader().RegexRewrite = &matcherv3.RegexMatchAndSubstitute{}
	state := &routev3.RouteAction_HashPolicy{PolicySpecifier: &routev3.RouteAction_HashPolicy_FilterState_{FilterState: &routev3.RouteAction_HashPolicy_FilterState{Key: "k"}}}
	for want, p := range map[string]*routev3.RouteAction_HashPolicy{
		`header.header_name: ":method" is not supported, want the name of a header, or :path`:            byHeader(":method"),
		`policy_specifier: want exactly one of header, cookie, connection_properties or query_parameter`: bySource(false),
		`header.regex_rewrite: not supported`:                                                            rewritten,
		`filter_state: not supported, want header, cookie, connection_properties or query_parameter`:     state,
		`policy_specifier: want exactly`:                                                                 {},
		`cookie.ttl: -1 s`:                                                                               byCookie(&routev3.RouteAction_HashPolicy_Cookie{Name: "s", Ttl: durationpb.New(-time.Second)}),
	} {
		a := anAction()
		a.HashPolicy = []*routev3.RouteAction_HashPolicy{byHeader("x"), p}
		_, err := DecodeRouteConfig(packed(t, aRouteConfig(aRoute(a))))
		wantError(t, want, err, "route.hash_policy[1].", want)
	}
}
