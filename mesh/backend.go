package mesh

import (
	"cmp"
	"net/netip"
	"slices"
)

// A Backend is one port of a service as its callers need it: how to call it
// and where its instances are. It is immutable.
type Backend struct {
	Key    ServiceKey
	Policy Policy
	// Routes are the ways that calls go, the first that matches being a call's;
	// what none matches is answered with 404. None: all go to Endpoints.
	Routes []Route
	// Endpoints are in order of priority, locality and address, each address once.
	Endpoints []Endpoint
	// SessionKey signs the cookies of sessions; whoever has a secret sets it.
	// Without one there are no sessions.
	SessionKey string
}

// An Endpoint is where an instance takes calls.
type Endpoint struct {
	Addr   netip.AddrPort
	ID     string // the instance's name; may be empty
	Weight uint32 // at least 1
	// Priority 0 is the most preferred.
	Priority uint32
	Region   string
	Zone     string
	Health   Health // Healthy or Draining
	// Started is when the instance began to take calls, in ms since 1970;
	// 0 is not known.
	Started int64
}

// Service returns one port of a service; false if callers may not name it.
// Endpoints that are not ready are left out. Where an instance has registered
// the address that an EndpointSlice has, what it says of itself counts.
func (s *State) Service(k ServiceKey) (Backend, bool) {
	if !s.Has(k) {
		return Backend{}, false
	}
	svc := s.services[serviceName{k.Namespace, k.Name}]
	b := Backend{Key: k, Policy: s.policy(k, svc)}
	b.Routes = s.routesOf(k, svc, &b.Policy)
	claimed := make(map[netip.AddrPort]bool, len(svc.instances))
	for _, i := range svc.instances {
		addr := i.AddrPort()
		if i.ServicePort != k.Port || claimed[addr] && !i.takesCalls() {
			continue
		}
		if claimed[addr] {
			// The address has been taken over from an instance that ended.
			b.Endpoints = slices.DeleteFunc(b.Endpoints, func(e Endpoint) bool { return e.Addr == addr })
		}
		claimed[addr] = true
		if i.takesCalls() {
			b.Endpoints = append(b.Endpoints, Endpoint{Addr: addr, ID: i.ID, Weight: i.Weight, Region: i.Region, Zone: i.Zone, Started: i.ReadySince})
		}
	}
	b.Endpoints = append(b.Endpoints, svc.sliceEndpoints(k.Port, claimed)...)
	slices.SortFunc(b.Endpoints, func(a, b Endpoint) int {
		return cmp.Or(cmp.Compare(a.Priority, b.Priority), cmp.Compare(a.Region, b.Region), cmp.Compare(a.Zone, b.Zone), a.Addr.Compare(b.Addr))
	})
	return b, true
}

func (i *Instance) takesCalls() bool { return i.Ready && !i.Draining }

// sliceEndpoints returns the endpoints of a port of svc from its
// EndpointSlices, without the addresses that are claimed. An endpoint may be
// in two slices for a while (Kubernetes says so); the healthier counts.
func (svc *service) sliceEndpoints(port uint16, claimed map[netip.AddrPort]bool) []Endpoint {
	if svc.object == nil {
		return nil
	}
	i := svc.object.tcpPort(port)
	if i < 0 {
		return nil
	}
	var out []Endpoint
	at := make(map[netip.AddrPort]int)
	for _, s := range svc.slices {
		number, ok := svc.object.Ports[i].in(s)
		if !ok {
			continue
		}
		for _, e := range s.Endpoints {
			addr := netip.AddrPortFrom(e.Addr, number)
			if e.Health == Unready || claimed[addr] {
				continue
			}
			endpoint := Endpoint{Addr: addr, ID: e.ID, Weight: s.Weight, Priority: s.Priority, Zone: e.Zone, Health: e.Health}
			if j, double := at[addr]; !double {
				at[addr] = len(out)
				out = append(out, endpoint)
			} else if e.Health < out[j].Health {
				out[j] = endpoint
			}
		}
	}
	return out
}

// in returns the number that instances in slice s listen on for p: the slice's
// port of p's name, as Kubernetes pairs them. For slices written by hand it is
// else the port that targetPort names or numbers, or the one port of a slice
// that says "all ports".
func (p *ServicePort) in(s *EndpointSlice) (number uint16, ok bool) {
	target := cmp.Or(p.TargetPort.Number, p.Port)
	var byTarget bool
	for _, sp := range s.Ports {
		switch {
		case sp.Protocol != "TCP":
		case sp.Name == p.Name:
			return cmp.Or(sp.Port, target), true
		case p.TargetPort.Name != "" && sp.Name == p.TargetPort.Name && sp.Port != 0:
			number, ok = sp.Port, true
		case p.TargetPort.Name == "" && (sp.Port == target || sp.Port == 0) && sp.Name == "":
			byTarget = true
		}
	}
	if !ok && byTarget {
		return target, true
	}
	return number, ok
}
