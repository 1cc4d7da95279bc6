package resource

import (
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

var routeActionFields = message{"envoy.config.route.v3.RouteAction", map[protowire.Number]field{
	1: {"cluster", text, ""}, 3: {"weighted_clusters", msg, ""},
	15: {"hash_policy", msgs, ""}, 8: {"timeout", msg, ""}, 36: {"max_stream_duration", msg, ""}, 9: {"retry_policy", msg, ""},
	30: {"request_mirror_policies", msgs, ""}, 20: {"cluster_not_found_response_code", num, ""},

	2: {"cluster_header", denyText, oneOrSeveral}, 37: {"cluster_specifier_plugin", denyText, oneOrSeveral},
	39: {"inline_cluster_specifier_plugin", deny, oneOrSeveral},
	4:  {"metadata_match", deny, ""},
	5:  {"prefix_rewrite", denyText, ""}, 32: {"regex_rewrite", deny, ""},
	41: {"path_rewrite_policy", deny, ""}, 45: {"path_rewrite", denyText, ""},
	6: {"host_rewrite_literal", denyText, ""}, 7: {"auto_host_rewrite", off, ""},
	29: {"host_rewrite_header", denyText, ""}, 35: {"host_rewrite_path_regex", deny, ""},
	44: {"host_rewrite", denyText, ""}, 38: {"append_x_forwarded_host", off, ""},
	24: {"idle_timeout", deny, "timeout"}, 33: {"retry_policy_typed_config", deny, "retry_policy"},
	11: {"priority", zero, ""},
	13: {"rate_limits", deny, ""}, 17: {"cors", deny, ""}, 28: {"grpc_timeout_offset", deny, ""},
	25: {"upgrade_configs", deny, ""}, 34: {"internal_redirect_policy", deny, ""},
	26: {"internal_redirect_action", zero, ""}, 27: {"hedge_policy", deny, ""},

	42: {"flush_timeout", skip, ""}, 40: {"early_data_policy", skip, ""},
	14: {"include_vh_rate_limits", skip, ""}, // there are none
	23: {"max_grpc_timeout", skip, ""},       // the caller's deadline always counts
	31: {"max_internal_redirects", skip, ""}, // there are none
}}

// notFoundCodes are RouteAction.ClusterNotFoundResponseCode.
var notFoundCodes = map[uint64]int{0: 0, 1: 404, 2: 500}

const oneOrSeveral = "cluster or weighted_clusters"

var maxStreamFields = message{"envoy.config.route.v3.RouteAction.MaxStreamDuration", map[protowire.Number]field{
	1: {"max_stream_duration", msg, ""},
	2: {"grpc_timeout_header_max", skip, ""}, // the caller's deadline always counts
	3: {"grpc_timeout_header_offset", deny, ""},
}}

var weightedFields = message{"envoy.config.route.v3.WeightedCluster", map[protowire.Number]field{
	1: {"clusters", msgs, ""}, 4: {"header_name", denyText, ""}, 5: {"use_hash_policy", off, ""},
	3: {"total_weight", skip, ""}, 2: {"runtime_key_prefix", skip, ""}, // the weights are what counts
}}

var clusterWeightFields = message{"envoy.config.route.v3.WeightedCluster.ClusterWeight", map[protowire.Number]field{
	1: {"name", text, ""}, 2: {"weight", msg, ""},

	12: {"cluster_header", denyText, "name"}, 3: {"metadata_match", deny, ""},
	4: {"request_headers_to_add", deny, ""}, 9: {"request_headers_to_remove", denyText, ""},
	5: {"response_headers_to_add", deny, ""}, 6: {"response_headers_to_remove", denyText, ""},
	10: {"typed_per_filter_config", deny, "it on the route"}, 11: {"host_rewrite_literal", denyText, ""},
}}

// action reads a RouteAction. Where both timeout and max_stream_duration are
// given, as for control planes that serve Envoy and gRPC alike, the smaller
// one bounds the call.
func (r *Route) action(b []byte) error {
	var one, several bool
	var longest time.Duration
	r.Timeout = DefaultTimeout
	err := routeActionFields.walk(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1:
			one = true
			if len(v.b) == 0 {
				return errMissing
			}
			r.Clusters = []WeightedCluster{{Name: string(v.b), Weight: 1}}
		case 3:
			several = true
			r.Clusters, err = weightedClusters(v.b)
		case 8:
			r.Timeout, err = duration(v.b)
		case 36:
			err = maxStreamFields.walk(v.b, func(_ protowire.Number, v value) (err error) {
				longest, err = duration(v.b)
				return err
			})
		case 15:
			err = r.hash(v.b)
		case 20:
			var ok bool
			if r.Unknown, ok = notFoundCodes[v.n]; !ok {
				err = fmt.Errorf("%d is not supported, want 0, 1 or 2", v.n)
			}
		case 30:
			err = r.mirror(v.b)
		case 9:
			err = r.retry(v.b)
		}
		return err
	})
	if err != nil {
		return err
	}
	if one == several {
		return in("cluster_specifier", errors.New("want exactly one of cluster and weighted_clusters"))
	}
	if longest > 0 && (r.Timeout == 0 || longest < r.Timeout) {
		r.Timeout = longest
	}
	return nil
}

// weightedClusters leaves out those of weight 0.
func weightedClusters(b []byte) ([]WeightedCluster, error) {
	var all []WeightedCluster
	var sum uint64
	err := weightedFields.walk(b, func(_ protowire.Number, v value) error {
		var c WeightedCluster
		weighed := false
		err := clusterWeightFields.walk(v.b, func(n protowire.Number, v value) (err error) {
			if n == 1 {
				c.Name = string(v.b)
			} else {
				weighed = true
				c.Weight, err = wrapped32(v.b)
			}
			return err
		})
		switch {
		case err != nil:
			return err
		case c.Name == "":
			return in("name", errMissing)
		case !weighed:
			return in("weight", errMissing)
		}
		sum += uint64(c.Weight)
		if c.Weight > 0 {
			all = append(all, c)
		}
		return nil
	})
	if err == nil && (sum == 0 || sum > math.MaxUint32) {
		err = in("clusters", fmt.Errorf("weights add up to %d, want 1..%d", sum, uint32(math.MaxUint32)))
	}
	return all, err
}
