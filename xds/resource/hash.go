package resource

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// A HashPolicy is one of RouteAction.hash_policy: what of a call is hashed,
// for the balancers ring_hash and maglev. Exactly one source is set.
type HashPolicy struct {
	Header        string // in lower case; ":path" is the path with its query
	Cookie        string
	Query         string // the parameter's name
	SourceAddress bool   // connection_properties.source_ip

	// Generate says that a call without Cookie is given one, which lives for
	// CookieTTL (0: as long as the client's session) on CookiePath.
	Generate   bool
	CookieTTL  time.Duration
	CookiePath string

	// Terminal ends the list once something of it was there to be hashed.
	Terminal bool
}

var hashPolicyFields = message{"envoy.config.route.v3.RouteAction.HashPolicy", map[protowire.Number]field{
	1: {"header", msg, ""}, 2: {"cookie", msg, ""}, 3: {"connection_properties", msg, ""},
	5: {"query_parameter", msg, ""}, 4: {"terminal", num, ""},
	6: {"filter_state", deny, hashSources},
}}

const hashSources = "header, cookie, connection_properties or query_parameter"

var hashHeaderFields = message{"envoy.config.route.v3.RouteAction.HashPolicy.Header", map[protowire.Number]field{
	1: {"header_name", text, ""}, 2: {"regex_rewrite", deny, ""},
}}

var hashCookieFields = message{"envoy.config.route.v3.RouteAction.HashPolicy.Cookie", map[protowire.Number]field{
	1: {"name", text, ""}, 2: {"ttl", msg, ""}, 3: {"path", text, ""}, 4: {"attributes", deny, ""},
}}

var hashConnectionFields = message{"envoy.config.route.v3.RouteAction.HashPolicy.ConnectionProperties", map[protowire.Number]field{
	1: {"source_ip", num, ""},
}}

var hashQueryFields = message{"envoy.config.route.v3.RouteAction.HashPolicy.QueryParameter", map[protowire.Number]field{
	1: {"name", text, ""},
}}

// hash reads one HashPolicy. Pseudo-headers but :path are not there to be
// hashed, in HTTP/1 at least.
func (r *Route) hash(b []byte) error {
	var p HashPolicy
	sources := 0
	err := hashPolicyFields.walk(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 4:
			p.Terminal = v.n != 0
			return nil
		case 1:
			err = hashHeaderFields.walk(v.b, func(_ protowire.Number, v value) error {
				p.Header = strings.ToLower(string(v.b))
				if p.Header == "" || p.Header[0] == ':' && p.Header != ":path" {
					return fmt.Errorf("%q is not supported, want the name of a header, or :path", v.b)
				}
				return nil
			})
		case 2:
			err = p.cookie(v.b)
		case 3:
			err = hashConnectionFields.walk(v.b, func(_ protowire.Number, v value) error {
				p.SourceAddress = v.n != 0
				return nil
			})
		case 5:
			err = hashQueryFields.walk(v.b, func(_ protowire.Number, v value) error { p.Query = string(v.b); return nil })
		}
		sources++
		return err
	})
	switch {
	case err != nil:
		return err
	case sources != 1 || p.Header == "" && p.Cookie == "" && p.Query == "" && !p.SourceAddress:
		return in("policy_specifier", errors.New("want exactly one of "+hashSources+", not empty"))
	}
	r.Hash = append(r.Hash, p)
	return nil
}

func (p *HashPolicy) cookie(b []byte) error {
	return hashCookieFields.walk(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1:
			p.Cookie = string(v.b)
		case 2:
			p.Generate = true
			p.CookieTTL, err = duration(v.b)
		case 3:
			p.CookiePath = string(v.b)
		}
		return err
	})
}
