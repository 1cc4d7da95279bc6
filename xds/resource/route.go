package resource

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
)

// Header changes and the like are not supported at any level, mirrors on the
// routes only: what they would do to a call must not be lost in silence.
var routeConfigFields = message{"envoy.config.route.v3.RouteConfiguration", map[protowire.Number]field{
	1: {"name", text, ""}, 2: {"virtual_hosts", msgs, ""},

	9: {"vhds", deny, "virtual_hosts"}, 3: {"internal_only_headers", denyText, ""},
	4: {"response_headers_to_add", deny, ""}, 5: {"response_headers_to_remove", denyText, ""},
	6: {"request_headers_to_add", deny, ""}, 8: {"request_headers_to_remove", denyText, ""},
	12: {"cluster_specifier_plugins", deny, ""}, 13: {"request_mirror_policies", deny, "them on the routes"},
	14: {"ignore_port_in_host_matching", off, ""}, 18: {"vhost_header", denyText, ""},
	15: {"ignore_path_parameters_in_path_matching", off, ""},
	16: {"typed_per_filter_config", deny, "it on the routes"}, 19: {"route_specifiers", deny, ""},

	10: {"most_specific_header_mutations_wins", skip, ""}, 7: {"validate_clusters", skip, ""},
	11: {"max_direct_response_body_size_bytes", skip, ""}, 17: {"metadata", skip, ""},
}}

var virtualHostFields = message{"envoy.config.route.v3.VirtualHost", map[protowire.Number]field{
	1: {"name", text, ""}, 2: {"domains", texts, ""}, 3: {"routes", msgs, ""},

	21: {"matcher", deny, "routes"}, 4: {"require_tls", zero, ""}, 6: {"rate_limits", deny, ""},
	7: {"request_headers_to_add", deny, ""}, 13: {"request_headers_to_remove", denyText, ""},
	10: {"response_headers_to_add", deny, ""}, 11: {"response_headers_to_remove", denyText, ""},
	8: {"cors", deny, ""}, 15: {"typed_per_filter_config", deny, "it on the routes"},
	14: {"include_request_attempt_count", off, ""}, 19: {"include_attempt_count_in_response", off, ""},
	16: {"retry_policy", deny, "it on the routes"}, 20: {"retry_policy_typed_config", deny, ""},
	17: {"hedge_policy", deny, ""}, 23: {"include_is_timeout_retry_header", off, ""},
	22: {"request_mirror_policies", deny, "them on the routes"}, 26: {"route_specifiers", deny, ""},

	5:  {"virtual_clusters", skip, ""}, // statistics only
	24: {"metadata", skip, ""}, 18: {"per_request_buffer_limit_bytes", skip, ""},
	25: {"request_body_buffer_limit", skip, ""},
}}

var routeFields = message{"envoy.config.route.v3.Route", map[protowire.Number]field{
	14: {"name", text, ""}, 1: {"match", msg, ""}, 2: {"route", msg, ""}, 4: {"metadata", msg, ""},
	13: {"typed_per_filter_config", msgs, ""}, 7: {"direct_response", msg, ""},

	3:  {"redirect", deny, routeOrResponse},
	17: {"filter_action", deny, routeOrResponse}, 18: {"non_forwarding_action", deny, routeOrResponse},
	21: {"route_specifiers", deny, ""},
	9:  {"request_headers_to_add", deny, ""}, 12: {"request_headers_to_remove", denyText, ""},
	10: {"response_headers_to_add", deny, ""}, 11: {"response_headers_to_remove", denyText, ""},

	5: {"decorator", skip, ""}, 15: {"tracing", skip, ""}, 19: {"stat_prefix", skip, ""},
	// The body kept for replay is bounded by retryBufferBytes.
	16: {"per_request_buffer_limit_bytes", skip, ""}, 20: {"request_body_buffer_limit", skip, ""},
}}

const routeOrResponse = "route or direct_response"

var directResponseFields = message{"envoy.config.route.v3.DirectResponseAction", map[protowire.Number]field{
	1: {"status", num, ""}, 2: {"body", deny, ""}, 3: {"body_format", deny, ""},
}}

// DefaultRetryBuffer bounds the request body kept for replay where metadata
// does not say, in bytes.
const DefaultRetryBuffer = 64 << 10

// DecodeRouteConfig reads a RouteConfiguration whose routes match by path,
// headers and query, and lead to one or several clusters. The error names the configuration,
// the field and the value.
func DecodeRouteConfig(a *anypb.Any) (*RouteConfig, error) {
	name, b, err := open(a, RouteType)
	if err != nil {
		return nil, err
	}
	rc := &RouteConfig{Name: name}
	if err := rc.decode(b); err != nil {
		return nil, fmt.Errorf("route configuration %q: %w", name, err)
	}
	if name == "" {
		return nil, fmt.Errorf("route configuration %q: %w", name, in("name", errMissing))
	}
	return rc, nil
}

func (rc *RouteConfig) decode(b []byte) error {
	domains := map[string]bool{}
	return routeConfigFields.walk(b, func(n protowire.Number, v value) error {
		if n != 2 {
			return nil
		}
		var vh VirtualHost
		if err := vh.decode(v.b, domains); err != nil {
			return err
		}
		rc.VirtualHosts = append(rc.VirtualHosts, vh)
		return nil
	})
}

func (vh *VirtualHost) decode(b []byte, taken map[string]bool) error {
	err := virtualHostFields.walk(b, func(n protowire.Number, v value) error {
		switch n {
		case 1:
			vh.Name = string(v.b)
		case 2:
			d := strings.ToLower(string(v.b))
			if err := checkDomain(d, taken); err != nil {
				return err
			}
			vh.Domains = append(vh.Domains, d)
		case 3:
			r := Route{TraceRatio: -1, Retry: Retry{BufferBytes: DefaultRetryBuffer}, Hedge: Hedge{Disabled: true}}
			if err := r.decode(v.b); err != nil {
				return err
			}
			vh.Routes = append(vh.Routes, r)
		}
		return nil
	})
	if err == nil && len(vh.Domains) == 0 {
		err = in("domains", errMissing)
	}
	return err
}

// checkDomain accepts an exact name, "*.suffix", "prefix.*" and "*", each once
// in a configuration.
func checkDomain(d string, taken map[string]bool) error {
	if d == "" {
		return errMissing
	}
	if i := strings.IndexByte(d, '*'); i > 0 && i < len(d)-1 || strings.Count(d, "*") > 1 {
		return fmt.Errorf("%q is not valid, want a name, *.suffix, prefix.* or *", d)
	}
	if taken[d] {
		return fmt.Errorf("%q is given twice", d)
	}
	taken[d] = true
	return nil
}

func (r *Route) decode(b []byte) error {
	var matched, routed, answered bool
	err := routeFields.walk(b, func(n protowire.Number, v value) error {
		switch n {
		case 14:
			r.Name = string(v.b)
		case 1:
			matched = true
			return r.match(v.b)
		case 2:
			routed = true
			return r.action(v.b)
		case 7:
			answered = true
			return r.answer(v.b)
		case 4:
			return r.metadata(v.b)
		case 13:
			return r.filter(v.b)
		}
		return nil
	})
	switch {
	case err != nil:
		return err
	case !matched:
		return in("match", errMissing)
	case routed && answered:
		return in("action", errors.New("given twice, want "+routeOrResponse))
	case answered:
		r.Service = cmp.Or(r.Service, r.Name, "other")
	case !routed:
		return in("route", errMissing)
	default:
		r.Service = cmp.Or(r.Service, r.Clusters[0].Name)
	}
	return nil
}

// answer reads a DirectResponseAction: calls have nowhere to go, and fail.
func (r *Route) answer(b []byte) error {
	err := directResponseFields.walk(b, func(_ protowire.Number, v value) error {
		if v.n < 400 || v.n > 599 {
			return fmt.Errorf("%d is not supported, want 400..599", v.n)
		}
		r.Unknown = int(v.n)
		return nil
	})
	if err == nil && r.Unknown == 0 {
		err = in("status", errMissing)
	}
	return err
}

// metadata reads our fields on a Route.
func (r *Route) metadata(b []byte) error {
	d, err := metadata(b)
	if err != nil {
		return err
	}
	var forwarded string
	buffer := uint32(r.Retry.BufferBytes)
	d.text("service", &r.Service)
	d.integer("retryBufferBytes", &buffer, 64<<20)
	d.boolean("via", &r.Via)
	d.text("forwarded", &forwarded, "none", "x-forwarded", "rfc7239")
	d.number("traceRatio", &r.TraceRatio, 0, 1)
	r.traffic(d)
	r.Retry.BufferBytes = int(buffer)
	switch forwarded {
	case "x-forwarded":
		r.Forwarded = ForwardedX
	case "rfc7239":
		r.Forwarded = ForwardedRFC7239
	}
	return ours(d.done())
}

// DefaultTimeout is what an absent RouteAction.timeout means in Envoy; no
// timeout is said with 0s.
const DefaultTimeout = 15 * time.Second
