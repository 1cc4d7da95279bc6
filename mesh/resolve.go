package mesh

import (
	"slices"
	"strings"
)

// maxAuthority is the length of the longest authority that can name a service:
// two labels, ".svc.cluster.local.", a colon and a port.
const maxAuthority = 63 + 1 + 63 + len(".svc.cluster.local.:65535")

// defaultPort is the port meant when a name has none, if the service has it.
const defaultPort = 80

// Resolve finds the service that an authority names: SERVICE,
// SERVICE.NAMESPACE, and this followed by .svc or .svc.cluster.local, with or
// without :PORT, in any case, with or without a trailing dot. A name without a
// namespace is looked up in clientNamespace, or "default" if that is empty.
// Without a port it means port 80 if the service has it, else its first. It is
// false if no service of the State is named so.
func (s *State) Resolve(authority, clientNamespace string) (ServiceKey, bool) {
	if len(authority) > maxAuthority {
		return ServiceKey{}, false
	}
	host, port, hasPort := strings.Cut(authority, ":")
	k := ServiceKey{Namespace: clientNamespace}
	if hasPort {
		var ok bool
		if k.Port, ok = parsePort(port); !ok {
			return ServiceKey{}, false
		}
	}
	parts := strings.SplitN(strings.ToLower(strings.TrimSuffix(host, ".")), ".", 3)
	if slices.Contains(parts, "") {
		return ServiceKey{}, false
	}
	k.Name = parts[0]
	if len(parts) > 1 {
		k.Namespace = parts[1]
	}
	if len(parts) > 2 && parts[2] != "svc" && parts[2] != "svc.cluster.local" {
		return ServiceKey{}, false
	}
	if k.Namespace == "" {
		k.Namespace = DefaultNamespace
	}
	svc := s.services[serviceName{k.Namespace, k.Name}]
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
