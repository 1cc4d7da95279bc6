package resource

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

var retryFields = message{"envoy.config.route.v3.RetryPolicy", map[protowire.Number]field{
	1: {"retry_on", text, ""}, 2: {"num_retries", msg, ""}, 3: {"per_try_timeout", msg, ""},
	7: {"retriable_status_codes", nums, ""}, 8: {"retry_back_off", msg, ""},
	5: {"retry_host_predicate", msgs, ""},

	13: {"per_try_idle_timeout", deny, "per_try_timeout"}, 4: {"retry_priority", deny, ""},
	12: {"retry_options_predicates", deny, ""}, 11: {"rate_limited_retry_back_off", deny, ""},
	9: {"retriable_headers", deny, ""}, 10: {"retriable_request_headers", deny, ""},
	14: {"refresh_cluster_on_retry", off, ""},

	6: {"host_selection_retry_max_attempts", skip, ""}, // each attempt picks another endpoint
}}

var backOffFields = message{"envoy.config.route.v3.RetryPolicy.RetryBackOff", map[protowire.Number]field{
	1: {"base_interval", msg, ""}, 2: {"max_interval", msg, ""},
}}

var predicateFields = message{"envoy.config.route.v3.RetryPolicy.RetryHostPredicate", map[protowire.Number]field{
	1: {"name", text, ""}, 3: {"typed_config", skip, ""},
}}

// previousHosts is what a sidecar does in any case.
const previousHosts = "envoy.retry_host_predicates.previous_hosts"

const retry5xx = Retry502 | Retry503 | Retry504

// retryWords are the words of retry_on. "5xx" stands in Envoy for every 5xx
// and every failure without an answer; here it does not include 500 and 501,
// which a second attempt rarely changes. The codes of gRPC are as in Envoy: they
// count in trailers that come at once, and before the first message.
var retryWords = map[string]RetryOn{
	"connect-failure":        RetryConnectFailure,
	"refused-stream":         RetryRefused,
	"reset":                  RetryReset,
	"gateway-error":          retry5xx,
	"5xx":                    retry5xx | RetryConnectFailure | RetryReset | RetryRefused,
	"cancelled":              RetryCancelled,
	"deadline-exceeded":      RetryDeadlineExceeded,
	"internal":               RetryInternal,
	"resource-exhausted":     RetryResourceExhausted,
	"unavailable":            RetryUnavailable,
	"retriable-status-codes": 0, // what retriable_status_codes lists
}

// retry reads a RetryPolicy; num_retries is 1 and the back-off 25 ms to ten
// times the base unless given, as in Envoy.
func (r *Route) retry(b []byte) error {
	r.Retry.Attempts = 1
	var codes RetryOn
	var byCode bool
	base, most := 25*time.Millisecond, time.Duration(0)
	err := retryFields.walk(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1:
			r.Retry.On, byCode, err = retryOn(string(v.b))
		case 2:
			var count uint32
			if count, err = wrapped32(v.b); err == nil && count > 100 {
				err = fmt.Errorf("%d is not supported, want 0..100", count)
			}
			r.Retry.Attempts = int(count)
		case 3:
			r.AttemptTimeout, err = duration(v.b)
		case 5:
			err = predicate(v.b)
		case 7:
			var on RetryOn
			on, err = retryCode(v.n)
			codes |= on
		case 8:
			base, most, err = backOff(v.b)
		}
		return err
	})
	if err != nil {
		return err
	}
	if byCode {
		r.Retry.On |= codes
	}
	if r.Retry.On == 0 {
		r.Retry.Attempts = 0
	}
	if most == 0 {
		most = 10 * base
	}
	r.Retry.BackoffBase, r.Retry.BackoffMax = base, most
	return nil
}

func retryOn(words string) (on RetryOn, byCode bool, err error) {
	for word := range strings.SplitSeq(words, ",") {
		word = strings.TrimSpace(word)
		if word == "" {
			continue
		}
		bits, ok := retryWords[word]
		if !ok {
			return 0, false, fmt.Errorf("%q is not supported, want one of %s", word, strings.Join(slices.Sorted(maps.Keys(retryWords)), ", "))
		}
		on |= bits
		byCode = byCode || word == "retriable-status-codes"
	}
	return on, byCode, nil
}

func retryCode(code uint64) (RetryOn, error) {
	switch code {
	case 502:
		return Retry502, nil
	case 503:
		return Retry503, nil
	case 504:
		return Retry504, nil
	}
	return 0, fmt.Errorf("%d is not supported, want 502, 503 or 504", code)
}

func backOff(b []byte) (base, most time.Duration, err error) {
	err = backOffFields.walk(b, func(n protowire.Number, v value) (err error) {
		if n == 1 {
			base, err = positive(v.b)
		} else {
			most, err = positive(v.b)
		}
		return err
	})
	switch {
	case err != nil:
	case base == 0:
		err = in("base_interval", errMissing)
	case most != 0 && most < base:
		err = in("max_interval", fmt.Errorf("%v is not valid, want at least base_interval, %v", most, base))
	}
	return base, most, err
}

func predicate(b []byte) error {
	var name string
	err := predicateFields.walk(b, func(_ protowire.Number, v value) error { name = string(v.b); return nil })
	if err == nil && name != previousHosts {
		err = fmt.Errorf("%q is not supported, want %s", name, previousHosts)
	}
	return err
}
