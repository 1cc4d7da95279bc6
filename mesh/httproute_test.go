package mesh

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
)

// fullRoute has every field that an HTTPRoute may have.
const fullRoute = `
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: checkout-canary, namespace: shop, creationTimestamp: "2026-01-02T03:04:05Z"}
spec:
  hostnames: [shop.example.com]
  parentRefs:
  - {group: "", kind: Service, namespace: shop, name: checkout, port: 80}
  - {group: "", kind: Service, name: cart}
  rules:
  - name: canary
    matches:
    - path: {type: Exact, value: /pay}
      method: POST
      headers: [{name: X-Canary, value: always}, {type: RegularExpression, name: user-agent, value: "curl/.*"}]
      queryParams: [{name: Version, value: "2"}, {type: RegularExpression, name: q, value: a|b}]
    - path: {value: /v2/}
    backendRefs:
    - {group: "", kind: Service, name: checkout-v2, port: 80, weight: 10}
    - {name: checkout, namespace: other, port: 81, weight: 0}
    - {name: checkout-v2, port: 80}
    filters:
    - {type: RequestMirror, requestMirror: {backendRef: {name: audit, port: 80}, percent: 5}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: all, port: 80}}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: none, port: 80}, percent: 0}}
    - {type: RequestMirror, requestMirror: {backendRef: {name: few, port: 80}, fraction: {numerator: 1, denominator: 1000}}}
    timeouts: {request: 3s, backendRequest: 500ms}
    retry: {codes: [503, 502], attempts: 1, backoff: 300ms}
  - timeouts: {request: 0s}
`

func TestHTTPRoute(t *testing.T) {
	objects := mustParse(t, fullRoute)
	r := objects[0].(*HTTPRoute)
	three, half, none, one := 3*time.Second, 500*time.Millisecond, time.Duration(0), 1
	in := func(name string) ServiceKey { return ServiceKey{"shop", name, 80} }
	want := Routing{
		Created: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		Parents: []PolicyTarget{{"checkout", 80}, {"cart", 0}},
		Rules: []RouteRule{
			{
				Name: "canary",
				Matches: []RouteMatch{
					{Path: "/pay", Method: "POST",
						Headers: []ValueMatch{{"x-canary", "always", false}, {"user-agent", "curl/.*", true}},
						Query:   []ValueMatch{{"Version", "2", false}, {"q", "a|b", true}}},
					{Path: "/v2", Prefix: true},
				},
				Backends: []RouteBackend{{in("checkout-v2"), 10}, {ServiceKey{"other", "checkout", 81}, 0}, {in("checkout-v2"), 1}},
				Mirrors:  []RouteMirror{{in("audit"), 0.05}, {in("all"), 1}, {in("few"), 0.001}},
				Request:  &three, Attempt: &half,
				Retry: &RouteRetry{Attempts: &one, Codes: []string{"503", "502"}, Backoff: 300 * time.Millisecond},
			},
			{Name: "1", Matches: []RouteMatch{{Path: "/", Prefix: true}}, Own: true, Request: &none},
		},
	}
	if !reflect.DeepEqual(r.Routing, want) {
		t.Errorf("got\n%+v, want\n%+v", r.Routing, want)
	}
	reparse(t, objects)

	s := Build(nil, zeroTime, append(mustParse(t, shop), objects...), nil)
	b, _ := s.Service(ServiceKey{"shop", "checkout", 80})
	if names := routeNames(b); names != "shop/checkout-canary/canary =/pay, shop/checkout-canary/canary /v2, shop/checkout-canary/1 /" {
		t.Errorf("routes of checkout:80 are %s", names)
	}
	canary, rest := b.Routes[0], b.Routes[2]
	if got, want := canary.Backends, []RouteBackend{{in("checkout-v2"), 11}}; !reflect.DeepEqual(got, want) {
		t.Errorf("backends are %v, want %v", got, want)
	}
	p := canary.Policy
	if p.Timeout.Request != three || p.Timeout.Attempt != half || p.Retry.Attempts != 1 ||
		p.Retry.BackoffBase != 300*time.Millisecond || p.Retry.BackoffMax != 300*time.Millisecond ||
		strings.Join(p.Retry.When, ",") != "502,503,connect-failure,refused-stream,reset,unavailable" {
		t.Errorf("policy is %+v", p)
	}
	if p := rest.Policy; p.Timeout.Request != 0 || !reflect.DeepEqual(p.Retry, b.Policy.Retry) {
		t.Errorf("policy is %+v", p)
	}
	if got, want := rest.Backends, []RouteBackend{{b.Key, 1}}; !reflect.DeepEqual(got, want) {
		t.Errorf("without backendRefs calls go to %v, want %v", got, want)
	}
	if b, _ := s.Service(ServiceKey{"shop", "checkout", 9000}); b.Routes != nil {
		t.Errorf("another port has routes: %s", routeNames(b))
	}
	if b, _ := s.Service(ServiceKey{"shop", "cart", 8080}); len(b.Routes) != 3 {
		t.Errorf("a parent without a port has routes %s", routeNames(b))
	}
}

// routeNames lists routes by name and path, exact ones after "=".
func routeNames(b Backend) string {
	var out []string
	for _, r := range b.Routes {
		path := r.Match.Path
		if !r.Match.Prefix {
			path = "=" + path
		}
		out = append(out, r.Name+" "+path)
	}
	return strings.Join(out, ", ")
}

func TestGRPCRoute(t *testing.T) {
	objects := mustParse(t, `
apiVersion: gateway.networking.k8s.io/v1
kind: GRPCRoute
metadata: {name: pay}
spec:
  parentRefs: [{group: "", kind: Service, name: pay}]
  rules:
  - matches: [{method: {service: shop.Pay}}, {headers: [{name: x, value: "1"}]}]
    backendRefs: [{name: pay-v2, port: 80}]
  - matches: [{method: {type: Exact, service: shop.Pay, method: Refund}}]
    backendRefs: [{name: pay-v2, port: 80, weight: 0}]
`)
	reparse(t, objects)
	s := Build(nil, zeroTime, objects, []Instance{instance("pay-0", 80)})
	b, _ := s.Service(ServiceKey{"default", "pay", 80})
	if got := routeNames(b); got != "default/pay/1 =/shop.Pay/Refund, default/pay/0 /shop.Pay, default/pay/0 /" {
		t.Errorf("routes are %s", got)
	}
	if len(b.Routes[0].Backends) != 0 {
		t.Errorf("a weight of 0 gets calls: %v", b.Routes[0].Backends)
	}
}

// aRoute is a route to Service a, of rules in flow style.
func aRoute(kind, name, created string, rules ...string) string {
	return fmt.Sprintf("---\n{apiVersion: gateway.networking.k8s.io/v1, kind: %s, metadata: {name: %s, creationTimestamp: %s}, spec: {parentRefs: [{group: \"\", kind: Service, name: a}], rules: [%s]}}\n",
		kind, name, created, strings.Join(rules, ", "))
}

func TestRoutePrecedence(t *testing.T) {
	s := Build(nil, zeroTime, mustParse(t,
		aRoute("HTTPRoute", "b", `"2026-01-02T00:00:00Z"`, "{matches: [{path: {value: /}}]}", "{matches: [{path: {value: /long}, headers: [{name: x, value: y}]}]}")+
			aRoute("HTTPRoute", "a", "null",
				"{}",
				"{matches: [{path: {value: /long}}, {path: {type: Exact, value: /l}}]}",
				"{matches: [{path: {value: /long}, headers: [{name: x, value: y}], queryParams: [{name: x, value: y}]}]}",
				"{matches: [{path: {value: /long}, method: GET}]}",
				"{matches: [{path: {value: /longer}}]}",
				"{matches: [{path: {value: /long}, headers: [{name: x, value: y}, {name: z, value: y}]}]}")+
			aRoute("HTTPRoute", "z", `"2026-01-01T00:00:00Z"`, "{}")+
			aRoute("HTTPRoute", "c", `"2026-01-02T00:00:00Z"`, "{}", "{}")), []Instance{instance("a-0", 80)})
	b, _ := s.Service(ServiceKey{"default", "a", 80})
	want := "default/a/1 =/l, default/a/4 /longer, default/a/3 /long, default/a/5 /long, default/a/2 /long, default/b/1 /long, default/a/1 /long, " +
		"default/z/0 /, default/b/0 /, default/c/0 /, default/c/1 /, default/a/0 /"
	if got := routeNames(b); got != want {
		t.Errorf("routes are\n%s, want\n%s", got, want)
	}
}

// What has no effect is told.
func TestIneffectiveRoutes(t *testing.T) {
	objects := mustParse(t, aRoute("HTTPRoute", "h", "null", "{}")+aRoute("GRPCRoute", "g", "null", "{}")+`
---
{apiVersion: v1, kind: Service, metadata: {name: a}, spec: {ports: [{name: grpc, port: 80}, {name: tcp, port: 81}]}}
`)
	s := Build(nil, zeroTime, objects, nil)
	want := []string{
		"test.yaml:2: HTTPRoute default/h: spec.parentRefs[0]: Service a port 80 has GRPCRoute g, which comes before any HTTPRoute: accepted is one kind of route for a port",
		"test.yaml:2: HTTPRoute default/h: spec.parentRefs[0]: Service a port 81 speaks tcp, which has no routes: accepted is a port that speaks HTTP",
		"test.yaml:4: GRPCRoute default/g: spec.parentRefs[0]: Service a port 81 speaks tcp, which has no routes: accepted is a port that speaks HTTP",
	}
	var got []string
	for _, err := range s.Problems() {
		got = append(got, err.Error())
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("problems\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if b, _ := s.Service(ServiceKey{"default", "a", 80}); routeNames(b) != "default/g/0 /" {
		t.Errorf("routes are %s", routeNames(b))
	}
	if b, _ := s.Service(ServiceKey{"default", "a", 81}); b.Routes != nil {
		t.Errorf("tcp has routes %s", routeNames(b))
	}
}
