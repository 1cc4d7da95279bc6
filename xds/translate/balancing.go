package translate

import (
	"math"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshd/meshd/mesh"
)

// lbPolicies are the standard policies, or what comes nearest to ours.
var lbPolicies = map[string]clusterv3.Cluster_LbPolicy{
	"peak_ewma":            clusterv3.Cluster_LEAST_REQUEST,
	"least_request":        clusterv3.Cluster_LEAST_REQUEST,
	"round_robin":          clusterv3.Cluster_ROUND_ROBIN,
	"weighted_round_robin": clusterv3.Cluster_ROUND_ROBIN,
	"random":               clusterv3.Cluster_RANDOM,
	"ring_hash":            clusterv3.Cluster_RING_HASH,
	"maglev":               clusterv3.Cluster_MAGLEV,
	"hcl":                  clusterv3.Cluster_LEAST_REQUEST,
}

// balance sets the standard fields that say how a cluster balances. Each
// policy has its own, which is where slow start is too; Envoy and gRPC know
// none for RANDOM.
func balance(c *clusterv3.Cluster, p *mesh.Policy) {
	b := &p.Balancing
	c.LbPolicy = lbPolicies[p.Balancer]
	c.CommonLbConfig = commonBalancing(p)
	slow := slowStart(&b.SlowStart)
	switch c.LbPolicy {
	case clusterv3.Cluster_RING_HASH:
		c.LbConfig = &clusterv3.Cluster_RingHashLbConfig_{RingHashLbConfig: &clusterv3.Cluster_RingHashLbConfig{
			MinimumRingSize: wrapperspb.UInt64(uint64(b.Hash.RingMin)),
			MaximumRingSize: wrapperspb.UInt64(uint64(b.Hash.RingMax)),
		}}
	case clusterv3.Cluster_MAGLEV:
		c.LbConfig = &clusterv3.Cluster_MaglevLbConfig_{MaglevLbConfig: &clusterv3.Cluster_MaglevLbConfig{
			TableSize: wrapperspb.UInt64(uint64(b.Hash.TableSize)),
		}}
	case clusterv3.Cluster_LEAST_REQUEST:
		if slow != nil {
			c.LbConfig = &clusterv3.Cluster_LeastRequestLbConfig_{
				LeastRequestLbConfig: &clusterv3.Cluster_LeastRequestLbConfig{SlowStartConfig: slow},
			}
		}
	case clusterv3.Cluster_ROUND_ROBIN:
		if slow != nil {
			c.LbConfig = &clusterv3.Cluster_RoundRobinLbConfig_{
				RoundRobinLbConfig: &clusterv3.Cluster_RoundRobinLbConfig{SlowStartConfig: slow},
			}
		}
	}
}

func commonBalancing(p *mesh.Policy) *clusterv3.Cluster_CommonLbConfig {
	b := &p.Balancing
	enabled := 0.0
	if b.Locality.ZoneAware {
		enabled = 100
	}
	common := &clusterv3.Cluster_CommonLbConfig{
		HealthyPanicThreshold: percent(b.PanicThreshold),
		LocalityConfigSpecifier: &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig_{
			ZoneAwareLbConfig: &clusterv3.Cluster_CommonLbConfig_ZoneAwareLbConfig{
				RoutingEnabled: &typev3.Percent{Value: enabled},
				MinClusterSize: wrapperspb.UInt64(uint64(b.Locality.MinEndpoints)),
			},
		},
	}
	if mesh.Hashes(p.Balancer) && b.Hash.LoadFactor > 0 {
		common.ConsistentHashingLbConfig = &clusterv3.Cluster_CommonLbConfig_ConsistentHashingLbConfig{
			HashBalanceFactor: wrapperspb.UInt32(uint32(math.Round(100 * b.Hash.LoadFactor))),
		}
	}
	return common
}

// percent rounds, so that 0.07 is 7 and not 7.000000000000001.
func percent(share float64) *typev3.Percent {
	return &typev3.Percent{Value: math.Round(share*1e9) / 1e7}
}

func slowStart(s *mesh.SlowStart) *clusterv3.Cluster_SlowStartConfig {
	if s.Window == 0 {
		return nil
	}
	return &clusterv3.Cluster_SlowStartConfig{
		SlowStartWindow:  durationpb.New(s.Window),
		Aggression:       &corev3.RuntimeDouble{DefaultValue: s.Aggression, RuntimeKey: "meshd.slow_start.aggression"},
		MinWeightPercent: percent(s.MinWeight),
	}
}

// hashPolicies are what of a call is hashed, where that counts.
func hashPolicies(p *mesh.Policy) []*routev3.RouteAction_HashPolicy {
	if !mesh.Hashes(p.Balancer) {
		return nil
	}
	var out []*routev3.RouteAction_HashPolicy
	for _, s := range p.Balancing.Hash.By {
		h := &routev3.RouteAction_HashPolicy{Terminal: s.Terminal}
		switch {
		case s.Cookie != "":
			c := &routev3.RouteAction_HashPolicy_Cookie{Name: s.Cookie, Path: s.CookiePath}
			if s.Generate {
				c.Ttl = durationpb.New(s.TTL)
			}
			h.PolicySpecifier = &routev3.RouteAction_HashPolicy_Cookie_{Cookie: c}
		case s.Query != "":
			h.PolicySpecifier = &routev3.RouteAction_HashPolicy_QueryParameter_{
				QueryParameter: &routev3.RouteAction_HashPolicy_QueryParameter{Name: s.Query},
			}
		case s.SourceAddress:
			h.PolicySpecifier = &routev3.RouteAction_HashPolicy_ConnectionProperties_{
				ConnectionProperties: &routev3.RouteAction_HashPolicy_ConnectionProperties{SourceIp: true},
			}
		default:
			name := s.Header
			if s.Path {
				name = ":path"
			}
			h.PolicySpecifier = &routev3.RouteAction_HashPolicy_Header_{
				Header: &routev3.RouteAction_HashPolicy_Header{HeaderName: name},
			}
		}
		out = append(out, h)
	}
	return out
}
