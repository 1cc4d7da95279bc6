package translate

import (
	"math"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshd/meshd/mesh"
)

// Cluster is the Cluster of a service: its endpoints by EDS over the same
// stream.
func Cluster(b mesh.Backend) *anypb.Any {
	p := &b.Policy
	fields := map[string]any{
		"balancer": p.Balancer,
		"breaker": map[string]any{
			"disabled":            p.Breaker.Disabled,
			"consecutiveFailures": p.Breaker.ConsecutiveFailures,
			"errorRatio":          p.Breaker.ErrorRatio,
			"minRequests":         p.Breaker.MinRequests,
			"window":              p.Breaker.Window.String(),
			"openFor":             p.Breaker.OpenFor.String(),
			"halfOpenRequests":    p.Breaker.HalfOpenRequests,
		},
		"budget": map[string]any{
			"ratio":        p.Retry.Budget.Ratio,
			"minPerSecond": p.Retry.Budget.MinPerSecond,
		},
		"idleTimeout": p.Timeout.Idle.String(),
	}
	overload(fields, p)
	if p.Protocol == mesh.ProtocolTCP {
		fields["protocol"] = "tcp"
	}
	if p.Balancing.Subset > 0 {
		fields["subset"] = p.Balancing.Subset
	}
	if r := &p.Balancing.Reports; p.Balancer == "weighted_round_robin" {
		fields["reports"] = map[string]any{
			"blackout": r.Blackout.String(), "expiration": r.Expiration.String(),
			"update": r.Update.String(), "errorPenalty": r.ErrorPenalty,
		}
	}
	c := &clusterv3.Cluster{
		Name:                          b.Key.String(),
		ClusterDiscoveryType:          &clusterv3.Cluster_Type{Type: clusterv3.Cluster_EDS},
		EdsClusterConfig:              &clusterv3.Cluster_EdsClusterConfig{EdsConfig: ads()},
		ConnectTimeout:                durationpb.New(p.Timeout.Connect),
		CircuitBreakers:               circuitBreakers(p),
		OutlierDetection:              outlier(&p.Outlier),
		HealthChecks:                  healthChecks(&p.Check, p.Protocol),
		TypedExtensionProtocolOptions: protocolOptions(p.Protocol),
		Metadata:                      metadata(fields),
	}
	balance(c, p)
	return serialise(c)
}

// overload are our fields on a Cluster that say what becomes of calls that it
// cannot take now.
func overload(fields map[string]any, p *mesh.Policy) {
	if h := &p.Hold; h.Calls > 0 {
		hold := map[string]any{"calls": h.Calls, "wait": h.Wait.String()}
		if h.Scaled {
			hold["scaled"] = true
		}
		fields["hold"] = hold
	}
	if a := &p.Admission; *a != (mesh.Admission{}) {
		fields["admission"] = map[string]any{
			"disabled": a.Disabled, "min": a.Min, "max": a.Max, "queue": a.Queue, "maxWait": a.MaxWait.String(),
		}
	}
	if p.Limits.SharedRequests > 0 {
		fields["sharedRequests"] = p.Limits.SharedRequests
	}
	if o := &p.Outlier; o.LatencyFactor > 0 && !o.Disabled {
		fields["outlier"] = map[string]any{"latencyFactor": o.LatencyFactor}
	}
}

// circuitBreakers are the caps. Connections are counted by endpoint, which is
// per_host_thresholds; the same cap by cluster is lifted. The retry budget is
// as near as Envoy comes to ours, which is in our metadata: its floor is of
// retries at a time, not a second.
func circuitBreakers(p *mesh.Policy) *clusterv3.CircuitBreakers {
	return &clusterv3.CircuitBreakers{
		Thresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections:     limit(0),
			MaxPendingRequests: limit(p.Limits.Pending),
			MaxRequests:        limit(p.Limits.Requests),
			RetryBudget: &clusterv3.CircuitBreakers_Thresholds_RetryBudget{
				BudgetPercent:       &typev3.Percent{Value: p.Retry.Budget.Ratio * 100},
				MinRetryConcurrency: wrapperspb.UInt32(uint32(math.Ceil(p.Retry.Budget.MinPerSecond))),
			},
		}},
		PerHostThresholds: []*clusterv3.CircuitBreakers_Thresholds{{
			MaxConnections: limit(p.Limits.Connections),
		}},
	}
}

// limit says "none" by the largest number: absent would be Envoy's 1024, and 0
// would let nothing through.
func limit(n uint32) *wrapperspb.UInt32Value {
	if n == 0 {
		n = math.MaxUint32
	}
	return wrapperspb.UInt32(n)
}
