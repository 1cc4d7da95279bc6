package resource

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

var healthCheckFields = message{"envoy.config.core.v3.HealthCheck", map[protowire.Number]field{
	1: {"timeout", msg, ""}, 2: {"interval", msg, ""}, 12: {"no_traffic_interval", msg, ""}, 14: {"unhealthy_interval", msg, ""},
	18: {"interval_jitter_percent", num, ""}, 4: {"unhealthy_threshold", msg, ""}, 5: {"healthy_threshold", msg, ""},
	8: {"http_health_check", msg, ""}, 9: {"tcp_health_check", msg, ""}, 11: {"grpc_health_check", msg, ""},

	13: {"custom_health_check", deny, checkKinds}, 6: {"alt_port", deny, ""},
	21: {"tls_options", deny, ""}, 23: {"transport_socket_match_criteria", deny, ""},

	// When exactly an endpoint is asked, beside the intervals.
	20: {"initial_jitter", skip, ""}, 3: {"interval_jitter", skip, ""}, 24: {"no_traffic_healthy_interval", skip, ""},
	15: {"unhealthy_edge_interval", skip, ""}, 16: {"healthy_edge_interval", skip, ""}, 7: {"reuse_connection", skip, ""},
	27: {"name", skip, ""}, 17: {"event_log_path", skip, ""}, 25: {"event_logger", skip, ""}, 22: {"event_service", skip, ""},
	19: {"always_log_health_check_failures", skip, ""}, 26: {"always_log_health_check_success", skip, ""},
}}

const checkKinds = "http_health_check, grpc_health_check or tcp_health_check"

var httpCheckFields = message{"envoy.config.core.v3.HealthCheck.HttpHealthCheck", map[protowire.Number]field{
	1: {"host", text, ""}, 2: {"path", text, ""}, 9: {"expected_statuses", msgs, ""},
	10: {"codec_client_type", num, ""}, 13: {"method", num, ""},

	3: {"send", deny, ""}, 4: {"receive", deny, "expected_statuses"}, 11: {"service_name_matcher", deny, ""},
	6: {"request_headers_to_add", deny, ""}, 8: {"request_headers_to_remove", denyText, ""}, 15: {"use_alpn_protocol", off, ""},

	14: {"response_buffer_size", skip, ""}, // no body is looked into
	12: {"retriable_statuses", skip, ""},   // unhealthy_threshold counts for every status
}}

var grpcCheckFields = message{"envoy.config.core.v3.HealthCheck.GrpcHealthCheck", map[protowire.Number]field{
	1: {"service_name", text, ""}, 2: {"authority", denyText, ""}, 3: {"initial_metadata", deny, ""},
}}

var tcpCheckFields = message{"envoy.config.core.v3.HealthCheck.TcpHealthCheck", map[protowire.Number]field{
	1: {"send", deny, "a connection to be enough"}, 2: {"receive", deny, "a connection to be enough"}, 3: {"proxy_protocol_config", deny, ""},
}}

var statusRangeFields = message{"envoy.type.v3.Int64Range", map[protowire.Number]field{
	1: {"start", num, ""}, 2: {"end", num, ""},
}}

// check reads one HealthCheck.
func (h *HealthCheck) check(b []byte) error {
	if h.Kind != HealthCheckNone {
		return errors.New("a second one is not supported, want one")
	}
	kinds := 0
	err := healthCheckFields.walk(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1:
			h.Timeout, err = positive(v.b)
		case 2:
			h.Interval, err = positive(v.b)
		case 12:
			h.NoTrafficInterval, err = positive(v.b)
		case 14:
			h.UnhealthyInterval, err = positive(v.b)
		case 18:
			if h.Jitter = float64(v.n) / 100; v.n > 100 {
				err = fmt.Errorf("%d is not supported, want 0..100", v.n)
			}
		case 4:
			h.Unhealthy, err = size(v.b, 1, math.MaxUint32)
		case 5:
			h.Healthy, err = size(v.b, 1, math.MaxUint32)
		case 8:
			kinds++
			h.Kind = HealthCheckHTTP
			err = h.http(v.b)
		case 9:
			kinds++
			h.Kind = HealthCheckTCP
			err = tcpCheckFields.walk(v.b, func(protowire.Number, value) error { return nil })
		case 11:
			kinds++
			h.Kind = HealthCheckGRPC
			err = grpcCheckFields.walk(v.b, func(_ protowire.Number, v value) error { h.Service = string(v.b); return nil })
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case kinds != 1:
		return in("health_checker", errors.New("want exactly one of "+checkKinds))
	case h.Timeout == 0:
		return in("timeout", errMissing)
	case h.Interval == 0:
		return in("interval", errMissing)
	case h.Unhealthy == 0:
		return in("unhealthy_threshold", errMissing)
	case h.Healthy == 0:
		return in("healthy_threshold", errMissing)
	}
	if h.NoTrafficInterval == 0 {
		h.NoTrafficInterval = time.Minute
	}
	return nil
}

func (h *HealthCheck) http(b []byte) error {
	err := httpCheckFields.walk(b, func(n protowire.Number, v value) error {
		switch n {
		case 1:
			h.Host = string(v.b)
		case 2:
			h.Path = string(v.b)
		case 9:
			return h.expect(v.b)
		case 10:
			if h.HTTP2 = v.n == 1; v.n > 1 {
				return fmt.Errorf("%d is not supported, want HTTP1 or HTTP2", v.n)
			}
		case 13:
			if v.n > 1 {
				return fmt.Errorf("%d is not supported, want GET", v.n)
			}
		}
		return nil
	})
	if err == nil && !strings.HasPrefix(h.Path, "/") {
		err = in("path", fmt.Errorf("%q is not valid, want a path that begins with /", h.Path))
	}
	return err
}

// expect reads a range of statuses, half open.
func (h *HealthCheck) expect(b []byte) error {
	var from, to uint64
	err := statusRangeFields.walk(b, func(n protowire.Number, v value) error {
		if n == 1 {
			from = v.n
		} else {
			to = v.n
		}
		return nil
	})
	if err == nil && !(100 <= from && from < to && to <= 600) {
		err = fmt.Errorf("[%d, %d) is not valid, want statuses from 100 up to 600", int64(from), int64(to))
	}
	h.Expect = append(h.Expect, [2]int{int(from), int(to)})
	return err
}
