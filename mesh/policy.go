package mesh

import (
	"slices"
	"time"
)

// A TrafficPolicy (meshd.io/v1alpha1) says how calls to services are made.
type TrafficPolicy struct {
	Meta
	Targets []PolicyTarget
	Policy  Policy // what is not given has its default
}

// A PolicyTarget is one of spec.targetRefs: a service of the policy's
// namespace.
type PolicyTarget struct {
	Name string
	Port uint16 // 0 is all ports
}

// A Policy is how calls to one port of a service are made, complete. It is
// immutable.
type Policy struct {
	// Protocol is what the Service's port says; no TrafficPolicy sets it.
	Protocol  Protocol
	Balancer  string // one of balancers
	Balancing Balancing
	Timeout   Timeout
	Retry     Retry
	Breaker   Breaker
	Outlier   Outlier
	Check     HealthCheck
	Limits    Limits
	Hold      Hold
	Admission Admission
	// Priority of calls that say none: one of priorities.
	Priority  string
	Session   Session
	RateLimit RateLimit
	Fault     Fault
	Mirrors   []RouteMirror
	Headers   Headers
	// TraceRatio of calls is sampled where the caller has not decided;
	// negative: as the sidecar is set.
	TraceRatio float64
}

// Timeout bounds calls in time.
type Timeout struct {
	Request time.Duration // a call with all its attempts; 0 is no bound
	Attempt time.Duration // one attempt; 0 is no bound
	Connect time.Duration // establishing a connection
	Idle    time.Duration // of a pooled connection
}

// Retry says which calls are tried again, how often and when.
type Retry struct {
	Attempts    int      // further ones after the first; 0 turns retries off
	When        []string // see retryReasons; sorted, without doubles
	BackoffBase time.Duration
	BackoffMax  time.Duration
	Budget      Budget
	BufferBytes int // request body kept for replay
	Hedge       Hedge
}

// Budget bounds retries to Ratio of the calls plus MinPerSecond.
type Budget struct {
	Ratio        float64
	MinPerSecond float64
}

// Breaker is the circuit breaker of each endpoint. It opens when either rule
// holds.
type Breaker struct {
	Disabled            bool
	ConsecutiveFailures uint32  // 0 turns this rule off
	ErrorRatio          float64 // of the calls of the last Window; 0 turns this rule off
	MinRequests         uint32  // in Window, before ErrorRatio counts
	Window              time.Duration
	OpenFor             time.Duration // before the first trial
	HalfOpenRequests    uint32        // trials let through
}

// Limits are caps; 0 is none. Each caller's sidecar keeps them for itself, but
// for SharedRequests.
type Limits struct {
	Connections uint32 // to an endpoint
	Pending     uint32 // calls that wait, to the service
	Requests    uint32 // calls in flight, to the service
	// SharedRequests are calls in flight of all callers together.
	SharedRequests uint32
}

// Headers says what a call is told of the proxies it went through.
type Headers struct {
	Via       bool
	Forwarded string // none, x-forwarded or rfc7239
}

// What is accepted where a word is.
var (
	forwarded    = []string{"none", "x-forwarded", "rfc7239"}
	retryReasons = []string{
		"connect-failure", "refused-stream", "reset", "502", "503", "504",
		"cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable",
	}
	// defaultReasons are those after which a second attempt may well succeed:
	// the other codes of gRPC are as likely to be the application's answer.
	defaultReasons = []string{"502", "503", "504", "connect-failure", "refused-stream", "reset", "unavailable"}
)

// DefaultPolicy is the policy of a service that no TrafficPolicy names.
func DefaultPolicy() Policy {
	return Policy{
		Balancer: "peak_ewma", Balancing: defaultBalancing(),
		Timeout: Timeout{Request: 15 * time.Second, Connect: time.Second, Idle: 90 * time.Second},
		Retry: Retry{
			Attempts: 2, When: slices.Clone(defaultReasons),
			BackoffBase: 10 * time.Millisecond, BackoffMax: 250 * time.Millisecond,
			Budget: Budget{Ratio: 0.2, MinPerSecond: 3}, BufferBytes: 64 << 10,
			Hedge: Hedge{Share: 0.02},
		},
		Breaker: Breaker{
			ConsecutiveFailures: 5, ErrorRatio: 0.5, MinRequests: 20,
			Window: 10 * time.Second, OpenFor: 5 * time.Second, HalfOpenRequests: 3,
		},
		Outlier: defaultOutlier(), Hold: defaultHold(), Priority: "critical",
		Limits:     Limits{Connections: 1024, Pending: 1024, Requests: 1024},
		Headers:    Headers{Forwarded: "none"},
		TraceRatio: -1,
	}
}
