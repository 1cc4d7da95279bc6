package call

import (
	"bytes"

	"github.com/meshd/meshd/xds/resource"
)

// matchHeaders reports whether a request has all the headers that it must have.
func matchHeaders(all []resource.HeaderMatch, req Request) bool {
	for i := range all {
		m := &all[i]
		var v []byte
		if m.Name == ":method" {
			v = req.Method()
		} else {
			v = req.Header(m.Name)
		}
		ok := v != nil
		switch {
		case !ok || m.Present:
		case m.Regex != nil:
			ok = m.Regex.Match(v)
		case m.Prefix != "":
			ok = bytes.HasPrefix(v, []byte(m.Prefix))
		default:
			ok = string(v) == m.Exact
		}
		if ok == m.Invert {
			return false
		}
	}
	return true
}

// matchQuery does the same for the parameters of the query.
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
