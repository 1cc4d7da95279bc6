package mesh

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"
)

// KeepFor is how long a service that nothing names any longer stays known,
// without endpoints, so that its callers see it empty and not unknown.
const KeepFor = 60 * time.Second

// A State is an immutable view of the mesh: which services there are, how they
// are called and where their instances are. It may be read from any goroutine.
//
// Build only sorts its input by service; a service's endpoints are worked out
// when Service asks for it, since most callers ask for a few.
type State struct {
	objects  []Object
	problems []error
	services map[serviceName]*service
	// addresses are the virtual ones; an address goes with its Service object.
	addresses map[netip.Addr]serviceName
	policies  map[ServiceKey]*TrafficPolicy // Port 0: all ports
	routes    map[ServiceKey][]Object       // HTTPRoutes and GRPCRoutes; Port 0: all ports
	gone      map[ServiceKey]time.Time      // when what named the service went
}

// A serviceName is a ServiceKey without the port.
type serviceName struct{ namespace, name string }

// A service gathers what names one service.
type service struct {
	object    *Service // nil when only instances name it
	slices    []*EndpointSlice
	instances []*Instance
	// ports are those that callers may name: the object's in its order, then
	// the instances' and those that are gone in ascending order.
	ports []uint16
}

// Build makes a State of objects, such as Parse returns, and of registered
// instances that are valid. Of two objects with the same key the first counts.
// prev, which may be nil, is the State before it, from which services live on
// for KeepFor. The State keeps references to its arguments; nobody may change
// them afterwards.
func Build(prev *State, now time.Time, objects []Object, instances []Instance) *State {
	s := &State{
		services:  make(map[serviceName]*service),
		addresses: make(map[netip.Addr]serviceName),
		policies:  make(map[ServiceKey]*TrafficPolicy),
		routes:    make(map[ServiceKey][]Object),
		gone:      make(map[ServiceKey]time.Time),
	}
	s.objects = s.distinct(objects)
	var policies []*TrafficPolicy
	var routes []Object
	for _, o := range s.objects {
		switch o := o.(type) {
		case *Service:
			svc := s.service(o.Namespace, o.Name)
			svc.object = o
			s.address(o)
			for _, p := range o.Ports {
				if p.Protocol == "TCP" {
					svc.ports = append(svc.ports, p.Port)
				}
			}
		case *EndpointSlice:
			svc := s.service(o.Namespace, o.Service)
			svc.slices = append(svc.slices, o)
		case *TrafficPolicy:
			policies = append(policies, o)
		case *HTTPRoute, *GRPCRoute:
			routes = append(routes, o)
		}
	}
	s.assign(policies)
	further := make(map[ServiceKey]bool)
	for i := range instances {
		inst := &instances[i]
		svc := s.service(inst.Namespace, inst.Service)
		svc.instances = append(svc.instances, inst)
		further[inst.Key()] = true
	}
	s.addPorts(further)
	if prev != nil {
		s.addPorts(s.keep(prev, now))
	}
	s.attach(routes)
	for _, p := range policies {
		s.checkable(p)
	}
	return s
}

// distinct leaves out objects whose key an earlier one has.
func (s *State) distinct(objects []Object) []Object {
	first := make(map[Key]*Meta, len(objects))
	out := make([]Object, 0, len(objects))
	for _, o := range objects {
		m := o.Head()
		if f, ok := first[m.Key]; ok {
			s.problems = append(s.problems, &Error{
				File: m.File, Line: m.Line, Object: m.Key,
				Problem: "is in " + f.File + ":" + strconv.Itoa(f.Line) + " too, which counts: accepted is each object once",
			})
			continue
		}
		first[m.Key] = m
		out = append(out, o)
	}
	return out
}

// assign gives each policy its targets. Of two with the same target the one
// whose name is first in lexical order has it.
func (s *State) assign(policies []*TrafficPolicy) {
	slices.SortFunc(policies, func(a, b *TrafficPolicy) int { return a.Key.Compare(b.Key) })
	for _, p := range policies {
		for i, t := range p.Targets {
			key := ServiceKey{Namespace: p.Namespace, Name: t.Name, Port: t.Port}
			has, taken := s.policies[key]
			if !taken {
				s.policies[key] = p
				continue
			}
			target := "Service " + t.Name
			if t.Port != 0 {
				target += " port " + strconv.Itoa(int(t.Port))
			}
			s.problems = append(s.problems, &Error{
				File: p.File, Line: p.Line, Object: p.Key, Field: "spec.targetRefs[" + strconv.Itoa(i) + "]",
				Problem: target + " has a policy, TrafficPolicy " + has.Name + ", whose name is first in lexical order: accepted is one policy for a target",
			})
		}
	}
}

// service returns the entry of a service, made if need be.
func (s *State) service(namespace, name string) *service {
	n := serviceName{namespace, name}
	svc := s.services[n]
	if svc == nil {
		svc = new(service)
		s.services[n] = svc
	}
	return svc
}

// addPorts makes further ports known.
func (s *State) addPorts(keys map[ServiceKey]bool) {
	for _, k := range slices.SortedFunc(maps.Keys(keys), ServiceKey.Compare) {
		svc := s.service(k.Namespace, k.Name)
		if !slices.Contains(svc.ports, k.Port) {
			svc.ports = append(svc.ports, k.Port)
		}
	}
}

// keep notes in gone what prev knew, s does not, and is not yet to be
// forgotten; it returns those.
func (s *State) keep(prev *State, now time.Time) map[ServiceKey]bool {
	kept := make(map[ServiceKey]bool)
	for name, svc := range prev.services {
		for _, port := range svc.ports {
			k := ServiceKey{Namespace: name.namespace, Name: name.name, Port: port}
			if s.Has(k) {
				continue
			}
			since, was := prev.gone[k]
			if !was {
				since = now
			}
			if now.Sub(since) < KeepFor {
				s.gone[k] = since
				kept[k] = true
			}
		}
	}
	return kept
}

// Expires is when a State should be built again because a service is then to
// be forgotten; false if none is.
func (s *State) Expires() (at time.Time, ok bool) {
	for _, since := range s.gone {
		if t := since.Add(KeepFor); !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	return at, ok
}

// Objects are those that count, in the order given to Build.
func (s *State) Objects() []Object { return s.objects }

// Problems are the conflicts between objects, each an *Error.
func (s *State) Problems() []error { return s.problems }

// Keys are the ports of services that callers may name, in order; those with
// no endpoints too.
func (s *State) Keys() []ServiceKey {
	var keys []ServiceKey
	for name, svc := range s.services {
		for _, port := range svc.ports {
			keys = append(keys, ServiceKey{Namespace: name.namespace, Name: name.name, Port: port})
		}
	}
	slices.SortFunc(keys, ServiceKey.Compare)
	return keys
}

// Has reports whether callers may name k.
func (s *State) Has(k ServiceKey) bool {
	svc := s.services[serviceName{k.Namespace, k.Name}]
	return svc != nil && slices.Contains(svc.ports, k.Port)
}

// policy returns how calls to a port of svc, which k names, are made.
func (s *State) policy(k ServiceKey, svc *service) Policy {
	p := DefaultPolicy()
	all := ServiceKey{Namespace: k.Namespace, Name: k.Name}
	if t := cmp.Or(s.policies[k], s.policies[all]); t != nil {
		p = t.Policy
	}
	p.Protocol = svc.protocol(k.Port)
	return p
}
