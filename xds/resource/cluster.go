package resource

import (
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
)

// What other discovery types alone use is skipped, since they are refused;
// what changes how instances are reached, or which, is refused.
var clusterFields = message{"envoy.config.cluster.v3.Cluster", map[protowire.Number]field{
	1: {"name", text, ""}, 2: {"type", num, ""}, 3: {"eds_cluster_config", msg, ""},
	4: {"connect_timeout", msg, ""}, 6: {"lb_policy", num, ""}, 10: {"circuit_breakers", msg, ""},
	25: {"metadata", msg, ""}, 29: {"common_http_protocol_options", msg, ""},
	36: {"typed_extension_protocol_options", msgs, ""},
	14: {"http2_protocol_options", msg, ""}, 26: {"protocol_selection", num, ""},
	27: {"common_lb_config", msg, ""}, 23: {"ring_hash_lb_config", msg, ""}, 52: {"maglev_lb_config", msg, ""},
	37: {"least_request_lb_config", msg, ""}, 56: {"round_robin_lb_config", msg, ""},
	8: {"health_checks", msgs, ""}, 19: {"outlier_detection", msg, ""},

	38: {"cluster_type", deny, "type EDS"}, 33: {"load_assignment", deny, "type EDS"},
	41: {"load_balancing_policy", deny, "lb_policy"}, 22: {"lb_subset_config", deny, ""},
	34: {"original_dst_lb_config", deny, balancerWords},
	24: {"transport_socket", deny, ""}, 43: {"transport_socket_matches", deny, ""},
	59: {"transport_socket_matcher", deny, ""}, 21: {"upstream_bind_config", deny, ""},
	9: {"max_requests_per_connection", deny, ""}, 46: {"upstream_http_protocol_options", deny, ""},
	40: {"filters", deny, ""}, 48: {"upstream_config", deny, ""},
	51: {"connection_pool_per_downstream_connection", off, ""}, 62: {"queuing_policies", deny, ""},

	28: {"alt_stat_name", skip, ""}, 61: {"stats_matcher", skip, ""}, 47: {"track_timeout_budgets", skip, ""},
	49: {"track_cluster_stats", skip, ""}, 42: {"lrs_server", skip, ""}, // loads are reported over OTLP
	57: {"lrs_report_endpoint_metrics", skip, ""},
	5:  {"per_connection_buffer_limit_bytes", skip, ""}, 60: {"per_connection_buffer_high_watermark_timeout", skip, ""},
	13: {"http_protocol_options", skip, ""}, 30: {"upstream_connection_options", skip, ""},
	16: {"dns_refresh_rate", skip, ""}, 58: {"dns_jitter", skip, ""}, 44: {"dns_failure_refresh_rate", skip, ""},
	39: {"respect_dns_ttl", skip, ""}, 17: {"dns_lookup_family", skip, ""}, 18: {"dns_resolvers", skip, ""},
	45: {"use_tcp_for_dns_lookups", skip, ""}, 53: {"dns_resolution_config", skip, ""},
	55: {"typed_dns_resolver_config", skip, ""}, 54: {"wait_for_warm_on_init", skip, ""},
	20: {"cleanup_interval", skip, ""},
	31: {"close_connections_on_host_health_failure", skip, ""}, 32: {"ignore_health_on_host_removal", skip, ""},
	50: {"preconnect_policy", skip, ""},
}}

var edsFields = message{"envoy.config.cluster.v3.Cluster.EdsClusterConfig", map[protowire.Number]field{
	1: {"eds_config", msg, ""}, 2: {"service_name", text, ""},
}}

var breakersFields = message{"envoy.config.cluster.v3.CircuitBreakers", map[protowire.Number]field{
	1: {"thresholds", msgs, ""}, 2: {"per_host_thresholds", msgs, ""},
}}

var thresholdsFields = message{"envoy.config.cluster.v3.CircuitBreakers.Thresholds", map[protowire.Number]field{
	1: {"priority", num, ""}, 2: {"max_connections", msg, ""},
	3: {"max_pending_requests", msg, ""}, 4: {"max_requests", msg, ""},
	// Retries are bounded by the budget in our metadata.
	5: {"max_retries", skip, ""}, 8: {"retry_budget", skip, ""},
	6: {"track_remaining", skip, ""}, 7: {"max_connection_pools", skip, ""},
}}

// Enum values of Cluster.
const (
	discoveryEDS       = 3
	downstreamProtocol = 1

	balancerWords = "ROUND_ROBIN, LEAST_REQUEST, RING_HASH, RANDOM or MAGLEV"
)

// DefaultBreaker and DefaultBudget are in force where a control plane does not
// send our metadata; single fields of it replace single fields of these.
func DefaultBreaker() Breaker {
	return Breaker{
		ConsecutiveFailures: 5, ErrorRatio: 0.5, MinRequests: 20,
		Window: 10 * time.Second, OpenFor: 5 * time.Second, HalfOpenRequests: 3,
	}
}

// DefaultBudget is 20 % of the calls plus 3 a second.
func DefaultBudget() Budget { return Budget{Ratio: 0.2, MinPerSecond: 3} }

// DecodeCluster reads a Cluster whose endpoints come from EDS over this
// stream. The error names the cluster, the field and the value.
func DecodeCluster(a *anypb.Any) (*Cluster, error) {
	name, b, err := open(a, ClusterType)
	if err != nil {
		return nil, err
	}
	// Envoy's default for connect_timeout is 5 s, for the protocol HTTP/1.1.
	c := &Cluster{Name: name, EDSName: name, ConnectTimeout: 5 * time.Second, Protocol: ProtocolHTTP1,
		Balancer: "round_robin", Balancing: DefaultBalancing(), Breaker: DefaultBreaker(), Budget: DefaultBudget(),
		Outlier: Outlier{Disabled: true}}
	if err := c.decode(b); err != nil {
		return nil, fmt.Errorf("cluster %q: %w", name, err)
	}
	return c, nil
}

func (c *Cluster) decode(b []byte) error {
	var discovery uint64
	var eds bool
	var own own
	var spoken protocols
	err := clusterFields.walk(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 2:
			discovery = v.n
		case 3:
			eds = true
			err = c.eds(v.b)
		case 4:
			c.ConnectTimeout, err = positive(v.b)
		case 6:
			if c.Balancer = lbPolicy(v.n); c.Balancer == "" {
				err = fmt.Errorf("%d is not supported, want %s", v.n, balancerWords)
			}
		case 23, 27, 37, 52, 56:
			err = c.Balancing.decode(n, v.b)
		case 8:
			err = c.Check.check(v.b)
		case 19:
			err = c.Outlier.outlier(v.b)
		case 10:
			err = c.limits(v.b)
		case 25:
			own, err = c.metadata(v.b)
		case 29:
			err = c.commonHTTP(v.b)
		case 14:
			spoken.legacy2 = true
			err = http2Options(v.b)
		case 26:
			spoken.legacyAuto = v.n == downstreamProtocol
			if v.n > downstreamProtocol {
				err = fmt.Errorf("%d is not supported, want USE_CONFIGURED_PROTOCOL or USE_DOWNSTREAM_PROTOCOL", v.n)
			}
		case 36:
			spoken.typed, err = c.protocolOptions(v.b)
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case c.Name == "":
		return in("name", errMissing)
	case discovery != discoveryEDS:
		return in("type", fmt.Errorf("%d is not supported, want EDS", discovery))
	case !eds:
		return in("eds_cluster_config", errors.New("missing, want eds_config "+adsOrSelf))
	}
	if r := c.Balancing.Ring; r.Min > r.Max {
		return in("ring_hash_lb_config", fmt.Errorf("minimum_ring_size is %d, want at most maximum_ring_size, which is %d", r.Min, r.Max))
	}
	if own.balancer != "" {
		c.Balancer = own.balancer
	}
	c.Protocol = spoken.choose()
	if own.protocol == "tcp" {
		c.Protocol = ProtocolTCP
	}
	return nil
}

func (c *Cluster) eds(b []byte) error {
	source := false
	err := edsFields.walk(b, func(n protowire.Number, v value) error {
		if n == 1 {
			source = true
			return fromADS(v.b)
		}
		if len(v.b) > 0 {
			c.EDSName = string(v.b)
		}
		return nil
	})
	if err == nil && !source {
		err = in("eds_config", errors.New("missing, want "+adsOrSelf))
	}
	return err
}

// limits reads CircuitBreakers. Thresholds of priority HIGH concern no route,
// since a route of that priority is refused.
func (c *Cluster) limits(b []byte) error {
	var perHost *uint32
	err := breakersFields.walk(b, func(n protowire.Number, v value) error {
		var l Limits
		var high, connections bool
		err := thresholdsFields.walk(v.b, func(n protowire.Number, v value) (err error) {
			switch n {
			case 1:
				high = v.n != 0
			case 2:
				connections = true
				l.Connections, err = wrapped32(v.b)
			case 3:
				l.Pending, err = wrapped32(v.b)
			case 4:
				l.Requests, err = wrapped32(v.b)
			}
			return err
		})
		switch {
		case err != nil || high:
		case n == 1:
			c.Limits = l
		case connections:
			perHost = &l.Connections
		}
		return err
	})
	if perHost != nil {
		c.Limits.Connections = *perHost
	}
	return err
}

// own are those of our fields that come before a standard one, wherever the
// two stand.
type own struct{ balancer, protocol string }

// metadata reads our fields on a Cluster.
func (c *Cluster) metadata(b []byte) (o own, err error) {
	d, err := metadata(b)
	if err != nil {
		return o, err
	}
	const most = 1 << 20
	d.text("balancer", &o.balancer, Balancers()...)
	d.integer("subset", &c.Balancing.Subset, MaxEndpoints)
	d.object("reports", func(d *dict) {
		r := &c.Balancing.Reports
		d.duration("blackout", &r.Blackout)
		d.duration("expiration", &r.Expiration)
		d.duration("update", &r.Update)
		d.number("errorPenalty", &r.ErrorPenalty, 0, 1000)
	})
	d.text("protocol", &o.protocol, "tcp")
	d.object("breaker", func(d *dict) {
		d.boolean("disabled", &c.Breaker.Disabled)
		d.integer("consecutiveFailures", &c.Breaker.ConsecutiveFailures, most)
		d.number("errorRatio", &c.Breaker.ErrorRatio, 0, 1)
		d.integer("minRequests", &c.Breaker.MinRequests, most)
		d.duration("window", &c.Breaker.Window)
		d.duration("openFor", &c.Breaker.OpenFor)
		d.integer("halfOpenRequests", &c.Breaker.HalfOpenRequests, most)
	})
	d.object("budget", func(d *dict) {
		d.number("ratio", &c.Budget.Ratio, 0, 1)
		d.number("minPerSecond", &c.Budget.MinPerSecond, 0, 1e6)
	})
	d.duration("idleTimeout", &c.IdleTimeout)
	d.object("outlier", func(d *dict) { d.number("latencyFactor", &c.Outlier.LatencyFactor, 0, 1000) })
	d.object("hold", func(d *dict) {
		d.integer("calls", &c.Hold.Calls, most)
		d.duration("wait", &c.Hold.Wait)
		d.boolean("scaled", &c.Hold.Scaled)
	})
	d.object("admission", func(d *dict) {
		a := &c.Admission
		d.boolean("disabled", &a.Disabled)
		d.integer("min", &a.Min, most)
		d.integer("max", &a.Max, most)
		d.integer("queue", &a.Queue, most)
		d.duration("maxWait", &a.MaxWait)
		if d.err == nil && a.Max > 0 && a.Max < a.Min {
			d.err = in("max", fmt.Errorf("%d is not valid, want at least min, %d", a.Max, a.Min))
		}
	})
	d.integer("sharedRequests", &c.SharedRequests, most)
	return o, ours(d.done())
}
