package resource

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

const httpOptionsName = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

var httpOptionsFields = message{httpOptionsName, map[protowire.Number]field{
	1: {"common_http_protocol_options", msg, ""}, 3: {"explicit_http_config", msg, ""},
	4: {"use_downstream_protocol_config", skip, ""},

	2: {"upstream_http_protocol_options", deny, ""}, 5: {"auto_config", deny, "explicit_http_config"},
	6: {"http_filters", deny, ""}, 7: {"header_validation_config", deny, ""},
	9: {"request_mirror_policies", deny, ""}, 11: {"retry_policy", deny, "it on the routes"},

	8:  {"outlier_detection", skip, ""}, // as on the cluster
	10: {"hash_policy", skip, ""},       // of balancers that a cluster is refused for
}}

var explicitFields = message{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig", map[protowire.Number]field{
	1: {"http_protocol_options", skip, ""},
	2: {"http2_protocol_options", deny, "http_protocol_options"}, 3: {"http3_protocol_options", deny, "http_protocol_options"},
}}

var commonHTTPFields = message{"envoy.config.core.v3.HttpProtocolOptions", map[protowire.Number]field{
	1: {"idle_timeout", msg, ""},

	3: {"max_connection_duration", deny, ""}, 8: {"max_connection_duration_jitter", deny, ""},
	4: {"max_stream_duration", deny, "the routes' timeout"}, 6: {"max_requests_per_connection", deny, ""},

	2: {"max_headers_count", skip, ""}, 7: {"max_response_headers_kb", skip, ""}, // the sidecar's flags
	5: {"headers_with_underscores_action", skip, ""}, // of requests received
}}

// protocolOptions reads one entry of typed_extension_protocol_options.
func (c *Cluster) protocolOptions(b []byte) error {
	key, content, err := entry(b)
	if err != nil {
		return err
	}
	typ, content, err := anyOf(content)
	if err != nil {
		return in(key, err)
	}
	if typ != "type.googleapis.com/"+httpOptionsName {
		return in(key, fmt.Errorf("type %q is not supported, want %s", typ, httpOptionsName))
	}
	err = httpOptionsFields.walk(content, func(n protowire.Number, v value) error {
		if n == 1 {
			return c.commonHTTP(v.b)
		}
		return explicitFields.walk(v.b, func(protowire.Number, value) error { return nil })
	})
	if err != nil {
		return in(key, err)
	}
	return nil
}

// commonHTTP takes the idle timeout unless our metadata has given one.
func (c *Cluster) commonHTTP(b []byte) error {
	return commonHTTPFields.walk(b, func(_ protowire.Number, v value) error {
		d, err := duration(v.b)
		if c.IdleTimeout == 0 {
			c.IdleTimeout = d
		}
		return err
	})
}
