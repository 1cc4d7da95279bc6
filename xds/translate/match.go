package translate

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshd/meshd/mesh"
)

// nowhere answers calls of a route none of whose backends has a weight, as
// Gateway API has it.
func nowhere() *routev3.Route_DirectResponse {
	return &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 500}}
}

// split says where calls of a route go. A service that does not exist keeps its
// share of them, which is answered with 500 until there is such a service.
func split(a *routev3.RouteAction, r *mesh.Route) {
	a.ClusterNotFoundResponseCode = routev3.RouteAction_INTERNAL_SERVER_ERROR
	switch len(r.Backends) {
	case 1:
		a.ClusterSpecifier = &routev3.RouteAction_Cluster{Cluster: r.Backends[0].Service.String()}
	default:
		w := new(routev3.WeightedCluster)
		for _, b := range r.Backends {
			w.Clusters = append(w.Clusters, &routev3.WeightedCluster_ClusterWeight{Name: b.Service.String(), Weight: wrapperspb.UInt32(b.Weight)})
		}
		a.ClusterSpecifier = &routev3.RouteAction_WeightedClusters{WeightedClusters: w}
	}
	a.RequestMirrorPolicies = append(a.RequestMirrorPolicies, mirrors(r.Mirrors)...)
}

// matches are the RouteMatches that together are m. The first segments of a
// path are all of it, or what a / follows: path_separated_prefix would say that
// in one, but gRPC's own clients refuse it.
func matches(m *mesh.RouteMatch) []*routev3.RouteMatch {
	var out []*routev3.RouteMatch
	switch {
	case m.Prefix && m.Path == "/":
		out = append(out, prefix("/"))
	case m.Prefix:
		out = append(out, exact(m.Path), prefix(m.Path+"/"))
	default:
		out = append(out, exact(m.Path))
	}
	for _, o := range out {
		if m.Method != "" {
			o.Headers = append(o.Headers, header(mesh.ValueMatch{Name: ":method", Value: m.Method}))
		}
		for _, h := range m.Headers {
			o.Headers = append(o.Headers, header(h))
		}
		for _, q := range m.Query {
			o.QueryParameters = append(o.QueryParameters, &routev3.QueryParameterMatcher{
				Name:                         q.Name,
				QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_StringMatch{StringMatch: stringMatch(q)},
			})
		}
	}
	return out
}

func prefix(p string) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Prefix{Prefix: p}}
}

func exact(p string) *routev3.RouteMatch {
	return &routev3.RouteMatch{PathSpecifier: &routev3.RouteMatch_Path{Path: p}}
}

func header(m mesh.ValueMatch) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: m.Name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: stringMatch(m)}}
}

func stringMatch(m mesh.ValueMatch) *matcherv3.StringMatcher {
	if m.Regex {
		return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: m.Value}}}
	}
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: m.Value}}
}
