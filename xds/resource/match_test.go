package resource

//lint:file-ignore SA1019 older control planes still set these fields

import (
	"reflect"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func stringMatch(m *matcherv3.StringMatcher) *routev3.HeaderMatcher_StringMatch {
	return &routev3.HeaderMatcher_StringMatch{StringMatch: m}
}

var (
	exactly   = &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: "v"}}
	beginning = &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Prefix{Prefix: "v"}}
	aRegex    = &matcherv3.RegexMatcher{Regex: "v.*"}
	matching  = &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: aRegex}}
	ending    = &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Suffix{Suffix: "v"}}
	noRegex   = &matcherv3.RegexMatcher{Regex: "v("}
)

func routeOf(t *testing.T, change func(*routev3.RouteMatch, *routev3.RouteAction)) (*Route, error) {
	t.Helper()
	r := aRoute(anAction())
	change(r.Match, r.GetRoute())
	rc, err := DecodeRouteConfig(packed(t, aRouteConfig(r)))
	if err != nil {
		return nil, err
	}
	return &rc.VirtualHosts[0].Routes[0], nil
}

func TestHeaderMatches(t *testing.T) {
	re, err := NewRegex("v.*")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		in   *routev3.HeaderMatcher
		want HeaderMatch
		bad  string
	}{
		{in: &routev3.HeaderMatcher{Name: "X-A", HeaderMatchSpecifier: stringMatch(exactly)}, want: HeaderMatch{Name: "x-a", Exact: "v"}},
		{in: &routev3.HeaderMatcher{Name: ":method", HeaderMatchSpecifier: stringMatch(exactly)}, want: HeaderMatch{Name: ":method", Exact: "v"}},
		{in: &routev3.HeaderMatcher{Name: "a", HeaderMatchSpecifier: stringMatch(beginning), InvertMatch: true}, want: HeaderMatch{Name: "a", Prefix: "v", Invert: true}},
		{in: &routev3.HeaderMatcher{Name: "a", HeaderMatchSpecifier: stringMatch(matching)}, want: HeaderMatch{Name: "a", Regex: re}},
		{in: &routev3.HeaderMatcher{Name: "a"}, want: HeaderMatch{Name: "a", Present: true}},
		{in: &routev3.HeaderMatcher{Name: "a", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{PresentMatch: true}}, want: HeaderMatch{Name: "a", Present: true}},
		{in: &routev3.HeaderMatcher{Name: "a", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{}}, want: HeaderMatch{Name: "a", Present: true, Invert: true}},
		{in: &routev3.HeaderMatcher{Name: "a", HeaderMatchSpecifier: &routev3.HeaderMatcher_PresentMatch{}, InvertMatch: true}, want: HeaderMatch{Name: "a", Present: true}},
		{in: &routev3.HeaderMatcher{Name: "a", HeaderMatchSpecifier: &routev3.HeaderMatcher_ExactMatch{ExactMatch: "v"}}, want: HeaderMatch{Name: "a", Exact: "v"}},
		{in: &routev3.HeaderMatcher{Name: "a", HeaderMatchSpecifier: &routev3.HeaderMatcher_PrefixMatch{PrefixMatch: "v"}}, want: HeaderMatch{Name: "a", Prefix: "v"}},
		{in: &routev3.HeaderMatcher{Name: "a", HeaderMatchSpecifier: &routev3.HeaderMatcher_SafeRegexMatch{SafeRegexMatch: aRegex}}, want: HeaderMatch{Name: "a", Regex: re}},

		{in: &routev3.HeaderMatcher{}, bad: "headers[0].name: missing"},
		{in: &routev3.HeaderMatcher{Name: ":authority"}, bad: `headers[0].name: ":authority" is not supported, want the name of a header other than host, or :method`},
		{in: &routev3.HeaderMatcher{Name: "a", HeaderMatchSpecifier: stringMatch(ending)}, bad: `headers[0].string_match.suffix: "v" is not supported, want exact, prefix or safe_regex`},
		{in: &routev3.HeaderMatcher{Name: "a", HeaderMatchSpecifier: stringMatch(&matcherv3.StringMatcher{})}, bad: "string_match.match_pattern: want exactly one"},
		{in: &routev3.HeaderMatcher{Name: "a", HeaderMatchSpecifier: stringMatch(&matcherv3.StringMatcher{MatchPattern: exactly.MatchPattern, IgnoreCase: true})}, bad: "string_match.ignore_case: true is not supported"},
		{in: &routev3.HeaderMatcher{Name: "a", HeaderMatchSpecifier: &routev3.HeaderMatcher_PrefixMatch{}}, bad: "prefix_match: missing"},
		{in: &routev3.HeaderMatcher{Name: "a", HeaderMatchSpecifier: &routev3.HeaderMatcher_ContainsMatch{ContainsMatch: "v"}}, bad: `contains_match: "v" is not supported`},
		{in: &routev3.HeaderMatcher{Name: "a", HeaderMatchSpecifier: &routev3.HeaderMatcher_RangeMatch{}}, bad: "range_match: not supported"},
		{in: &routev3.HeaderMatcher{Name: "a", HeaderMatchSpecifier: &routev3.HeaderMatcher_SafeRegexMatch{SafeRegexMatch: noRegex}}, bad: `safe_regex_match.regex: "v(" is not valid, want a regular expression of RE2`},
		{in: &routev3.HeaderMatcher{Name: "a", HeaderMatchSpecifier: &routev3.HeaderMatcher_SafeRegexMatch{SafeRegexMatch: &matcherv3.RegexMatcher{}}}, bad: "safe_regex_match.regex: missing"},
		{in: &routev3.HeaderMatcher{Name: "a", TreatMissingHeaderAsEmpty: true}, bad: "treat_missing_header_as_empty: true is not supported"},
	} {
		r, err := routeOf(t, func(m *routev3.RouteMatch, _ *routev3.RouteAction) { m.Headers = []*routev3.HeaderMatcher{c.in} })
		switch {
		case c.bad != "":
			wantError(t, c.in.String(), err, c.bad)
		case err != nil:
			t.Errorf("%v: %v", c.in, err)
		default:
			equal(t, r.Headers, []HeaderMatch{c.want})
		}
	}
}

func TestQueryMatches(t *testing.T) {
	re, err := NewRegex("v.*")
	if err != nil {
		t.Fatal(err)
	}
	query := func(m *matcherv3.StringMatcher) *routev3.QueryParameterMatcher {
		return &routev3.QueryParameterMatcher{Name: "Q", QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_StringMatch{StringMatch: m}}
	}
	present := func(p bool) *routev3.QueryParameterMatcher {
		return &routev3.QueryParameterMatcher{Name: "Q", QueryParameterMatchSpecifier: &routev3.QueryParameterMatcher_PresentMatch{PresentMatch: p}}
	}
	for _, c := range []struct {
		in   *routev3.QueryParameterMatcher
		want QueryMatch
		bad  string
	}{
		{in: query(exactly), want: QueryMatch{Name: "Q", Exact: "v"}},
		{in: query(matching), want: QueryMatch{Name: "Q", Regex: re}},
		{in: present(true), want: QueryMatch{Name: "Q", Present: true}},
		{in: &routev3.QueryParameterMatcher{Name: "Q"}, want: QueryMatch{Name: "Q", Present: true}},

		{in: present(false), bad: "query_parameters[0].present_match: false is not supported, want true"},
		{in: query(beginning), bad: `query_parameters[0].string_match.prefix: "v" is not supported, want exact or safe_regex`},
		{in: &routev3.QueryParameterMatcher{}, bad: "query_parameters[0].name: missing"},
	} {
		r, err := routeOf(t, func(m *routev3.RouteMatch, _ *routev3.RouteAction) {
			m.QueryParameters = []*routev3.QueryParameterMatcher{c.in}
		})
		switch {
		case c.bad != "":
			wantError(t, c.in.String(), err, c.bad)
		case err != nil:
			t.Errorf("%v: %v", c.in, err)
		default:
			equal(t, r.Query, []QueryMatch{c.want})
		}
	}
}

func TestPathMatches(t *testing.T) {
	separated := func(p string) func(*routev3.RouteMatch, *routev3.RouteAction) {
		return func(m *routev3.RouteMatch, _ *routev3.RouteAction) {
			m.PathSpecifier = &routev3.RouteMatch_PathSeparatedPrefix{PathSeparatedPrefix: p}
		}
	}
	r, err := routeOf(t, separated("/a/b"))
	if err != nil || r.Prefix != "/a/b" || !r.Separated || r.Path != "" {
		t.Errorf("got %+v, %v", r, err)
	}
	for _, p := range []string{"", "/", "a", "/a/", "/a?b", "/a#"} {
		_, err := routeOf(t, separated(p))
		wantError(t, p, err, "match.path_separated_prefix: ", "want a path that begins with / and does not end with one")
	}
	_, err = routeOf(t, func(m *routev3.RouteMatch, _ *routev3.RouteAction) { m.PathSpecifier = &routev3.RouteMatch_Path{} })
	wantError(t, "no path", err, `match.path: "" is not valid`)
}

func TestMirrors(t *testing.T) {
	policy := func(n uint32, d typev3.FractionalPercent_DenominatorType) *routev3.RouteAction_RequestMirrorPolicy {
		return &routev3.RouteAction_RequestMirrorPolicy{Cluster: "m", RuntimeFraction: &corev3.RuntimeFractionalPercent{
			RuntimeKey: "k", DefaultValue: &typev3.FractionalPercent{Numerator: n, Denominator: d},
		}}
	}
	all := []*routev3.RouteAction_RequestMirrorPolicy{
		{Cluster: "all", DisableShadowHostSuffixAppend: true, TraceSampled: wrapperspb.Bool(true)},
		policy(25, typev3.FractionalPercent_HUNDRED), policy(0, typev3.FractionalPercent_HUNDRED),
		policy(25, typev3.FractionalPercent_TEN_THOUSAND), policy(25, typev3.FractionalPercent_MILLION), policy(101, typev3.FractionalPercent_HUNDRED),
	}
	r, err := routeOf(t, func(_ *routev3.RouteMatch, a *routev3.RouteAction) {
		a.RequestMirrorPolicies, a.ClusterNotFoundResponseCode = all, routev3.RouteAction_INTERNAL_SERVER_ERROR
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []Mirror{{"all", 1}, {"m", 0.25}, {"m", 0.0025}, {"m", 0.000025}, {"m", 1}}
	if !reflect.DeepEqual(r.Mirrors, want) || r.Unknown != 500 {
		t.Errorf("mirrors are %+v, status of unknown clusters %d", r.Mirrors, r.Unknown)
	}
	for want, p := range map[string]*routev3.RouteAction_RequestMirrorPolicy{
		"request_mirror_policies[0].runtime_fraction.default_value.denominator: 3 is not supported": policy(1, 3),
		`cluster_header: "h" is not supported, want cluster`:                                        {ClusterHeader: "h"},
		`host_rewrite_literal: "h" is not supported`:                                                {Cluster: "m", HostRewriteLiteral: "h"},
	} {
		_, err := routeOf(t, func(_ *routev3.RouteMatch, a *routev3.RouteAction) {
			a.RequestMirrorPolicies = []*routev3.RouteAction_RequestMirrorPolicy{p}
		})
		wantError(t, want, err, want)
	}
}

func TestDirectResponse(t *testing.T) {
	r := &routev3.Route{
		Name: "n", Match: aRoute(nil).Match,
		Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{Status: 500}},
	}
	rc, err := DecodeRouteConfig(packed(t, aRouteConfig(r)))
	if err != nil {
		t.Fatal(err)
	}
	if got := rc.VirtualHosts[0].Routes[0]; got.Unknown != 500 || got.Clusters != nil || got.Service != "n" {
		t.Errorf("got %+v", got)
	}
}
