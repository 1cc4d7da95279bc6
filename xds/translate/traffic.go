package translate

import (
	"math"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	commonfaultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/fault/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/local_ratelimit/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/meshd/meshd/mesh"
)

const (
	faultFilter     = "envoy.filters.http.fault"
	rateLimitFilter = "envoy.filters.http.local_ratelimit"
)

// traffic are our fields on a Route that say how its calls are treated; key
// signs sessions.
func traffic(fields map[string]any, p *mesh.Policy, key string) {
	fields["priority"] = p.Priority
	hedge := map[string]any{"share": p.Retry.Hedge.Share, "delay": p.Retry.Hedge.Delay.String()}
	if p.Retry.Hedge.Disabled {
		hedge = map[string]any{"disabled": true}
	}
	fields["hedge"] = hedge
	if s := &p.Session; s.Cookie != "" && key != "" {
		fields["session"] = map[string]any{"cookie": s.Cookie, "path": s.Path, "ttl": s.TTL.String(), "key": key}
	}
	if p.RateLimit.Shared {
		fields["rateLimit"] = map[string]any{"shared": true}
	}
}

// filters are what a route's policy configures of HTTP filters. That of the
// rate limit is optional: gRPC's own clients have no such filter.
func filters(p *mesh.Policy, name string) map[string]*anypb.Any {
	out := map[string]*anypb.Any{}
	if p.Fault.Any() {
		out[faultFilter] = serialise(fault(&p.Fault))
	}
	if p.RateLimit.Requests > 0 {
		out[rateLimitFilter] = serialise(&routev3.FilterConfig{IsOptional: true, Config: serialise(rateLimit(&p.RateLimit, name))})
	}
	return out
}

// filterChain are the HTTP filters without which the routes of a policy could
// not configure them; on their own they do nothing.
func filterChain(p *mesh.Policy, name string) []*hcmv3.HttpFilter {
	var out []*hcmv3.HttpFilter
	if p.Fault.Any() && len(p.Fault.Headers) == 0 {
		out = append(out, &hcmv3.HttpFilter{
			Name: faultFilter, ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: serialise(&faultv3.HTTPFault{})},
		})
	}
	if p.RateLimit.Requests > 0 {
		out = append(out, &hcmv3.HttpFilter{
			Name: rateLimitFilter, IsOptional: true,
			ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: serialise(&ratelimitv3.LocalRateLimit{StatPrefix: name})},
		})
	}
	return out
}

func fault(f *mesh.Fault) *faultv3.HTTPFault {
	out := new(faultv3.HTTPFault)
	if f.Delay > 0 {
		out.Delay = &commonfaultv3.FaultDelay{
			FaultDelaySecifier: &commonfaultv3.FaultDelay_FixedDelay{FixedDelay: durationpb.New(f.Delay)}, Percentage: fraction(f.DelayShare),
		}
	}
	switch {
	case f.HTTPStatus > 0:
		out.Abort = &faultv3.FaultAbort{ErrorType: &faultv3.FaultAbort_HttpStatus{HttpStatus: f.HTTPStatus}, Percentage: fraction(f.AbortShare)}
	case f.GRPCStatus > 0:
		out.Abort = &faultv3.FaultAbort{ErrorType: &faultv3.FaultAbort_GrpcStatus{GrpcStatus: f.GRPCStatus}, Percentage: fraction(f.AbortShare)}
	}
	for _, h := range f.Headers {
		m := &routev3.HeaderMatcher{Name: h.Name}
		s := new(matcherv3.StringMatcher)
		switch {
		case h.Present:
			m.HeaderMatchSpecifier = &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}
		case h.Regex != "":
			s.MatchPattern = &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: h.Regex}}
		case h.Prefix != "":
			s.MatchPattern = &matcherv3.StringMatcher_Prefix{Prefix: h.Prefix}
		default:
			s.MatchPattern = &matcherv3.StringMatcher_Exact{Exact: h.Exact}
		}
		if !h.Present {
			m.HeaderMatchSpecifier = &routev3.HeaderMatcher_StringMatch{StringMatch: s}
		}
		out.Headers = append(out.Headers, m)
	}
	return out
}

func rateLimit(l *mesh.RateLimit, name string) *ratelimitv3.LocalRateLimit {
	all := &corev3.RuntimeFractionalPercent{DefaultValue: fraction(1)} // absent is none
	return &ratelimitv3.LocalRateLimit{
		StatPrefix: name, FilterEnabled: all, FilterEnforced: all, RateLimitedAsResourceExhausted: true,
		TokenBucket: &typev3.TokenBucket{MaxTokens: l.Burst, TokensPerFill: wrapperspb.UInt32(l.Requests), FillInterval: durationpb.New(l.Per)},
	}
}

// mirrors are the copies of a route's calls.
func mirrors(all []mesh.RouteMirror) (out []*routev3.RouteAction_RequestMirrorPolicy) {
	for _, m := range all {
		out = append(out, &routev3.RouteAction_RequestMirrorPolicy{
			Cluster:         m.Service.String(),
			RuntimeFraction: &corev3.RuntimeFractionalPercent{DefaultValue: fraction(m.Share)},
		})
	}
	return out
}

func fraction(share float64) *typev3.FractionalPercent {
	return &typev3.FractionalPercent{Numerator: uint32(math.Round(share * 1e6)), Denominator: typev3.FractionalPercent_MILLION}
}
