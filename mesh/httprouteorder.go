package mesh

import (
	"cmp"
	"slices"
	"strconv"
	"time"
)

// A Route is one way that calls to a port of a service can go. The first whose
// Match is met is a call's.
type Route struct {
	// Name is NAMESPACE/OBJECT/RULE; several Routes of one rule have the same.
	Name  string
	Match RouteMatch
	// Backends have a weight above 0, each service once. None: there is nowhere
	// to go, which is answered with 500.
	Backends []RouteBackend
	Mirrors  []RouteMirror
	Policy   Policy // the service's, as the rule changes it
}

// A placed Route is one and what decides between it and others.
type placed struct {
	Route
	created     time.Time // zero: nobody has said
	object      Key
	rule, match int
}

// before is the precedence of Gateway API's HTTPRouteRule.matches: exact paths,
// then longer ones, a method, more headers, more parameters; then the older
// object, the name, the place in it. Where GRPCRoute's differs, that makes no
// difference to a call: two that match it name the same service and method.
func (p *placed) before(o *placed) int {
	a, b := &p.Match, &o.Match
	return cmp.Or(
		first(!a.Prefix, !b.Prefix),
		cmp.Compare(len(b.Path), len(a.Path)),
		first(a.Method != "", b.Method != ""),
		cmp.Compare(len(b.Headers), len(a.Headers)),
		cmp.Compare(len(b.Query), len(a.Query)),
		first(!p.created.IsZero(), !o.created.IsZero()),
		p.created.Compare(o.created),
		p.object.Compare(o.object),
		cmp.Compare(p.rule, o.rule),
		cmp.Compare(p.match, o.match),
	)
}

// first sorts what is true before what is false.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// routingOf returns what an object says of routes; nil if it is none.
func routingOf(o Object) *Routing {
	switch o := o.(type) {
	case *HTTPRoute:
		return &o.Routing
	case *GRPCRoute:
		return &o.Routing
	}
	return nil
}

// attach gives the objects that are routes to their parents, and reports those
// that have no effect on one of them.
func (s *State) attach(routes []Object) {
	for _, o := range routes {
		m := o.Head()
		for _, p := range routingOf(o).Parents {
			key := ServiceKey{Namespace: m.Namespace, Name: p.Name, Port: p.Port}
			s.routes[key] = append(s.routes[key], o)
		}
	}
	for _, o := range routes {
		m := o.Head()
		for i, p := range routingOf(o).Parents {
			svc := s.services[serviceName{m.Namespace, p.Name}]
			if svc == nil {
				continue // it may yet come
			}
			for _, port := range svc.ports {
				if p.Port != 0 && p.Port != port {
					continue
				}
				key := ServiceKey{Namespace: m.Namespace, Name: p.Name, Port: port}
				if problem := s.ineffective(o, key, svc); problem != "" {
					s.problems = append(s.problems, &Error{
						File: m.File, Line: m.Line, Object: m.Key, Field: "spec.parentRefs[" + strconv.Itoa(i) + "]",
						Problem: "Service " + p.Name + " port " + strconv.Itoa(int(port)) + " " + problem,
					})
				}
			}
		}
	}
}

// ineffective says why a route has no effect on a port; "" if it has.
func (s *State) ineffective(o Object, k ServiceKey, svc *service) string {
	if svc.protocol(k.Port) == ProtocolTCP {
		return "speaks tcp, which has no routes: accepted is a port that speaks HTTP"
	}
	if o.Head().Kind == KindHTTPRoute {
		for _, other := range s.attached(k) {
			if other.Head().Kind == KindGRPCRoute {
				return "has GRPCRoute " + other.Head().Name + ", which comes before any HTTPRoute: accepted is one kind of route for a port"
			}
		}
	}
	return ""
}

// attached are the objects that are routes of a port.
func (s *State) attached(k ServiceKey) []Object {
	all := s.routes[ServiceKey{Namespace: k.Namespace, Name: k.Name}]
	out := slices.Clone(all)
	for _, o := range s.routes[k] {
		if !slices.Contains(all, o) {
			out = append(out, o)
		}
	}
	return out
}

// routesOf are the routes of a port in their order; nil if nobody has said any.
func (s *State) routesOf(k ServiceKey, svc *service, p *Policy) []Route {
	var all []placed
	for _, o := range s.attached(k) {
		if s.ineffective(o, k, svc) != "" {
			continue
		}
		routing, head := routingOf(o), o.Head()
		for i := range routing.Rules {
			rule := &routing.Rules[i]
			r := Route{
				Name:     head.Namespace + "/" + head.Name + "/" + rule.Name,
				Backends: rule.backends(k), Mirrors: rule.Mirrors, Policy: rule.policy(*p),
			}
			for j, m := range rule.Matches {
				r.Match = m
				all = append(all, placed{Route: r, created: routing.Created, object: head.Key, rule: i, match: j})
			}
		}
	}
	slices.SortFunc(all, func(a, b placed) int { return a.before(&b) })
	var out []Route
	for i := range all {
		out = append(out, all[i].Route)
	}
	return out
}

// backends are a rule's, where its parent is k: those that get calls, each
// once.
func (rule *RouteRule) backends(k ServiceKey) []RouteBackend {
	if rule.Own {
		return []RouteBackend{{k, 1}}
	}
	var out []RouteBackend
	for _, b := range rule.Backends {
		i := slices.IndexFunc(out, func(o RouteBackend) bool { return o.Service == b.Service })
		switch {
		case b.Weight == 0:
		case i >= 0:
			out[i].Weight += b.Weight
		default:
			out = append(out, b)
		}
	}
	return out
}
