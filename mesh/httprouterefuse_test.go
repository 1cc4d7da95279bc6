package mesh

import (
	"strings"
	"testing"
)

const (
	httpHead = "apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\n"
	httpSpec = httpHead + "spec:\n  parentRefs: [{group: \"\", kind: Service, name: b}]\n"
	grpcHead = "apiVersion: gateway.networking.k8s.io/v1\nkind: GRPCRoute\nmetadata: {name: a}\n"
	grpcSpec = grpcHead + "spec:\n  parentRefs: [{group: \"\", kind: Service, name: b}]\n"
)

// refusedRoutes are rules of routes, or whole objects, that are wrong, and what
// is said of them.
var refusedRoutes = []struct{ in, want string }{
	{"apiVersion: gateway.networking.k8s.io/v1beta1\nkind: HTTPRoute\nmetadata: {name: a}", `f:1: HTTPRoute default/a: apiVersion: value "gateway.networking.k8s.io/v1beta1": accepted is gateway.networking.k8s.io/v1`},
	{httpHead, `f:1: HTTPRoute default/a: spec: missing: accepted is parentRefs and rules`},
	{httpHead + "spec: {}", `f:4: HTTPRoute default/a: spec.parentRefs: missing: accepted is at least one {group: "", kind: Service, name: NAME}`},
	{httpHead + "spec: {parentRefs: [{kind: Service, name: b}]}", `f:4: HTTPRoute default/a: spec.parentRefs[0].group: missing: accepted is "", the group of Service; absent it would mean a Gateway's`},
	{httpHead + "spec: {parentRefs: [{group: \"\", kind: Gateway, name: b}]}", `f:4: HTTPRoute default/a: spec.parentRefs[0].kind: value "Gateway": accepted is Service`},
	{httpHead + "spec: {parentRefs: [{group: \"\", kind: Service, name: b, namespace: shop}]}", `f:4: HTTPRoute default/a: spec.parentRefs[0].namespace: value "shop": accepted is the route's own namespace, default`},
	{httpHead + "spec: {parentRefs: [{group: \"\", kind: Service, name: b, sectionName: http}]}", `f:4: HTTPRoute default/a: spec.parentRefs[0].sectionName: unknown field: accepted is group, kind, name, namespace, port`},
	{httpHead + "spec: {parentRefs: [{group: \"\", kind: Service, name: b}, {group: \"\", kind: Service, name: b}]}", `f:4: HTTPRoute default/a: spec.parentRefs[1]: given twice`},
	{"path: {type: RegularExpression, value: /a}", `matches[0].path.type: value "RegularExpression": accepted is Exact, PathPrefix`},
	{"path: {value: a}", `matches[0].path.value: value "a": accepted is a path that begins with /`},
	{"path: {value: /a//b}", `matches[0].path.value: value "/a//b": accepted is`},
	{"path: {value: /a/..}", `matches[0].path.value: value "/a/..": accepted is`},
	{"path: {value: /a%2Fb}", `matches[0].path.value: value "/a%2Fb": accepted is`},
	{"path: {value: /a%b}", `matches[0].path.value: value "/a%b": accepted is`},
	{"path: {value: \"/a?b\"}", `matches[0].path.value: value "/a?b": accepted is`},
	{"method: get", `matches[0].method: value "get": accepted is GET, HEAD`},
	{"headers: [{name: host, value: a}]", `matches[0].headers[0].name: value "host": accepted is the name of a header other than Host`},
	{"headers: [{name: \"a b\", value: a}]", `matches[0].headers[0].name: value "a b": accepted is`},
	{"headers: [{name: a}]", `matches[0].headers[0].value: missing: accepted is text of 1 to 4096 characters`},
	{"headers: [{name: a, value: 7}]", `matches[0].headers[0].value: value "7": accepted is text`},
	{"headers: [{name: a, value: b}, {name: A, value: b}]", `matches[0].headers[1].name: value "a" is given twice: accepted is each name once`},
	{"headers: [{name: a, value: \"b(\", type: RegularExpression}]", `matches[0].headers[0].value: value "b(": accepted is a regular expression of RE2 (error parsing regexp`},
	{"queryParams: [{name: a, value: b, type: Prefix}]", `matches[0].queryParams[0].type: value "Prefix": accepted is Exact, RegularExpression`},
	{"~filters: [{type: URLRewrite}]", `filters[0].type: value "URLRewrite": accepted is RequestMirror`},
	{"~filters: [{type: RequestMirror}]", `filters[0].requestMirror: missing: accepted is a backendRef`},
	{"~filters: [{requestMirror: {backendRef: {name: a, port: 80}}}]", `filters[0].type: missing: accepted is RequestMirror`},
	{"~filters: [{type: RequestMirror, requestMirror: {}}]", `filters[0].requestMirror.backendRef: missing: accepted is {name: SERVICE, port: PORT}`},
	{"~filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80}, percent: 5, fraction: {numerator: 1}}}]", `filters[0].requestMirror.fraction: percent is given too`},
	{"~filters: [{type: RequestMirror, requestMirror: {backendRef: {name: a, port: 80}, fraction: {numerator: 101}}}]", `filters[0].requestMirror.fraction.numerator: value "101": accepted is at most the denominator, which is 100`},
	{"~backendRefs: [{name: a}]", `backendRefs[0].port: missing: accepted is a whole number from 1 to 65535`},
	{"~backendRefs: [{port: 80}]", `backendRefs[0].name: missing: accepted is the name of a Service`},
	{"~backendRefs: [{kind: ServiceImport, name: a, port: 80}]", `backendRefs[0].kind: value "ServiceImport": accepted is Service`},
	{"~backendRefs: [{name: a, port: 80, weight: -1}]", `backendRefs[0].weight: value "-1": accepted is a whole number from 0 to 1000000`},
	{"~backendRefs: [{name: a, port: 80, filters: []}]", `backendRefs[0].filters: unknown field: accepted is group, kind, name, namespace, port, weight`},
	{"~timeouts: {request: 1s, backendRequest: 2s}", `timeouts.backendRequest: value "2s": accepted is at most timeouts.request, which is "1s"`},
	{"~timeouts: {request: 1.5s}", `timeouts.request: value "1.5s": accepted is a duration of whole h, m, s and ms`},
	{"~timeouts: {request: 1ns}", `timeouts.request: value "1ns": accepted is a duration of whole`},
	{"~retry: {codes: [500]}", `retry.codes[0]: value "500": accepted is 502, 503, 504`},
	{"~retry: {attempts: 11}", `retry.attempts: value "11": accepted is a whole number from 0 to 10`},
	{"~retry: {backoff: 2m}", `retry.backoff: value "2m": accepted is a duration from "1ms" to "1m"`},
	{httpSpec + "  rules: [{name: a}, {name: a}]", `f:6: HTTPRoute default/a: spec.rules[1].name: value "a": another rule has it`},

	{grpcSpec + "  rules: [{matches: [{method: {method: Check}}]}]", `f:6: GRPCRoute default/a: spec.rules[0].matches[0].method.service: missing: accepted is the full name of a gRPC service`},
	{grpcSpec + "  rules: [{matches: [{method: {service: a/b}}]}]", `f:6: GRPCRoute default/a: spec.rules[0].matches[0].method.service: value "a/b": accepted is the full name`},
	{grpcSpec + "  rules: [{matches: [{method: {service: a, type: RegularExpression}}]}]", `f:6: GRPCRoute default/a: spec.rules[0].matches[0].method.type: value "RegularExpression": accepted is Exact`},
	{grpcSpec + "  rules: [{matches: [{path: {value: /a}}]}]", `f:6: GRPCRoute default/a: spec.rules[0].matches[0].path: unknown field: accepted is headers, method`},
	{grpcSpec + "  rules: [{timeouts: {request: 1s}}]", `f:6: GRPCRoute default/a: spec.rules[0].timeouts: unknown field: accepted is backendRefs, filters, matches, name`},
}

// object is the whole of what is refused, and all that is said of it: a match
// of an HTTPRoute, or after ~ a field of a rule, stands for one in it.
func refusedRoute(in, want string) (object, said string) {
	const rule = "f:6: HTTPRoute default/a: spec.rules[0]."
	switch field, isField := strings.CutPrefix(in, "~"); {
	case isField:
		return httpSpec + "  rules: [{" + field + "}]", rule + want
	case !strings.HasPrefix(in, "apiVersion"):
		return httpSpec + "  rules: [{matches: [{" + in + "}]}]", rule + want
	}
	return in, want
}

func TestParseRefusesRoutes(t *testing.T) {
	for _, tt := range refusedRoutes {
		in, want := refusedRoute(tt.in, tt.want)
		objects, errs := Parse("f", []byte(in))
		if len(objects) != 0 || len(errs) != 1 || !strings.HasPrefix(errs[0].Error(), want) {
			t.Errorf("%s\n gives %d objects and %v\n want %s", in, len(objects), errs, want)
		}
	}
}

// FuzzRoutes: whatever the objects, the routes of a service can be told.
func FuzzRoutes(f *testing.F) {
	f.Add([]byte(fullRoute))
	for _, tt := range refusedRoutes {
		in, _ := refusedRoute(tt.in, tt.want)
		f.Add([]byte(in))
	}
	services, _ := Parse("", []byte(shop))
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, _ := Parse("f", data)
		reparse(t, objects)
		s := Build(nil, zeroTime, append(objects, services...), nil)
		for _, k := range s.Keys() {
			b, ok := s.Service(k)
			if !ok {
				t.Errorf("no service %v", k)
			}
			for i := range b.Routes {
				r := &b.Routes[i]
				if r.Match.Path == "" || r.Match.Path[0] != '/' || r.Match.Prefix && r.Match.Path != "/" && strings.HasSuffix(r.Match.Path, "/") {
					t.Errorf("path %+v", r.Match)
				}
				for _, b := range r.Backends {
					if b.Weight == 0 {
						t.Errorf("%s has a backend that gets no calls", r.Name)
					}
				}
			}
		}
	})
}
