package resource

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
)

const (
	hcmType    = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
	routerType = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
)

const apiOnly = "an API listener without it"

// An API listener has no socket: what only says how a socket is held is
// skipped, what would choose or alter the handling of calls is refused.
var listenerFields = message{"envoy.config.listener.v3.Listener", map[protowire.Number]field{
	1: {"name", text, ""}, 19: {"api_listener", msg, ""},

	3: {"filter_chains", deny, apiOnly}, 25: {"default_filter_chain", deny, apiOnly},
	32: {"filter_chain_matcher", deny, apiOnly}, 36: {"fcds_config", deny, apiOnly},
	9: {"listener_filters", deny, apiOnly}, 4: {"use_original_dst", off, ""},
	18: {"udp_listener_config", deny, apiOnly}, 27: {"internal_listener", deny, apiOnly},
	7: {"deprecated_v1", deny, apiOnly}, 10: {"transparent", off, ""},

	2: {"address", skip, ""}, 33: {"additional_addresses", skip, ""},
	28: {"stat_prefix", skip, ""}, 39: {"stats_matcher", skip, ""},
	5: {"per_connection_buffer_limit_bytes", skip, ""}, 38: {"per_connection_buffer_high_watermark_timeout", skip, ""},
	6: {"metadata", skip, ""}, 8: {"drain_type", skip, ""},
	15: {"listener_filters_timeout", skip, ""}, 17: {"continue_on_listener_filters_timeout", skip, ""},
	11: {"freebind", skip, ""}, 13: {"socket_options", skip, ""},
	12: {"tcp_fast_open_queue_length", skip, ""}, 16: {"traffic_direction", skip, ""},
	20: {"connection_balance_config", skip, ""}, 21: {"reuse_port", skip, ""},
	29: {"enable_reuse_port", skip, ""}, 22: {"access_log", skip, ""},
	24: {"tcp_backlog_size", skip, ""}, 34: {"max_connections_to_accept_per_socket_event", skip, ""},
	26: {"bind_to_port", skip, ""}, 30: {"enable_mptcp", skip, ""},
	31: {"ignore_global_conn_limit", skip, ""}, 35: {"bypass_overload_manager", skip, ""},
	37: {"tcp_keepalive", skip, ""},
}}

var apiListenerFields = message{"envoy.config.listener.v3.ApiListener", map[protowire.Number]field{
	1: {"api_listener", msg, ""},
}}

// Downstream limits, timeouts, logs and headers about the proxy itself are the
// sidecar's flags; what changes routing, or what the service sees, is refused.
var hcmFields = message{"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", map[protowire.Number]field{
	3: {"rds", msg, ""}, 4: {"route_config", msg, ""}, 5: {"http_filters", msgs, ""},

	31: {"scoped_routes", deny, "rds or route_config"},
	52: {"early_header_mutation_extensions", deny, ""},
	46: {"original_ip_detection_extensions", deny, ""},
	38: {"local_reply_config", deny, ""},
	50: {"typed_header_validation_config", deny, ""},
	43: {"path_normalization_options", deny, ""},
	30: {"normalize_path", off, ""}, 33: {"merge_slashes", off, ""},
	45: {"path_with_escaped_slashes_action", zero, ""},
	39: {"strip_matching_host_port", off, ""}, 42: {"strip_any_host_port", off, ""},
	47: {"strip_trailing_host_dot", off, ""},
	22: {"via", denyText, "the routes' metadata field via"},
	6:  {"add_user_agent", off, ""}, 51: {"append_x_forwarded_port", off, ""},
	61: {"forward_proto_config", deny, ""}, 48: {"scheme_header_transformation", deny, ""},

	1: {"codec_type", skip, ""}, 2: {"stat_prefix", skip, ""}, 7: {"tracing", skip, ""},
	35: {"common_http_protocol_options", skip, ""}, 8: {"http_protocol_options", skip, ""},
	9: {"http2_protocol_options", skip, ""}, 44: {"http3_protocol_options", skip, ""},
	58: {"http1_safe_max_connection_duration", skip, ""},
	10: {"server_name", skip, ""}, 34: {"server_header_transformation", skip, ""},
	29: {"max_request_headers_kb", skip, ""}, 24: {"stream_idle_timeout", skip, ""},
	59: {"stream_flush_timeout", skip, ""}, 28: {"request_timeout", skip, ""},
	41: {"request_headers_timeout", skip, ""}, 12: {"drain_timeout", skip, ""},
	62: {"drain_timeout_jitter", skip, ""}, 26: {"delayed_close_timeout", skip, ""},
	13: {"access_log", skip, ""}, 54: {"access_log_flush_interval", skip, ""},
	55: {"flush_access_log_on_new_request", skip, ""}, 56: {"access_log_options", skip, ""},
	14: {"use_remote_address", skip, ""}, 19: {"xff_num_trusted_hops", skip, ""},
	25: {"internal_address_config", skip, ""}, 21: {"skip_xff_append", skip, ""},
	15: {"generate_request_id", skip, ""}, 32: {"preserve_external_request_id", skip, ""},
	37: {"always_set_request_id_in_response", skip, ""}, 36: {"request_id_extension", skip, ""},
	16: {"forward_client_cert_details", skip, ""}, 17: {"set_current_client_cert_details", skip, ""},
	60: {"forward_client_cert_matcher", skip, ""}, 18: {"proxy_100_continue", skip, ""},
	20: {"represent_ipv4_remote_address_as_ipv4_mapped_ipv6", skip, ""},
	23: {"upgrade_configs", skip, ""}, // upgrades are relayed
	40: {"stream_error_on_invalid_http_message", skip, ""},
	49: {"proxy_status_config", skip, ""}, // Proxy-Status is always given
	57: {"append_local_overload", skip, ""}, 53: {"add_proxy_protocol_connection_state", skip, ""},
	63: {"record_route_resolution_stats", skip, ""},
}}

var rdsFields = message{"envoy.extensions.filters.network.http_connection_manager.v3.Rds", map[protowire.Number]field{
	1: {"config_source", msg, ""}, 2: {"route_config_name", text, ""},
}}

var httpFilterFields = message{"envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter", map[protowire.Number]field{
	1: {"name", text, ""}, 4: {"typed_config", msg, ""}, 6: {"is_optional", num, ""},
	5: {"config_discovery", deny, "typed_config"}, 7: {"disabled", num, ""},
}}

// DecodeListener reads an API listener whose HTTP connection manager takes its
// routes from RDS over this stream or holds them inline, and whose last HTTP
// filter is the router. Any other filter is refused unless it is optional or
// disabled. The error names the listener, the field and the value.
func DecodeListener(a *anypb.Any) (*Listener, error) {
	name, b, err := open(a, ListenerType)
	if err != nil {
		return nil, err
	}
	l := &Listener{Name: name}
	if err := l.decode(b); err != nil {
		return nil, fmt.Errorf("listener %q: %w", name, err)
	}
	return l, nil
}

func (l *Listener) decode(b []byte) error {
	found := false
	err := listenerFields.walk(b, func(n protowire.Number, v value) error {
		if n != 19 {
			return nil
		}
		return apiListenerFields.walk(v.b, func(_ protowire.Number, v value) error {
			typ, content, err := anyOf(v.b)
			if err != nil {
				return err
			}
			if typ != hcmType {
				return fmt.Errorf("type %q is not supported, want %s", typ, hcmType)
			}
			found = true
			return l.hcm(content)
		})
	})
	switch {
	case err != nil:
		return err
	case l.Name == "":
		return in("name", errMissing)
	case !found:
		return in("api_listener", errors.New("missing, want an HttpConnectionManager"))
	}
	return nil
}

func (l *Listener) hcm(b []byte) error {
	filters := 0
	router := -1
	err := hcmFields.walk(b, func(n protowire.Number, v value) error {
		switch n {
		case 3:
			return l.rds(v.b)
		case 4:
			rc := &RouteConfig{Name: NameOf(v.b)}
			l.Routes = rc
			return rc.decode(v.b)
		}
		filters++
		isRouter, err := httpFilter(v.b)
		if isRouter && err == nil {
			if router >= 0 {
				return errors.New("a second router, want one, last")
			}
			router = filters
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case l.RouteName != "" && l.Routes != nil:
		return in("route_config", errors.New("given beside rds, want one of them"))
	case l.RouteName == "" && l.Routes == nil:
		return in("rds", errors.New("missing, want rds or route_config"))
	case router < 0:
		return in("http_filters", errors.New("no router, want one, last"))
	case router != filters:
		return in(fmt.Sprintf("http_filters[%d]", filters-1), errors.New("comes after the router, which must be last"))
	}
	return nil
}

func (l *Listener) rds(b []byte) error {
	source := false
	err := rdsFields.walk(b, func(n protowire.Number, v value) error {
		if n == 1 {
			source = true
			return fromADS(v.b)
		}
		l.RouteName = string(v.b)
		return nil
	})
	switch {
	case err != nil:
		return err
	case !source:
		return in("config_source", errors.New("missing, want "+adsOrSelf))
	case l.RouteName == "":
		return in("route_config_name", errMissing)
	}
	return nil
}

// httpFilter accepts the router, whatever may be left out, and filters that do
// nothing but what routes configure.
func httpFilter(b []byte) (router bool, err error) {
	var name, typ string
	var config []byte
	var passed bool
	err = httpFilterFields.walk(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1:
			name = string(v.b)
		case 4:
			typ, config, err = anyOf(v.b)
		case 6, 7:
			passed = passed || v.n != 0
		}
		return err
	})
	if err != nil {
		return false, err
	}
	if typ == routerType {
		return true, nil
	}
	if passed {
		return false, nil
	}
	active := false
	switch typ {
	case faultType:
		var f Fault
		f, err = fault(config)
		active = f.Delay > 0 || f.Abort > 0
	case rateLimitType:
		var l RateLimit
		l, err = rateLimit(config)
		active = l.PerSecond > 0
	default:
		err = fmt.Errorf("filter %q of type %q is not supported, want is_optional, the router, or fault and local_ratelimit for the routes", name, typ)
	}
	if err == nil && active {
		err = fmt.Errorf("filter %q is configured here, want it on the routes", name)
	}
	return false, err
}
