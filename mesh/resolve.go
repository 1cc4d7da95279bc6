package mesh

import (
	"net/netip"
	"slices"
	"strings"
)

// maxAuthority is the length of the longest authority that can name a service:
// two labels, ".svc.cluster.local.", a colon and a port.
const maxAuthority = 63 + 1 + 63 + len(".svc.cluster.local.:65535")

// defaultPort is the port meant when a name has none, if the service has it.
const defaultPort = 80

// Resolve finds the service that an authority names: SERVICE,
// SERVICE.NAMESPACE, and this followed by .svc or .svc.cluster.local, in any
// case, with or without a trailing dot; or a virtual address of its, one of
// IPv6 in brackets. All with or without :PORT. A name without a namespace is
// looked up in clientNamespace, or "default" if that is empty. Without a port
// it means port 80 if the service has it, else its first. It is false if no
// service of the State is named so.
func (s *State) Resolve(authority, clientNamespace string) (ServiceKey, bool) {
	if len(authority) > maxAuthority {
		return ServiceKey{}, false
	}
	host, port, hasPort := cutPort(authority)
	k := ServiceKey{}
	if hasPort {
		var ok bool
		if k.Port, ok = parsePort(port); !ok {
			return ServiceKey{}, false
		}
	}
	name, ok := s.named(host, clientNamespace)
	if !ok {
		return ServiceKey{}, false
	}
	k.Namespace, k.Name = name.namespace, name.name
	svc := s.services[name]
	switch {
	case svc == nil || len(svc.ports) == 0:
		return ServiceKey{}, false
	case hasPort && !slices.Contains(svc.ports, k.Port):
		return ServiceKey{}, false
	case hasPort:
	case slices.Contains(svc.ports, defaultPort):
		k.Port = defaultPort
	default:
		k.Port = svc.ports[0]
	}
	return k, true
}

// cutPort divides an authority before its port; the brackets around an
// address of IPv6 stay.
func cutPort(authority string) (host, port string, hasPort bool) {
	from := 0
	if strings.HasPrefix(authority, "[") {
		from = max(strings.IndexByte(authority, ']'), 0)
	}
	i := strings.IndexByte(authority[from:], ':')
	if i < 0 {
		return authority, "", false
	}
	return authority[:from+i], authority[from+i+1:], true
}

// named is the service that a host stands for, which need not be there; false
// if it is no name of any.
func (s *State) named(host, clientNamespace string) (serviceName, bool) {
	if host != "" && (host[0] == '[' || host[0] >= '0' && host[0] <= '9') {
		if a, ok := parseHost(host); ok {
			name, known := s.addresses[a]
			return name, known
		}
	}
	name := serviceName{namespace: clientNamespace}
	parts := strings.SplitN(strings.ToLower(strings.TrimSuffix(host, ".")), ".", 3)
	if slices.Contains(parts, "") {
		return serviceName{}, false
	}
	name.name = parts[0]
	if len(parts) > 1 {
		name.namespace = parts[1]
	}
	if len(parts) > 2 && parts[2] != "svc" && parts[2] != "svc.cluster.local" {
		return serviceName{}, false
	}
	if name.namespace == "" {
		name.namespace = DefaultNamespace
	}
	return name, true
}

// parseHost reads an address of IPv4, or one of IPv6 in brackets.
func parseHost(host string) (netip.Addr, bool) {
	inner, v6 := strings.CutPrefix(host, "[")
	if v6 {
		if inner, v6 = strings.CutSuffix(inner, "]"); !v6 {
			return netip.Addr{}, false
		}
	}
	a, err := netip.ParseAddr(inner)
	return a, err == nil && a.Is4() != v6
}
