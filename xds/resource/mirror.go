package resource

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

var mirrorFields = message{"envoy.config.route.v3.RouteAction.RequestMirrorPolicy", map[protowire.Number]field{
	1: {"cluster", text, ""}, 3: {"runtime_fraction", msg, ""},

	5: {"cluster_header", denyText, "cluster"}, 7: {"request_headers_mutations", deny, ""},
	8: {"host_rewrite_literal", denyText, ""},

	4: {"trace_sampled", skip, ""},                     // as the call that is mirrored
	6: {"disable_shadow_host_suffix_append", skip, ""}, // copies are marked by a header
}}

var runtimeFractionFields = message{"envoy.config.core.v3.RuntimeFractionalPercent", map[protowire.Number]field{
	1: {"default_value", msg, ""}, 2: {"runtime_key", skip, ""}, // there is no such runtime
}}

var fractionFields = message{"envoy.type.v3.FractionalPercent", map[protowire.Number]field{
	1: {"numerator", num, ""}, 2: {"denominator", num, ""},
}}

// mirror reads a RequestMirrorPolicy: all calls unless it says a fraction. One
// of none is left out.
func (r *Route) mirror(b []byte) error {
	m := Mirror{Share: 1}
	err := mirrorFields.walk(b, func(n protowire.Number, v value) (err error) {
		if n == 1 {
			m.Cluster = string(v.b)
			return nil
		}
		return runtimeFractionFields.walk(v.b, func(_ protowire.Number, v value) (err error) {
			m.Share, err = fraction(v.b)
			return err
		})
	})
	switch {
	case err != nil:
		return err
	case m.Cluster == "":
		return in("cluster", errMissing)
	case m.Share > 0:
		r.Mirrors = append(r.Mirrors, m)
	}
	return nil
}

// fraction reads a FractionalPercent, as a share from 0 to 1.
func fraction(b []byte) (float64, error) {
	var numerator, denominator uint64
	err := fractionFields.walk(b, func(n protowire.Number, v value) error {
		if n == 1 {
			numerator = v.n
		} else {
			denominator = v.n
		}
		return nil
	})
	of, ok := map[uint64]uint64{0: 100, 1: 10_000, 2: 1_000_000}[denominator]
	switch {
	case err != nil:
		return 0, err
	case !ok:
		return 0, in("denominator", fmt.Errorf("%d is not supported, want 0, 1 or 2", denominator))
	}
	return float64(min(numerator, of)) / float64(of), nil
}
