package translate

import (
	"slices"
	"strconv"
	"strings"
	"time"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshd/meshd/mesh"
)

// Route is the RouteConfiguration of a service: its routes in their order, or
// one that leads everything to its cluster.
func Route(b mesh.Backend) *anypb.Any {
	name := b.Key.String()
	var routes []*routev3.Route
	for i := range b.Routes {
		r := &b.Routes[i]
		a := action(&r.Policy)
		split(a, r)
		for _, m := range matches(&r.Match) {
			out := route(r.Name, &b, m, a, &r.Policy)
			if len(r.Backends) == 0 {
				out.Action = nowhere()
			}
			routes = append(routes, out)
		}
	}
	if len(routes) == 0 {
		a := action(&b.Policy)
		a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: name}
		routes = append(routes, route(name, &b, prefix("/"), a, &b.Policy))
	}
	return serialise(&routev3.RouteConfiguration{
		Name:         name,
		VirtualHosts: []*routev3.VirtualHost{{Name: name, Domains: []string{"*"}, Routes: routes}},
	})
}

// route is one Route of a service under a policy.
func route(name string, b *mesh.Backend, m *routev3.RouteMatch, a *routev3.RouteAction, p *mesh.Policy) *routev3.Route {
	fields := map[string]any{
		"service":          b.Key.String(),
		"retryBufferBytes": p.Retry.BufferBytes,
		"via":              p.Headers.Via,
		"forwarded":        p.Headers.Forwarded,
	}
	if p.TraceRatio >= 0 {
		fields["traceRatio"] = p.TraceRatio
	}
	traffic(fields, p, b.SessionKey)
	return &routev3.Route{
		Name: name, Match: m, Action: &routev3.Route_Route{Route: a},
		Metadata: metadata(fields), TypedPerFilterConfig: filters(p, name),
	}
}

// action is how calls are made under a policy; where they go is not said yet.
func action(p *mesh.Policy) *routev3.RouteAction {
	return &routev3.RouteAction{
		Timeout:     durationpb.New(timeout(p)), // absent would be 15 s, 0 is none
		RetryPolicy: retryPolicy(p),
		HashPolicy:  hashPolicies(p),

		RequestMirrorPolicies: mirrors(p.Mirrors),
	}
}

// timeout bounds the whole call. Without retries the call is its one attempt.
func timeout(p *mesh.Policy) time.Duration {
	t := p.Timeout.Request
	if a := p.Timeout.Attempt; p.Retry.Attempts == 0 && a > 0 && (t == 0 || a < t) {
		return a
	}
	return t
}

// retryPolicy is nil where retries are off: gRPC refuses num_retries of 0
// (gRFC A44).
func retryPolicy(p *mesh.Policy) *routev3.RetryPolicy {
	if p.Retry.Attempts == 0 {
		return nil
	}
	var words []string
	var codes []uint32
	for _, w := range p.Retry.When {
		if code, err := strconv.ParseUint(w, 10, 32); err == nil {
			codes = append(codes, uint32(code))
		} else {
			words = append(words, w)
		}
	}
	slices.Sort(codes)
	if len(codes) > 0 {
		words = append(words, "retriable-status-codes")
	}
	return &routev3.RetryPolicy{
		RetryOn:              strings.Join(words, ","),
		NumRetries:           wrapperspb.UInt32(uint32(p.Retry.Attempts)),
		PerTryTimeout:        optional(p.Timeout.Attempt),
		RetriableStatusCodes: codes,
		RetryBackOff: &routev3.RetryPolicy_RetryBackOff{
			BaseInterval: durationpb.New(p.Retry.BackoffBase),
			MaxInterval:  durationpb.New(p.Retry.BackoffMax),
		},
	}
}
