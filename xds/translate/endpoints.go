package translate

import (
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshd/meshd/mesh"
)

// Endpoints is the ClusterLoadAssignment of a service: a locality for each
// priority, region and zone, in the order of b.Endpoints. Priorities are
// numbered without gaps, as xDS wants them. A locality
// weighs what those of its endpoints weigh that take new calls, so that gRPC,
// which chooses the locality first, spreads calls as if there were none.
func Endpoints(b mesh.Backend) *anypb.Any {
	var localities []*endpointv3.LocalityLbEndpoints
	var last *endpointv3.LocalityLbEndpoints
	var priority uint32
	for i := range b.Endpoints {
		e := &b.Endpoints[i]
		if i > 0 && e.Priority != b.Endpoints[i-1].Priority {
			last, priority = nil, priority+1
		}
		if last == nil || last.Locality.Region != e.Region || last.Locality.Zone != e.Zone {
			last = &endpointv3.LocalityLbEndpoints{
				Locality:            &corev3.Locality{Region: e.Region, Zone: e.Zone},
				Priority:            priority,
				LoadBalancingWeight: wrapperspb.UInt32(0),
			}
			localities = append(localities, last)
		}
		last.LbEndpoints = append(last.LbEndpoints, endpoint(e))
		if e.Health == mesh.Healthy {
			last.LoadBalancingWeight.Value += e.Weight
		}
	}
	for _, l := range localities {
		// gRPC passes over a locality without weight.
		l.LoadBalancingWeight.Value = max(l.LoadBalancingWeight.Value, 1)
	}
	return serialise(&endpointv3.ClusterLoadAssignment{ClusterName: b.Key.String(), Endpoints: localities})
}

func endpoint(e *mesh.Endpoint) *endpointv3.LbEndpoint {
	out := &endpointv3.LbEndpoint{
		HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address:       e.Addr.Addr().String(),
				PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(e.Addr.Port())},
			}}},
		}},
		HealthStatus:        corev3.HealthStatus_HEALTHY,
		LoadBalancingWeight: wrapperspb.UInt32(e.Weight),
	}
	if e.Health == mesh.Draining {
		out.HealthStatus = corev3.HealthStatus_DRAINING
	}
	fields := map[string]any{}
	if e.ID != "" {
		fields["id"] = e.ID
	}
	if e.Started > 0 {
		fields["startedAt"] = time.UnixMilli(e.Started).UTC().Format(time.RFC3339Nano)
	}
	if len(fields) > 0 {
		out.Metadata = metadata(fields)
	}
	return out
}
