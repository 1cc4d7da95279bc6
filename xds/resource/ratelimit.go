package resource

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
)

var rateLimitFields = message{"envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit", map[protowire.Number]field{
	2: {"status", msg, ""}, 3: {"token_bucket", msg, ""}, 4: {"filter_enabled", msg, ""}, 5: {"filter_enforced", msg, ""},

	8: {"descriptors", deny, "token_bucket"}, 17: {"rate_limits", deny, "token_bucket"},
	6: {"response_headers_to_add", deny, ""}, 10: {"request_headers_to_add_when_not_enforced", deny, ""},
	11: {"local_rate_limit_per_downstream_connection", off, ""},
	16: {"local_cluster_rate_limit", deny, "the route's metadata field rateLimit.shared"},
	12: {"enable_x_ratelimit_headers", zero, ""},

	1: {"stat_prefix", skip, ""}, 9: {"stage", skip, ""},
	// There are no descriptors, and of several levels the route's counts.
	13: {"vh_rate_limits", skip, ""}, 14: {"always_consume_default_token_bucket", skip, ""}, 18: {"max_dynamic_descriptors", skip, ""},
	// Calls of gRPC are always told RESOURCE_EXHAUSTED, and all when to come back.
	15: {"rate_limited_as_resource_exhausted", skip, ""}, 19: {"enable_retry_after_header", skip, ""},
}}

var httpStatusFields = message{"envoy.type.v3.HttpStatus", map[protowire.Number]field{1: {"code", num, ""}}}

var tokenBucketFields = message{"envoy.type.v3.TokenBucket", map[protowire.Number]field{
	1: {"max_tokens", num, ""}, 2: {"tokens_per_fill", msg, ""}, 3: {"fill_interval", msg, ""},
}}

// rateLimit reads a LocalRateLimit. It limits nothing unless filter_enabled and
// filter_enforced say so, as in Envoy; for all calls or for none.
func rateLimit(b []byte) (l RateLimit, err error) {
	bucket := false
	var enabled, enforced float64
	err = rateLimitFields.walk(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 2:
			err = httpStatusFields.walk(v.b, func(_ protowire.Number, v value) error {
				if v.n != 429 && v.n != 0 {
					return fmt.Errorf("%d is not supported, want 429", v.n)
				}
				return nil
			})
		case 3:
			bucket = true
			err = l.bucket(v.b)
		case 4:
			enabled, err = allOrNone(v.b)
		case 5:
			enforced, err = allOrNone(v.b)
		}
		return err
	})
	switch {
	case err != nil:
		return l, err
	case enabled*enforced == 0:
		return RateLimit{}, nil
	case !bucket:
		return l, in("token_bucket", errMissing)
	}
	return l, nil
}

func allOrNone(b []byte) (share float64, err error) {
	err = runtimeFractionFields.walk(b, func(_ protowire.Number, v value) (err error) {
		share, err = fraction(v.b)
		return err
	})
	if err == nil && share != 0 && share != 1 {
		err = fmt.Errorf("%v %% is not supported, want 0 or 100", 100*share)
	}
	return share, err
}

// bucket reads a TokenBucket; tokens_per_fill is 1 unless given.
func (l *RateLimit) bucket(b []byte) error {
	tokens, interval := uint32(1), 0.0
	err := tokenBucketFields.walk(b, func(n protowire.Number, v value) error {
		switch n {
		case 1:
			most, err := uint32Of(v.n)
			l.Burst = float64(most)
			return err
		case 2:
			var err error
			if tokens, err = wrapped32(v.b); err == nil && tokens == 0 {
				err = errors.New("0 is not valid, want more than 0")
			}
			return err
		}
		d, err := positive(v.b)
		interval = d.Seconds()
		return err
	})
	switch {
	case err != nil:
		return err
	case l.Burst == 0:
		return in("max_tokens", errors.New("0 is not valid, want more than 0"))
	case interval == 0:
		return in("fill_interval", errMissing)
	}
	l.PerSecond = float64(tokens) / interval
	return nil
}
