package resource

import "time"

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
	SlowStart      SlowStart
	Reports        Reports
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

// A HashPolicy is one of RouteAction.hash_policy: what of a call is hashed,
// for the balancers ring_hash and maglev. Exactly one source is set.
type HashPolicy struct {
	Header string // in lower case; ":path" is the path with its query
	Cookie string
	// CookieTTL is said where a call without the cookie is to be given one;
	// GenerateCookie tells a TTL of 0, a session's cookie, from none.
	GenerateCookie bool
	CookieTTL      time.Duration
	CookiePath     string
	Query          string // the parameter's name
	SourceAddress  bool   // connection_properties.source_ip

	// Terminal ends the list once something of it was there to be hashed.
	Terminal bool
}
