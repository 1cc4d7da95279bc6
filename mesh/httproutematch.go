package mesh

import (
	"regexp"
	"strconv"
	"strings"
)

// A RouteMatch is what a call must be like for a route to be its own. All of it
// must be met.
type RouteMatch struct {
	// Path is the whole path, or with Prefix its first segments: /a is the
	// beginning of /a and /a/b, and not of /ab. It has no / at its end, but for
	// "/", which is the beginning of every path.
	Path    string
	Prefix  bool
	Method  string // empty: any
	Headers []ValueMatch
	Query   []ValueMatch
}

// A ValueMatch is a header or a parameter of the query, and what it must be.
type ValueMatch struct {
	Name  string // of a header in lower case
	Value string
	Regex bool // Value is a regular expression of RE2 for all of it
}

const (
	maxValues      = 16
	maxPath        = 1024
	maxMatchValue  = 4096
	pathForm       = "a path that begins with /, of the characters of a URL's path, without //, /./, /../, %2f and #"
	headerNameForm = "the name of a header other than Host, at most 256 letters, digits and !#$%&'*+-.^_`|~"
	queryNameForm  = "at most 256 letters, digits and !#$%&'*+-.^_`|~"
	valueForm      = "text of 1 to 4096 characters"
)

var methods = []string{"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}

// matches decodes a rule's matches, each with decode.
func matches(rule *RouteRule, decode func(value, *RouteMatch)) func(value) {
	return func(v value) {
		v.each(maxMatches, func(_ int, v value) {
			m := RouteMatch{Path: "/", Prefix: true}
			decode(v, &m)
			rule.Matches = append(rule.Matches, m)
		})
	}
}

func decodeHTTPMatch(v value, m *RouteMatch) {
	v.fields(fields{
		"path":        m.decodePath,
		"method":      oneOf(&m.Method, methods...),
		"headers":     values(&m.Headers, isMatchedHeader, headerNameForm, strings.ToLower),
		"queryParams": values(&m.Query, isHeaderName, queryNameForm, func(s string) string { return s }),
	})
}

func (m *RouteMatch) decodePath(v value) {
	kind, path := "PathPrefix", "/"
	v.fields(fields{"type": oneOf(&kind, "Exact", "PathPrefix"), "value": text(&path, isPath, pathForm)})
	m.Prefix = kind == "PathPrefix"
	if m.Prefix && path != "/" {
		path = strings.TrimSuffix(path, "/")
	}
	m.Path = path
}

// values decodes a list of matches, of names each once.
func values(dst *[]ValueMatch, valid func(string) bool, form string, canonical func(string) string) func(value) {
	return func(v value) {
		v.each(maxValues, func(_ int, v value) {
			var m ValueMatch
			kind := "Exact"
			v.fields(fields{
				"type":  oneOf(&kind, "Exact", "RegularExpression"),
				"name":  text(&m.Name, valid, form),
				"value": text(&m.Value, func(s string) bool { return s != "" && len(s) <= maxMatchValue }, valueForm),
			})
			m.Name, m.Regex = canonical(m.Name), kind == "RegularExpression"
			for _, field := range []string{"name", "value"} {
				if child(v.n, field) == nil {
					v.missing(field, map[string]string{"name": form, "value": valueForm}[field])
				}
			}
			if _, err := regexp.Compile(m.Value); m.Regex && err != nil {
				v.at("value").refuse("a regular expression of RE2 (" + err.Error() + ")")
			}
			for _, o := range *dst {
				if o.Name == m.Name && m.Name != "" {
					v.at("name").wrong("value " + strconv.Quote(m.Name) + " is given twice: accepted is each name once")
				}
			}
			*dst = append(*dst, m)
		})
	}
}

// isPath reports whether s is a path as Gateway API has it: normal already, so
// that nobody gets around a match by writing it another way.
func isPath(s string) bool {
	if len(s) == 0 || len(s) > maxPath || s[0] != '/' {
		return false
	}
	lower := strings.ToLower(s)
	for _, bad := range []string{"//", "/./", "/../", "%2f"} {
		if strings.Contains(lower, bad) {
			return false
		}
	}
	if strings.HasSuffix(s, "/..") || strings.HasSuffix(s, "/.") {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '%':
			if i+2 >= len(s) || !isHex(s[i+1]) || !isHex(s[i+2]) {
				return false
			}
		case !isAlnum(c) && strings.IndexByte("/-._~!$&'()*+,;=:@", c) < 0:
			return false
		}
	}
	return true
}

// isMatchedHeader leaves out Host, which has many forms of a service's name.
func isMatchedHeader(s string) bool { return isHeaderName(s) && !strings.EqualFold(s, "host") }

func isAlnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

func isHex(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}
