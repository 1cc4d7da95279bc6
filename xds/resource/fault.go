package resource

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

var faultFields = message{"envoy.extensions.filters.http.fault.v3.HTTPFault", map[protowire.Number]field{
	1: {"delay", msg, ""}, 2: {"abort", msg, ""}, 4: {"headers", msgs, ""},

	3: {"upstream_cluster", denyText, "it on that cluster's routes"}, 5: {"downstream_nodes", denyText, ""},
	6: {"max_active_faults", deny, ""}, 7: {"response_rate_limit", deny, ""},

	// There is no runtime.
	8: {"delay_percent_runtime", skip, ""}, 9: {"abort_percent_runtime", skip, ""},
	10: {"delay_duration_runtime", skip, ""}, 11: {"abort_http_status_runtime", skip, ""},
	12: {"max_active_faults_runtime", skip, ""}, 13: {"response_rate_limit_percent_runtime", skip, ""},
	14: {"abort_grpc_status_runtime", skip, ""},
	15: {"disable_downstream_cluster_stats", skip, ""}, 16: {"filter_metadata", skip, ""},
}}

var faultDelayFields = message{"envoy.extensions.filters.common.fault.v3.FaultDelay", map[protowire.Number]field{
	3: {"fixed_delay", msg, ""}, 4: {"percentage", msg, ""},
	5: {"header_delay", deny, "fixed_delay"},
}}

var faultAbortFields = message{"envoy.extensions.filters.http.fault.v3.FaultAbort", map[protowire.Number]field{
	2: {"http_status", num, ""}, 5: {"grpc_status", num, ""}, 3: {"percentage", msg, ""},
	4: {"header_abort", deny, "http_status or grpc_status"}, 6: {"response_body", denyText, ""},
}}

// fault reads an HTTPFault. A percentage that is absent is 0, as in Envoy.
func fault(b []byte) (f Fault, err error) {
	err = faultFields.walk(b, func(n protowire.Number, v value) error {
		switch n {
		case 1:
			return f.delay(v.b)
		case 2:
			return f.abort(v.b)
		}
		m, err := headerMatch(v.b)
		f.Headers = append(f.Headers, m)
		return err
	})
	return f, err
}

func (f *Fault) delay(b []byte) error {
	err := faultDelayFields.walk(b, func(n protowire.Number, v value) (err error) {
		if n == 3 {
			f.Delay, err = positive(v.b)
		} else {
			f.DelayShare, err = fraction(v.b)
		}
		return err
	})
	if err == nil && f.Delay == 0 {
		err = in("fixed_delay", errMissing)
	}
	return err
}

func (f *Fault) abort(b []byte) error {
	given := 0
	err := faultAbortFields.walk(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 2:
			given++
			if f.Abort = int(v.n); v.n < 200 || v.n > 599 {
				err = fmt.Errorf("%d is not valid, want 200..599", v.n)
			}
		case 5:
			given++
			if f.Abort = 1000 + int(v.n); v.n < 1 || v.n > 16 {
				err = fmt.Errorf("%d is not supported, want 1..16", v.n)
			}
		case 3:
			f.AbortShare, err = fraction(v.b)
		}
		return err
	})
	if err == nil && given != 1 {
		err = in("error_type", fmt.Errorf("given %d times, want exactly one of http_status and grpc_status", given))
	}
	return err
}
