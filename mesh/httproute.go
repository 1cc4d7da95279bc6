package mesh

import (
	"math"
	"slices"
	"strconv"
	"time"
)

// An HTTPRoute (gateway.networking.k8s.io/v1) with Services as parents says
// where calls to them go, by path, headers, query and method.
type HTTPRoute struct {
	Meta
	Routing
}

// A GRPCRoute (gateway.networking.k8s.io/v1) does so for gRPC, by method and
// headers.
type GRPCRoute struct {
	Meta
	Routing
}

// A Routing is what both kinds of routes have.
type Routing struct {
	// Created is metadata.creationTimestamp, zero where nobody has set it.
	Created time.Time
	Parents []PolicyTarget // Services of the route's own namespace
	Rules   []RouteRule
}

// A RouteRule is one of spec.rules.
type RouteRule struct {
	Name    string       // its own, or its place from 0
	Matches []RouteMatch // one of which a call meets; at least one
	// Backends are as written. None: Own.
	Backends []RouteBackend
	Own      bool // calls go to the parent's own endpoints
	Mirrors  []RouteMirror
	// Request and Attempt bound calls instead of the policy's timeouts; nil: as
	// the policy says.
	Request, Attempt *time.Duration
	Retry            *RouteRetry // nil: as the policy says
}

// A RouteBackend is a share of a route's calls.
type RouteBackend struct {
	Service ServiceKey
	Weight  uint32
}

// A RouteMirror is a share of a route's calls that go to another service too.
type RouteMirror struct {
	Service ServiceKey
	Share   float64 // above 0, up to 1
}

// A RouteRetry changes the retries of a policy; what is not given stays.
type RouteRetry struct {
	Attempts *int
	Codes    []string // statuses after which there is another attempt; nil: not given
	Backoff  time.Duration
}

// Bounds of Gateway API.
const (
	maxParents  = 32
	maxRules    = 16
	maxBackends = 16
	maxMatches  = 64
	maxFilters  = 16
	maxShare    = 1_000_000
)

func decodeHTTPRoute(meta Meta, root value) Object {
	r := &HTTPRoute{Meta: meta}
	r.Routing.decode(&r.Meta, root, func(rule *RouteRule) fields {
		return fields{
			"name":     text(&rule.Name, isName, nameForm),
			"matches":  matches(rule, decodeHTTPMatch),
			"filters":  r.decodeFilters(r.Namespace, rule),
			"timeouts": rule.decodeTimeouts,
			"retry":    rule.decodeRetry,
		}
	})
	return r
}

// decode reads the whole of a route; rule has the fields of a rule in which
// the kinds differ.
func (r *Routing) decode(m *Meta, root value, rule func(*RouteRule) fields) {
	specSeen := false
	if t, err := time.Parse(time.RFC3339, scalar(child(root.n, "metadata"), "creationTimestamp")); err == nil {
		r.Created = t
	}
	m.decode(root, isName, nameForm, fields{"spec": func(v value) {
		specSeen = true
		v.fields(fields{
			"parentRefs": func(v value) { r.decodeParents(m.Namespace, v) },
			"hostnames":  ignore, // GAMMA gives them no meaning where the parent is a Service
			"rules": func(v value) {
				v.each(maxRules, func(i int, v value) { r.decodeRule(i, m.Namespace, v, rule) })
			},
		})
		if len(nodesOf(v.n, "parentRefs")) == 0 {
			v.missing("parentRefs", `at least one {group: "", kind: Service, name: NAME}`)
		}
	}})
	if !specSeen {
		root.missing("spec", "parentRefs and rules")
	}
	if len(r.Rules) == 0 { // Gateway API's default
		r.Rules = []RouteRule{{Name: "0", Matches: []RouteMatch{{Path: "/", Prefix: true}}, Own: true}}
	}
}

func (r *Routing) decodeParents(namespace string, v value) {
	v.each(maxParents, func(_ int, v value) {
		var p PolicyTarget
		v.fields(fields{
			"group":     oneOf(new(string), ""),
			"kind":      oneOf(new(string), KindService),
			"namespace": text(new(string), func(s string) bool { return s == namespace }, "the route's own namespace, "+namespace),
			"name":      text(&p.Name, isLabel, labelForm),
			"port":      integer(&p.Port, 1, math.MaxUint16),
		})
		// Their defaults in Gateway API mean a Gateway.
		if child(v.n, "group") == nil {
			v.missing("group", `"", the group of Service; absent it would mean a Gateway's`)
		}
		if child(v.n, "kind") == nil {
			v.missing("kind", KindService)
		}
		if child(v.n, "name") == nil {
			v.missing("name", "the name of a Service in the route's namespace")
		}
		if slices.Contains(r.Parents, p) {
			v.wrong("given twice: accepted is each parent once")
		}
		r.Parents = append(r.Parents, p)
	})
}

func (r *Routing) decodeRule(i int, namespace string, v value, more func(*RouteRule) fields) {
	rule := RouteRule{Own: true}
	table := more(&rule)
	table["backendRefs"] = func(v value) {
		v.each(maxBackends, func(_ int, v value) {
			b := RouteBackend{Weight: 1}
			decodeBackend(namespace, v, &b.Service, fields{"weight": integer(&b.Weight, 0, maxShare)})
			rule.Own = false
			rule.Backends = append(rule.Backends, b)
		})
	}
	v.fields(table)
	if rule.Name == "" {
		rule.Name = strconv.Itoa(i)
	}
	for _, o := range r.Rules {
		if o.Name == rule.Name {
			v.at("name").wrong("value " + strconv.Quote(rule.Name) + ": another rule has it: accepted is a name of its own")
		}
	}
	if len(rule.Matches) == 0 {
		rule.Matches = []RouteMatch{{Path: "/", Prefix: true}}
	}
	r.Rules = append(r.Rules, rule)
}

// decodeBackend reads the name of a service that calls go to. It may be in any
// namespace: in a mesh that lets nobody at what was out of reach before.
func decodeBackend(namespace string, v value, dst *ServiceKey, more fields) {
	dst.Namespace = namespace
	table := fields{
		"group":     oneOf(new(string), ""),
		"kind":      oneOf(new(string), KindService),
		"namespace": text(&dst.Namespace, isLabel, labelForm),
		"name":      text(&dst.Name, isLabel, labelForm),
		"port":      integer(&dst.Port, 1, math.MaxUint16),
	}
	for name, decode := range more {
		table[name] = decode
	}
	v.fields(table)
	if child(v.n, "name") == nil {
		v.missing("name", "the name of a Service")
	}
	if child(v.n, "port") == nil {
		v.missing("port", "a whole number from 1 to 65535")
	}
}
