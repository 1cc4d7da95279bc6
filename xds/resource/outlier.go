package resource

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

var outlierFields = message{"envoy.config.cluster.v3.OutlierDetection", map[protowire.Number]field{
	1: {"consecutive_5xx", msg, ""}, 5: {"enforcing_consecutive_5xx", msg, ""},
	2: {"interval", msg, ""}, 3: {"base_ejection_time", msg, ""}, 4: {"max_ejection_percent", msg, ""},
	21: {"max_ejection_time", msg, ""}, 22: {"max_ejection_time_jitter", msg, ""},
	6: {"enforcing_success_rate", msg, ""}, 7: {"success_rate_minimum_hosts", msg, ""},
	8: {"success_rate_request_volume", msg, ""}, 9: {"success_rate_stdev_factor", msg, ""},
	16: {"failure_percentage_threshold", msg, ""}, 17: {"enforcing_failure_percentage", msg, ""},
	19: {"failure_percentage_minimum_hosts", msg, ""}, 20: {"failure_percentage_request_volume", msg, ""},
	11: {"enforcing_consecutive_gateway_failure", msg, ""},

	12: {"split_external_local_origin_errors", off, ""}, 24: {"monitors", deny, ""}, 26: {"detect_degraded_hosts", off, ""},

	10: {"consecutive_gateway_failure", skip, ""}, // not enforced
	// Of errors that are split, which is refused.
	13: {"consecutive_local_origin_failure", skip, ""}, 14: {"enforcing_consecutive_local_origin_failure", skip, ""},
	15: {"enforcing_local_origin_success_rate", skip, ""}, 18: {"enforcing_failure_percentage_local_origin", skip, ""},
	// One endpoint may always be out, and for as long as it is.
	25: {"always_eject_one_host", skip, ""}, 23: {"successful_active_health_check_uneject_host", skip, ""},
}}

// outlier reads an OutlierDetection; what it leaves out is as in Envoy.
func (o *Outlier) outlier(b []byte) error {
	*o = Outlier{
		Interval: 10 * time.Second, BaseEjection: 30 * time.Second, MaxEjected: 0.1,
		Consecutive: 5, StdevFactor: 1.9, SuccessHosts: 5, SuccessVolume: 100,
		Percentage: 0.85, PercentageHosts: 5, PercentageVolume: 50,
		LatencyFactor: o.LatencyFactor, // metadata may have come before
	}
	consecutive, success, failure := true, true, false
	err := outlierFields.walk(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1:
			o.Consecutive, err = wrapped32(v.b)
		case 2:
			o.Interval, err = positive(v.b)
		case 3:
			o.BaseEjection, err = positive(v.b)
		case 4:
			o.MaxEjected, err = hundredth(v.b)
		case 5:
			consecutive, err = enforced(v.b)
		case 6:
			success, err = enforced(v.b)
		case 7:
			o.SuccessHosts, err = wrapped32(v.b)
		case 8:
			o.SuccessVolume, err = wrapped32(v.b)
		case 9:
			var factor uint32
			factor, err = size(v.b, 1, 1e6)
			o.StdevFactor = float64(factor) / 1000
		case 11:
			var on bool
			if on, err = enforced(v.b); on {
				err = errors.New("100 is not supported, want 0, and consecutive_5xx")
			}
		case 16:
			if o.Percentage, err = hundredth(v.b); err == nil && o.Percentage == 0 {
				err = errors.New("0 is not supported, want 1..100")
			}
		case 17:
			failure, err = enforced(v.b)
		case 19:
			o.PercentageHosts, err = wrapped32(v.b)
		case 20:
			o.PercentageVolume, err = wrapped32(v.b)
		case 21:
			o.MaxEjection, err = positive(v.b)
		case 22:
			o.Jitter, err = duration(v.b)
		}
		return err
	})
	if o.MaxEjection == 0 {
		o.MaxEjection = max(300*time.Second, o.BaseEjection)
	}
	if err == nil && o.MaxEjection < o.BaseEjection {
		err = in("max_ejection_time", fmt.Errorf("%v is not valid, want at least base_ejection_time, %v", o.MaxEjection, o.BaseEjection))
	}
	if !consecutive {
		o.Consecutive = 0
	}
	if !success {
		o.StdevFactor = 0
	}
	if !failure {
		o.Percentage = 0
	}
	return err
}

// hundredth reads a wrapped 0..100 as a share.
func hundredth(b []byte) (float64, error) {
	n, err := size(b, 0, 100)
	return float64(n) / 100, err
}

// enforced reads a percentage of ejections that are carried out: all or none.
func enforced(b []byte) (bool, error) {
	n, err := size(b, 0, 100)
	if err == nil && n != 0 && n != 100 {
		err = fmt.Errorf("%d is not supported, want 0 or 100", n)
	}
	return n == 100, err
}
