package resource

import (
	"errors"
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
)

var routeMatchFields = message{"envoy.config.route.v3.RouteMatch", map[protowire.Number]field{
	1: {"prefix", text, ""}, 2: {"path", text, ""}, 14: {"path_separated_prefix", text, ""},
	6: {"headers", msgs, ""}, 7: {"query_parameters", msgs, ""},

	10: {"safe_regex", deny, pathSpecifiers}, 12: {"connect_matcher", deny, pathSpecifiers},
	15: {"path_match_policy", deny, pathSpecifiers},
	4:  {"case_sensitive", msg, ""}, 9: {"runtime_fraction", deny, "weighted_clusters"},
	17: {"cookies", deny, "headers"}, 8: {"grpc", deny, "headers"},
	11: {"tls_context", deny, ""}, 13: {"dynamic_metadata", deny, ""}, 16: {"filter_state", deny, ""},
}}

const pathSpecifiers = "prefix, path or path_separated_prefix"

var headerMatcherFields = message{"envoy.config.route.v3.HeaderMatcher", map[protowire.Number]field{
	1: {"name", text, ""}, 13: {"string_match", msg, ""}, 7: {"present_match", num, ""}, 8: {"invert_match", num, ""},
	// Deprecated forms of string_match.
	4: {"exact_match", text, ""}, 9: {"prefix_match", text, ""}, 11: {"safe_regex_match", msg, ""},

	6: {"range_match", deny, stringForms}, 10: {"suffix_match", denyText, stringForms}, 12: {"contains_match", denyText, stringForms},
	14: {"treat_missing_header_as_empty", off, ""},
}}

const stringForms = "exact, prefix or safe_regex"

var stringMatcherFields = message{"envoy.type.matcher.v3.StringMatcher", map[protowire.Number]field{
	1: {"exact", text, ""}, 2: {"prefix", text, ""}, 5: {"safe_regex", msg, ""},

	3: {"suffix", denyText, stringForms}, 7: {"contains", denyText, stringForms}, 8: {"custom", deny, stringForms},
	6: {"ignore_case", off, ""},
}}

var regexFields = message{"envoy.type.matcher.v3.RegexMatcher", map[protowire.Number]field{
	2: {"regex", text, ""}, 1: {"google_re2", skip, ""}, // there is no other engine
}}

var queryMatcherFields = message{"envoy.config.route.v3.QueryParameterMatcher", map[protowire.Number]field{
	1: {"name", text, ""}, 5: {"string_match", msg, ""}, 6: {"present_match", num, ""},
}}

// match reads a RouteMatch.
func (r *Route) match(b []byte) error {
	paths := 0
	err := routeMatchFields.walk(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1, 14:
			paths++
			r.Prefix, r.Separated = string(v.b), n == 14
		case 2:
			paths++
			if r.Path = string(v.b); !strings.HasPrefix(r.Path, "/") {
				err = fmt.Errorf("%q is not valid, want a path that begins with /", r.Path)
			}
		case 4:
			var on uint64
			if on, err = wrapped(v.b); err == nil && on == 0 {
				err = errors.New("false is not supported, want true")
			}
		case 6:
			var m HeaderMatch
			m, err = headerMatch(v.b)
			r.Headers = append(r.Headers, m)
		case 7:
			var m QueryMatch
			m, err = queryMatch(v.b)
			r.Query = append(r.Query, m)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case paths != 1:
		return in("path_specifier", errors.New("want exactly one of "+pathSpecifiers))
	case r.Separated && (len(r.Prefix) < 2 || r.Prefix[0] != '/' || strings.HasSuffix(r.Prefix, "/") || strings.ContainsAny(r.Prefix, "?#")):
		return in("path_separated_prefix", fmt.Errorf("%q is not valid, want a path that begins with / and does not end with one", r.Prefix))
	case r.Path == "" && r.Prefix == "":
		r.Prefix = "/" // Envoy takes an empty prefix for everything
	case r.Path == "" && r.Prefix[0] != '/':
		return in("prefix", fmt.Errorf("%q is not valid, want a path that begins with /", r.Prefix))
	}
	return nil
}

// headerMatch reads a HeaderMatcher. Of the pseudo-headers only the method is
// known by this name in every version of HTTP.
func headerMatch(b []byte) (m HeaderMatch, err error) {
	forms, absent := 0, false
	err = headerMatcherFields.walk(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1:
			m.Name = strings.ToLower(string(v.b))
			if m.Name == "" || m.Name[0] == ':' && m.Name != ":method" || m.Name == "host" {
				err = fmt.Errorf("%q is not supported, want the name of a header other than host, or :method", v.b)
			}
			return err
		case 8:
			m.Invert = v.n != 0
			return nil
		case 4:
			m.Exact = string(v.b)
		case 7:
			m.Present, absent = true, v.n == 0
		case 9:
			m.Prefix, err = prefixOf(v.b)
		case 11:
			m.Regex, err = regexOf(v.b)
		case 13:
			m.Exact, m.Prefix, m.Regex, err = matchString(v.b)
		}
		forms++
		return err
	})
	switch {
	case err != nil:
	case m.Name == "":
		err = in("name", errMissing)
	case forms > 1:
		err = in("header_match_specifier", errors.New("given twice, want one"))
	case forms == 0:
		m.Present = true // Envoy's default
	}
	m.Invert = m.Invert != absent
	return m, err
}

// queryMatch reads a QueryParameterMatcher.
func queryMatch(b []byte) (m QueryMatch, err error) {
	forms, absent := 0, false
	err = queryMatcherFields.walk(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1:
			m.Name = string(v.b)
			return nil
		case 5:
			var prefix string
			if m.Exact, prefix, m.Regex, err = matchString(v.b); err == nil && prefix != "" {
				err = in("prefix", fmt.Errorf("%q is not supported, want exact or safe_regex", prefix))
			}
		case 6:
			m.Present, absent = true, v.n == 0
		}
		forms++
		return err
	})
	switch {
	case err != nil:
	case m.Name == "":
		err = in("name", errMissing)
	case forms > 1:
		err = in("query_parameter_match_specifier", errors.New("given twice, want one"))
	case absent:
		err = in("present_match", errors.New("false is not supported, want true"))
	case forms == 0:
		m.Present = true
	}
	return m, err
}

// matchString reads a StringMatcher.
func matchString(b []byte) (exact, prefix string, re *Regex, err error) {
	forms := 0
	err = stringMatcherFields.walk(b, func(n protowire.Number, v value) (err error) {
		forms++
		switch n {
		case 1:
			exact = string(v.b)
		case 2:
			prefix, err = prefixOf(v.b)
		case 5:
			re, err = regexOf(v.b)
		}
		return err
	})
	if err == nil && forms != 1 {
		err = in("match_pattern", errors.New("want exactly one of "+stringForms))
	}
	return exact, prefix, re, err
}

func prefixOf(b []byte) (string, error) {
	if len(b) == 0 {
		return "", errMissing
	}
	return string(b), nil
}

func regexOf(b []byte) (re *Regex, err error) {
	err = regexFields.walk(b, func(_ protowire.Number, v value) (err error) {
		re, err = NewRegex(string(v.b))
		return err
	})
	if err == nil && re == nil {
		err = in("regex", errMissing)
	}
	return re, err
}
