package resource

import (
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Balancing is what a cluster's balancer is set to, beside its name.
type Balancing struct {
	// Ring is of ring_hash, TableSize of maglev (a prime); LoadFactor of both:
	// no endpoint takes more than that many times its share of the calls in
	// flight; 0 is no bound.
	Ring       RingSize
	TableSize  uint32  // maglev_lb_config.table_size
	LoadFactor float64 // common_lb_config.consistent_hashing_lb_config.hash_balance_factor, a hundredth of it

	// PanicThreshold is common_lb_config.healthy_panic_threshold, 0 to 1: where
	// a smaller share of a priority is fit, all of it is used. 0 turns it off.
	PanicThreshold float64
	Zone           ZoneAware
	// ByLocality is locality_weighted_lb_config: the endpoints of a locality
	// have its weight together, and zones do not count.
	ByLocality bool
	SlowStart  SlowStart
	Reports    Reports
	// Subset is how many endpoints of a priority one client uses; 0 is all
	// (metadata field subset).
	Subset uint32
}

// RingSize bounds the points of a hash ring
// (ring_hash_lb_config.minimum_ring_size and maximum_ring_size).
type RingSize struct{ Min, Max uint32 }

// ZoneAware is common_lb_config.zone_aware_lb_config: calls stay in the
// caller's zone as far as it has endpoints enough.
type ZoneAware struct {
	Disabled     bool   // routing_enabled is 0
	MinEndpoints uint32 // min_cluster_size: with fewer, zones do not count
}

// SlowStart is slow_start_config of round_robin_lb_config or
// least_request_lb_config: an endpoint's weight grows for Window from when the
// endpoint started. Window 0 turns it off.
type SlowStart struct {
	Window     time.Duration
	Aggression float64 // the weight grows with time^(1/Aggression)
	MinWeight  float64 // the share of the weight that it begins with, 0 to 1
}

// Reports says how weighted_round_robin takes weights from what endpoints
// report of their load (gRFC A58, ClientSideWeightedRoundRobin; metadata field
// reports).
type Reports struct {
	Blackout     time.Duration // reports must have come for this long
	Expiration   time.Duration // after the last one its weight is forgotten
	Update       time.Duration // how often weights are computed
	ErrorPenalty float64       // what an error adds to utilisation, times errors ÷ calls
}

// DefaultBalancing is what Envoy and gRPC do where nothing is said. Calls to one
// endpoint are not bounded by hash_balance_factor then, and there is no slow
// start.
func DefaultBalancing() Balancing {
	return Balancing{
		Ring:           RingSize{Min: 1024, Max: 8 << 20},
		TableSize:      65537,
		PanicThreshold: 0.5,
		Zone:           ZoneAware{MinEndpoints: 6},
		SlowStart:      SlowStart{Aggression: 1, MinWeight: 0.1},
		Reports:        Reports{Blackout: 10 * time.Second, Expiration: 3 * time.Minute, Update: time.Second, ErrorPenalty: 1},
	}
}

// Balancers are the policies that a cluster may name.
func Balancers() []string {
	return []string{"peak_ewma", "least_request", "round_robin", "weighted_round_robin", "random", "ring_hash", "maglev", "hcl"}
}

// lbPolicy is Cluster.LbPolicy by number; "" is not supported.
func lbPolicy(n uint64) string {
	switch n {
	case 0:
		return "round_robin"
	case 1:
		return "least_request"
	case 2:
		return "ring_hash"
	case 3:
		return "random"
	case 5:
		return "maglev"
	}
	return ""
}

var commonLBFields = message{"envoy.config.cluster.v3.Cluster.CommonLbConfig", map[protowire.Number]field{
	1: {"healthy_panic_threshold", msg, ""}, 2: {"zone_aware_lb_config", msg, ""},
	3: {"locality_weighted_lb_config", msg, ""}, 7: {"consistent_hashing_lb_config", msg, ""},

	// Updates come into force at once, and connections outlive them.
	4: {"update_merge_window", skip, ""}, 5: {"ignore_new_hosts_until_first_hc", skip, ""},
	6: {"close_connections_on_host_set_change", off, ""},
	8: {"override_host_status", skip, ""}, // of filters that are refused
}}

var zoneAwareFields = message{"envoy.config.cluster.v3.Cluster.CommonLbConfig.ZoneAwareLbConfig", map[protowire.Number]field{
	1: {"routing_enabled", msg, ""}, 2: {"min_cluster_size", msg, ""},
	3: {"fail_traffic_on_panic", off, ""},
}}

var consistentFields = message{"envoy.config.cluster.v3.Cluster.CommonLbConfig.ConsistentHashingLbConfig", map[protowire.Number]field{
	2: {"hash_balance_factor", msg, ""},
	// An instance is hashed by its name where that is known, else by its address.
	1: {"use_hostname_for_hashing", skip, ""},
}}

var ringHashFields = message{"envoy.config.cluster.v3.Cluster.RingHashLbConfig", map[protowire.Number]field{
	1: {"minimum_ring_size", msg, ""}, 4: {"maximum_ring_size", msg, ""},
	3: {"hash_function", skip, ""}, // the points are our own in any case
}}

var maglevFields = message{"envoy.config.cluster.v3.Cluster.MaglevLbConfig", map[protowire.Number]field{
	1: {"table_size", msg, ""},
}}

var roundRobinFields = message{"envoy.config.cluster.v3.Cluster.RoundRobinLbConfig", map[protowire.Number]field{
	1: {"slow_start_config", msg, ""},
}}

var leastRequestFields = message{"envoy.config.cluster.v3.Cluster.LeastRequestLbConfig", map[protowire.Number]field{
	3: {"slow_start_config", msg, ""},
	// Two choices, whose weight and load count alike.
	1: {"choice_count", skip, ""}, 2: {"active_request_bias", skip, ""},
}}

var slowStartFields = message{"envoy.config.cluster.v3.Cluster.SlowStartConfig", map[protowire.Number]field{
	1: {"slow_start_window", msg, ""}, 2: {"aggression", msg, ""}, 3: {"min_weight_percent", msg, ""},
}}

var runtimeDoubleFields = message{"envoy.config.core.v3.RuntimeDouble", map[protowire.Number]field{
	1: {"default_value", float, ""}, 2: {"runtime_key", skip, ""}, // there is no runtime
}}

var percentFields = message{"envoy.type.v3.Percent", map[protowire.Number]field{
	1: {"value", float, ""},
}}

const (
	maxRing  = 8 << 20 // Envoy's bounds
	maxTable = 5_000_011
)

// decode reads one of a Cluster's fields that say how to balance.
func (l *Balancing) decode(n protowire.Number, b []byte) error {
	switch n {
	case 23:
		return ringHashFields.walk(b, func(n protowire.Number, v value) (err error) {
			if n == 1 {
				l.Ring.Min, err = size(v.b, 0, maxRing)
			} else {
				l.Ring.Max, err = size(v.b, 1, maxRing)
			}
			return err
		})
	case 52:
		return maglevFields.walk(b, func(_ protowire.Number, v value) (err error) {
			if l.TableSize, err = size(v.b, 2, maxTable); err == nil && !prime(l.TableSize) {
				err = fmt.Errorf("%d is not valid, want a prime number", l.TableSize)
			}
			return err
		})
	case 37:
		return leastRequestFields.walk(b, func(_ protowire.Number, v value) error { return l.SlowStart.decode(v.b) })
	case 56:
		return roundRobinFields.walk(b, func(_ protowire.Number, v value) error { return l.SlowStart.decode(v.b) })
	}
	return l.common(b)
}

func (l *Balancing) common(b []byte) error {
	return commonLBFields.walk(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1:
			l.PanicThreshold, err = percent(v.b)
		case 2:
			err = l.Zone.decode(v.b)
		case 3:
			l.ByLocality = true
		case 7:
			err = consistentFields.walk(v.b, func(_ protowire.Number, v value) error {
				factor, err := size(v.b, 100, math.MaxUint32)
				l.LoadFactor = float64(factor) / 100
				return err
			})
		}
		return err
	})
}

func (z *ZoneAware) decode(b []byte) error {
	return zoneAwareFields.walk(b, func(n protowire.Number, v value) error {
		if n == 1 {
			enabled, err := percent(v.b)
			if err == nil && enabled != 0 && enabled != 1 {
				err = fmt.Errorf("%v %% is not supported, want 0 or 100", 100*enabled)
			}
			z.Disabled = enabled == 0
			return err
		}
		n64, err := wrapped(v.b)
		z.MinEndpoints = uint32(min(n64, math.MaxUint32))
		return err
	})
}

func (s *SlowStart) decode(b []byte) error {
	return slowStartFields.walk(b, func(n protowire.Number, v value) (err error) {
		switch n {
		case 1:
			s.Window, err = duration(v.b)
		case 2:
			err = runtimeDoubleFields.walk(v.b, func(_ protowire.Number, v value) error {
				if s.Aggression = math.Float64frombits(v.n); !(s.Aggression > 0 && s.Aggression <= math.MaxFloat64) {
					return fmt.Errorf("%v is not valid, want a number above 0", s.Aggression)
				}
				return nil
			})
		case 3:
			s.MinWeight, err = percent(v.b)
		}
		return err
	})
}

// percent reads envoy.type.v3.Percent, as a share.
func percent(b []byte) (share float64, err error) {
	err = percentFields.walk(b, func(_ protowire.Number, v value) error {
		p := math.Float64frombits(v.n)
		if !(p >= 0 && p <= 100) {
			return fmt.Errorf("%v is not valid, want 0 to 100", p)
		}
		share = p / 100
		return nil
	})
	return share, err
}

// size reads a wrapped number of lo..hi.
func size(b []byte, lo, hi uint64) (uint32, error) {
	n, err := wrapped(b)
	if err == nil && (n < lo || n > hi) {
		err = fmt.Errorf("%d is not valid, want %d..%d", n, lo, hi)
	}
	return uint32(n), err
}

func prime(n uint32) bool {
	for d := uint32(2); uint64(d)*uint64(d) <= uint64(n); d++ {
		if n%d == 0 {
			return false
		}
	}
	return n > 1
}
