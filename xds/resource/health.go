package resource

import "time"

// A HealthCheck is one of Cluster.health_checks: the endpoints are asked
// whether they are well. At most one a cluster.
type HealthCheck struct {
	Kind    HealthCheckKind
	Path    string // of HTTP: the request's path
	Host    string // of HTTP: Host; empty: the cluster's name
	HTTP2   bool   // http_health_check.codec_client_type
	Service string // of gRPC: HealthCheckRequest.service
	// Expect are the statuses that count as well, from and up to (exclusive);
	// empty: 200.
	Expect [][2]int

	Timeout           time.Duration
	Interval          time.Duration // while well
	UnhealthyInterval time.Duration // while not; 0: Interval
	NoTrafficInterval time.Duration // while nobody calls the cluster; 0: 60 s
	Jitter            float64       // interval_jitter_percent, 0 to 1: of the interval, at random, on top
	Unhealthy         uint32        // failures in a row that make an endpoint unhealthy
	Healthy           uint32        // successes in a row that make it well again
}

// A HealthCheckKind is how an endpoint is asked.
type HealthCheckKind uint8

// The kinds.
const (
	HealthCheckNone HealthCheckKind = iota
	HealthCheckHTTP
	HealthCheckGRPC // grpc.health.v1.Health
	HealthCheckTCP  // a connection is all
)

// Outlier is Cluster.outlier_detection: an endpoint that does worse than the
// others takes no calls for a while. Each rule is off where its number is 0.
type Outlier struct {
	Disabled bool
	Interval time.Duration // between two looks at the rates
	// An endpoint is out for BaseEjection times how often it was lately, at
	// most MaxEjection, and up to Jitter more.
	BaseEjection time.Duration
	MaxEjection  time.Duration
	Jitter       time.Duration
	MaxEjected   float64 // share of the endpoints that may be out, 0 to 1; one always may

	Consecutive uint32 // consecutive_5xx: failures in a row, of any kind
	// Success rate: an endpoint is an outlier whose rate of successes is below
	// mean − StdevFactor × standard deviation over those with at least
	// SuccessVolume calls in the interval, of which there are SuccessHosts.
	StdevFactor   float64 // success_rate_stdev_factor ÷ 1000
	SuccessHosts  uint32
	SuccessVolume uint32
	// Failure percentage: as much as Percentage (0 to 1) of the calls failed.
	Percentage       float64
	PercentageHosts  uint32
	PercentageVolume uint32
	// Latency is ours (metadata field outlier.latencyFactor): its mean latency
	// is so many times the median of the others', with SuccessVolume calls.
	LatencyFactor float64
}

// Hold says how calls wait while a cluster has no endpoint that takes any
// (metadata field hold).
type Hold struct {
	Calls uint32        // that wait, at most; 0: none does
	Wait  time.Duration // at most
	// Scaled says that the cluster gets more endpoints when it has too much to
	// do: then calls wait at its limit of requests, too.
	Scaled bool
}

// Admission says how an instance's own sidecar lets calls in (metadata field
// admission of the Cluster of its service).
type Admission struct {
	Disabled bool
	Min, Max uint32        // of calls at once; 0: as breaker.AdaptiveConfig has it
	Queue    uint32        // calls that wait; 0: the default
	MaxWait  time.Duration // 0: the default
}
