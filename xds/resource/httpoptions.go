package resource

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

const httpOptionsName = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"

var httpOptionsFields = message{httpOptionsName, map[protowire.Number]field{
	1: {"common_http_protocol_options", msg, ""}, 3: {"explicit_http_config", msg, ""},
	4: {"use_downstream_protocol_config", msg, ""},

	2: {"upstream_http_protocol_options", deny, ""},
	5: {"auto_config", deny, "explicit_http_config or use_downstream_protocol_config"}, // it asks TLS
	6: {"http_filters", deny, ""}, 7: {"header_validation_config", deny, ""},
	9: {"request_mirror_policies", deny, ""}, 11: {"retry_policy", deny, "it on the routes"},

	8:  {"outlier_detection", skip, ""}, // as on the cluster
	10: {"hash_policy", skip, ""},       // the route's counts
}}

var explicitFields = message{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.ExplicitHttpConfig", map[protowire.Number]field{
	1: {"http_protocol_options", msg, ""}, 2: {"http2_protocol_options", msg, ""},
	3: {"http3_protocol_options", deny, "http_protocol_options or http2_protocol_options"},
}}

var downstreamFields = message{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions.UseDownstreamHttpConfig", map[protowire.Number]field{
	2: {"http2_protocol_options", msg, ""},

	1: {"http_protocol_options", skip, ""},  // as on the cluster
	3: {"http3_protocol_options", skip, ""}, // no call comes over HTTP/3
}}

// How a connection is kept and how the peer is held in bounds is the sidecar's
// own; what puts other things on the wire is refused.
var http2Fields = message{"envoy.config.core.v3.Http2ProtocolOptions", map[protowire.Number]field{
	13: {"custom_settings_parameters", deny, ""}, 6: {"allow_metadata", off, ""},

	5: {"allow_connect", skip, ""}, // where the endpoint allows it (RFC 8441)
	1: {"hpack_table_size", skip, ""}, 2: {"max_concurrent_streams", skip, ""},
	3: {"initial_stream_window_size", skip, ""}, 4: {"initial_connection_window_size", skip, ""},
	15: {"connection_keepalive", skip, ""},
	7:  {"max_outbound_frames", skip, ""}, 8: {"max_outbound_control_frames", skip, ""},
	9:  {"max_consecutive_inbound_frames_with_empty_payload", skip, ""},
	10: {"max_inbound_priority_frames_per_stream", skip, ""},
	11: {"max_inbound_window_update_frames_per_data_frame_sent", skip, ""},
	12: {"stream_error_on_invalid_http_messaging", skip, ""}, 14: {"override_stream_error_on_invalid_http_message", skip, ""},
	16: {"use_oghttp2_codec", skip, ""}, 18: {"enable_huffman_encoding", skip, ""},
	17: {"max_metadata_size", skip, ""}, 19: {"max_header_field_size_kb", skip, ""}, 20: {"disallow_obs_text", skip, ""},
	21: {"stream_reset_burst", skip, ""}, 22: {"stream_reset_rate", skip, ""},
}}

func http2Options(b []byte) error {
	return http2Fields.walk(b, func(protowire.Number, value) error { return nil })
}

var commonHTTPFields = message{"envoy.config.core.v3.HttpProtocolOptions", map[protowire.Number]field{
	1: {"idle_timeout", msg, ""},

	3: {"max_connection_duration", deny, ""}, 8: {"max_connection_duration_jitter", deny, ""},
	4: {"max_stream_duration", deny, "the routes' timeout"}, 6: {"max_requests_per_connection", deny, ""},

	2: {"max_headers_count", skip, ""}, 7: {"max_response_headers_kb", skip, ""}, // the sidecar's flags
	5: {"headers_with_underscores_action", skip, ""}, // of requests received
}}

// protocols are the places where a Cluster may say what its endpoints speak.
type protocols struct {
	typed      *Protocol // typed_extension_protocol_options, which come before the others
	legacyAuto bool      // protocol_selection, deprecated
	legacy2    bool      // http2_protocol_options, deprecated
}

// choose is HTTP/1.1 where nothing is said, as in Envoy.
func (p *protocols) choose() Protocol {
	switch {
	case p.typed != nil:
		return *p.typed
	case p.legacyAuto:
		return ProtocolAuto
	case p.legacy2:
		return ProtocolHTTP2
	}
	return ProtocolHTTP1
}

// protocolOptions reads one entry of typed_extension_protocol_options.
func (c *Cluster) protocolOptions(b []byte) (*Protocol, error) {
	key, content, err := entry(b)
	if err != nil {
		return nil, err
	}
	typ, content, err := anyOf(content)
	if err != nil {
		return nil, in(key, err)
	}
	if typ != "type.googleapis.com/"+httpOptionsName {
		return nil, in(key, fmt.Errorf("type %q is not supported, want %s", typ, httpOptionsName))
	}
	var p *Protocol
	err = httpOptionsFields.walk(content, func(n protowire.Number, v value) error {
		if n == 1 {
			return c.commonHTTP(v.b)
		}
		if p != nil {
			return errors.New("given beside another protocol, want one of explicit_http_config and use_downstream_protocol_config")
		}
		p = new(Protocol)
		if n == 4 {
			*p = ProtocolAuto
			return downstreamFields.walk(v.b, func(_ protowire.Number, v value) error { return http2Options(v.b) })
		}
		return p.explicit(v.b)
	})
	switch {
	case err != nil:
		return nil, in(key, err)
	case p == nil:
		return nil, in(key, in("upstream_protocol_options", errors.New("missing, want explicit_http_config or use_downstream_protocol_config")))
	}
	return p, nil
}

// explicit reads an ExplicitHttpConfig, which says one protocol.
func (p *Protocol) explicit(b []byte) error {
	err := explicitFields.walk(b, func(n protowire.Number, v value) error {
		switch {
		case *p != ProtocolAuto:
			return errors.New("given beside another protocol, want one")
		case n == 1:
			*p = ProtocolHTTP1
			return nil
		}
		*p = ProtocolHTTP2
		return http2Options(v.b)
	})
	if err == nil && *p == ProtocolAuto {
		err = in("protocol_config", errors.New("missing, want http_protocol_options or http2_protocol_options"))
	}
	return err
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
