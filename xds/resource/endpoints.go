package resource

import (
	"errors"
	"fmt"
	"math"
	"net/netip"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
)

var assignmentFields = message{"envoy.config.endpoint.v3.ClusterLoadAssignment", map[protowire.Number]field{
	1: {"cluster_name", text, ""}, 2: {"endpoints", msgs, ""}, 4: {"policy", msg, ""},
	5: {"named_endpoints", deny, "endpoints"},
}}

var assignmentPolicyFields = message{"envoy.config.endpoint.v3.ClusterLoadAssignment.Policy", map[protowire.Number]field{
	2: {"drop_overloads", deny, ""}, 6: {"weighted_priority_health", off, ""},
	3: {"overprovisioning_factor", msg, ""}, 4: {"endpoint_stale_after", skip, ""}, // what is known stays in force
}}

var localityEndpointsFields = message{"envoy.config.endpoint.v3.LocalityLbEndpoints", map[protowire.Number]field{
	1: {"locality", msg, ""}, 2: {"lb_endpoints", msgs, ""}, 5: {"priority", num, ""},
	7: {"load_balancer_endpoints", deny, "lb_endpoints"}, 8: {"leds_cluster_locality_config", deny, "lb_endpoints"},
	3: {"load_balancing_weight", msg, ""}, 6: {"proximity", skip, ""}, 9: {"metadata", skip, ""},
}}

var localityFields = message{"envoy.config.core.v3.Locality", map[protowire.Number]field{
	1: {"region", text, ""}, 2: {"zone", text, ""}, 3: {"sub_zone", skip, ""},
}}

var lbEndpointFields = message{"envoy.config.endpoint.v3.LbEndpoint", map[protowire.Number]field{
	1: {"endpoint", msg, ""}, 2: {"health_status", num, ""}, 3: {"metadata", msg, ""},
	4: {"load_balancing_weight", msg, ""}, 5: {"endpoint_name", denyText, "endpoint"},
}}

var endpointFields = message{"envoy.config.endpoint.v3.Endpoint", map[protowire.Number]field{
	1: {"address", msg, ""}, 4: {"additional_addresses", deny, "address"},
	2: {"health_check_config", skip, ""}, 3: {"hostname", skip, ""}, 5: {"observability_name", skip, ""},
}}

var addressFields = message{"envoy.config.core.v3.Address", map[protowire.Number]field{
	1: {"socket_address", msg, ""}, 2: {"pipe", deny, "socket_address"},
	3: {"envoy_internal_address", deny, "socket_address"},
}}

var socketAddressFields = message{"envoy.config.core.v3.SocketAddress", map[protowire.Number]field{
	1: {"protocol", zero, "TCP"}, 2: {"address", text, ""}, 3: {"port_value", num, ""},
	4: {"named_port", denyText, "port_value"}, 5: {"resolver_name", denyText, ""},
	6: {"ipv4_compat", off, ""}, 7: {"network_namespace_filepath", denyText, ""},
}}

// MaxEndpoints of one cluster.
const MaxEndpoints = 100_000

// DecodeEndpoints reads a ClusterLoadAssignment: IP addresses with ports, each
// once, in priorities without a gap from 0. The error names the cluster, the
// field and the value.
func DecodeEndpoints(a *anypb.Any) (*Endpoints, error) {
	name, b, err := open(a, EndpointsType)
	if err != nil {
		return nil, err
	}
	e := &Endpoints{Cluster: name}
	if err := e.decode(b); err != nil {
		return nil, fmt.Errorf("endpoints of %q: %w", name, err)
	}
	return e, nil
}

func (e *Endpoints) decode(b []byte) error {
	if e.Cluster == "" {
		return in("cluster_name", errMissing)
	}
	taken := map[netip.AddrPort]bool{}
	priorities := map[uint32]bool{}
	var weight uint64
	err := assignmentFields.walk(b, func(n protowire.Number, v value) error {
		switch n {
		case 2:
			from := len(e.Endpoints)
			priority, err := e.locality(v.b, taken)
			if err != nil {
				return err
			}
			priorities[priority] = true
			for _, ep := range e.Endpoints[from:] {
				weight += uint64(ep.Weight)
			}
		case 4:
			return assignmentPolicyFields.walk(v.b, func(_ protowire.Number, v value) error {
				factor, err := wrapped32(v.b)
				if err == nil && factor == 0 {
					err = errors.New("0 is not valid, want at least 1")
				}
				e.Overprovisioning = float64(factor) / 100
				return err
			})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if weight > math.MaxUint32 {
		return in("endpoints", fmt.Errorf("weights add up to %d, want at most %d", weight, uint32(math.MaxUint32)))
	}
	for p := range uint32(len(priorities)) {
		if !priorities[p] {
			return in("endpoints", fmt.Errorf("priority %d is missing, want priorities without a gap from 0", p))
		}
	}
	return nil
}

// locality appends the endpoints of one LocalityLbEndpoints.
func (e *Endpoints) locality(b []byte, taken map[netip.AddrPort]bool) (priority uint32, err error) {
	from := len(e.Endpoints)
	var region, zone string
	var weight uint32
	err = localityEndpointsFields.walk(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1:
			err = localityFields.walk(v.b, func(n protowire.Number, v value) error {
				if n == 1 {
					region = string(v.b)
				} else {
					zone = string(v.b)
				}
				return nil
			})
		case 2:
			ep := Endpoint{Weight: 1}
			if err := ep.decode(v.b); err != nil {
				return err
			}
			if taken[ep.Addr] {
				return fmt.Errorf("address %v is given twice", ep.Addr)
			}
			if len(taken) == MaxEndpoints {
				return fmt.Errorf("more than %d endpoints", MaxEndpoints)
			}
			taken[ep.Addr] = true
			e.Endpoints = append(e.Endpoints, ep)
		case 3:
			weight, err = wrapped32(v.b)
		case 5:
			if v.n > 128 {
				return fmt.Errorf("%d is not valid, want 0..128", v.n)
			}
			priority = uint32(v.n)
		}
		return err
	})
	for i := range e.Endpoints[from:] {
		ep := &e.Endpoints[from+i]
		ep.Region, ep.Zone, ep.Priority, ep.LocalityWeight = region, zone, priority, weight
	}
	return priority, err
}

// healthOf is envoy.config.core.v3.HealthStatus by number.
var healthOf = [...]Health{0: Healthy, 1: Healthy, 2: Unhealthy, 3: Draining, 4: Unhealthy, 5: Healthy}

func (ep *Endpoint) decode(b []byte) error {
	found := false
	err := lbEndpointFields.walk(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1:
			found = true
			err = endpointFields.walk(v.b, func(_ protowire.Number, v value) error { return ep.address(v.b) })
		case 2:
			if v.n >= uint64(len(healthOf)) {
				return fmt.Errorf("%d is not valid, want 0..%d", v.n, len(healthOf)-1)
			}
			ep.Health = healthOf[v.n]
		case 3:
			var d *dict
			if d, err = metadata(v.b); err != nil {
				return err
			}
			d.text("id", &ep.ID)
			d.moment("startedAt", &ep.Started)
			err = ours(d.done())
		case 4:
			if ep.Weight, err = wrapped32(v.b); err == nil && ep.Weight == 0 {
				err = errors.New("0 is not valid, want at least 1")
			}
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case !found:
		return in("endpoint", errMissing)
	case !ep.Addr.IsValid():
		return in("endpoint.address", errMissing)
	}
	return nil
}

func (ep *Endpoint) address(b []byte) error {
	return addressFields.walk(b, func(_ protowire.Number, v value) error {
		var text string
		var port uint64
		err := socketAddressFields.walk(v.b, func(n protowire.Number, v value) error {
			if n == 2 {
				text = string(v.b)
			} else {
				port = v.n
			}
			return nil
		})
		if err != nil {
			return err
		}
		ip, err := netip.ParseAddr(text)
		switch {
		case err != nil || ip.IsUnspecified() || ip.IsMulticast():
			return in("address", fmt.Errorf("%q is not valid, want an IP address", text))
		case port == 0 || port > math.MaxUint16:
			return in("port_value", fmt.Errorf("%d is not valid, want 1..65535", port))
		}
		ep.Addr = netip.AddrPortFrom(ip.Unmap(), uint16(port))
		return nil
	})
}
