package call

import (
	"bytes"

	"github.com/meshd/meshd/xds/resource"
)

// matchPath reports whether a path, with or without a query, is one of a
// route's (envoy.config.route.v3.RouteMatch.path_specifier).
func matchPath(r *resource.Route, path []byte) bool {
	if r.Prefix == "/" {
		return true
	}
	if i := bytes.IndexByte(path, '?'); i >= 0 {
		path = path[:i]
	}
	if r.Path != "" {
		return string(path) == r.Path
	}
	return hasPrefix(path, r.Prefix) && (!r.Separated || len(path) == len(r.Prefix) || path[len(r.Prefix)] == '/')
}

// matchHeaders reports whether a request has all the headers that it must have
// (envoy.config.route.v3.HeaderMatcher). A header that is not there has no
// value, which no match of a value is met by, inverted or not.
func matchHeaders(all []resource.HeaderMatch, req Request) bool {
	for i := range all {
		m := &all[i]
		var v []byte
		if m.Name == ":method" {
			v = req.Method()
		} else {
			v = req.Header(m.Name)
		}
		if v == nil && !m.Present {
			return false
		}
		var ok bool
		switch {
		case m.Present:
			ok = v != nil
		case m.Regex != nil:
			ok = m.Regex.Match(v)
		case m.Prefix != "":
			ok = hasPrefix(v, m.Prefix)
		default:
			ok = string(v) == m.Exact
		}
		if ok == m.Invert {
			return false
		}
	}
	return true
}

// matchQuery does the same for the parameters of the query, as they stand
// there (envoy.config.route.v3.QueryParameterMatcher): of several of one name
// the first counts.
func matchQuery(all []resource.QueryMatch, req Request) bool {
	for i := range all {
		m := &all[i]
		v := parameter(req.Target(), m.Name)
		switch {
		case v == nil:
			return false
		case m.Present:
		case m.Regex != nil:
			if !m.Regex.Match(v) {
				return false
			}
		case string(v) != m.Exact:
			return false
		}
	}
	return true
}

func hasPrefix(v []byte, prefix string) bool {
	return len(v) >= len(prefix) && string(v[:len(prefix)]) == prefix
}
