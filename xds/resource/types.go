// Package resource is the typed form of the xDS that meshd's sidecar
// supports: it decodes Envoy's v3 protobufs, validates them and yields plain
// Go values. Whatever is not supported is named in the error, so that it can
// travel back in a NACK; nothing is ignored in silence.
//
// The package imports nothing of ours.
package resource

import (
	"net/netip"
	"time"
)

// Type URLs of the four resource types that the sidecar asks for.
const (
	ListenerType  = "type.googleapis.com/envoy.config.listener.v3.Listener"
	RouteType     = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
	ClusterType   = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	EndpointsType = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
)

// MetadataKey is the filter_metadata key under which meshd puts what xDS has
// no standard field for; docs/reference/wire.md lists the fields.
const MetadataKey = "meshd.io"

// A Listener is an API listener (envoy.config.listener.v3.Listener.api_listener),
// asked for by the authority that an application calls, such as "checkout:8080".
type Listener struct {
	Name string
	// RouteName is the RouteConfiguration to ask for (RDS); empty when Routes
	// is given inline.
	RouteName string
	Routes    *RouteConfig
}

// A RouteConfig is envoy.config.route.v3.RouteConfiguration.
type RouteConfig struct {
	Name         string
	Version      string // the control plane's, as the client has heard it
	VirtualHosts []VirtualHost
}

// A VirtualHost is envoy.config.route.v3.VirtualHost: the routes of the
// authorities that match Domains (exact, "*.suffix", "prefix.*" or "*").
type VirtualHost struct {
	Name    string
	Domains []string
	Routes  []Route
}

// A Route is envoy.config.route.v3.Route with a RouteAction, or a
// DirectResponseAction of a failure. Exactly one of Path and Prefix is set.
type Route struct {
	Name   string
	Path   string // exact match of the path, without the query
	Prefix string // "/" matches everything
	// Separated says that Prefix ends where a segment does: /a matches /a and
	// /a/b, and not /ab (path_separated_prefix).
	Separated bool
	// Headers and Query must all match, too. Match is by the first route that does.
	Headers []HeaderMatch
	Query   []QueryMatch

	// Service is the canonical name, such as "default/checkout:8080", for
	// metrics and traces (metadata field service; the cluster's name otherwise).
	Service string
	// Clusters to choose from by weight; none: calls have nowhere to go.
	Clusters []WeightedCluster
	// Unknown is the status that answers a call whose cluster does not exist (404,
	// 500, or 0 for 503: RouteAction.cluster_not_found_response_code), or every
	// call where there is no cluster (DirectResponseAction.status).
	Unknown int

	Timeout        time.Duration // RouteAction.timeout: whole call, all attempts; 0 is none
	AttemptTimeout time.Duration // RetryPolicy.per_try_timeout; 0 is none
	Retry          Retry

	// Hash says what of a call ring_hash and maglev go by, in order
	// (RouteAction.hash_policy).
	Hash []HashPolicy

	Session   Session
	Hedge     Hedge
	Mirrors   []Mirror
	Fault     Fault
	RateLimit RateLimit
	// Priority of calls that say none: sheddable, sheddable-plus, critical or
	// critical-plus (metadata field priority); empty is critical.
	Priority string

	Via        bool      // add Via on requests and responses (metadata field via)
	Forwarded  Forwarded // metadata field forwarded
	TraceRatio float64   // metadata field traceRatio; negative: the sidecar's own default
}

// A WeightedCluster names a cluster and its share of the calls.
type WeightedCluster struct {
	Name   string
	Weight uint32
}

// Forwarded says which forwarding header a proxy adds.
type Forwarded uint8

// The forwarding headers: none, X-Forwarded-For and -Proto, or RFC 7239.
const (
	ForwardedNone Forwarded = iota
	ForwardedX
	ForwardedRFC7239
)

// RetryOn is a set of reasons for which a call is tried again.
type RetryOn uint16

// The reasons, with the words of Envoy's x-envoy-retry-on.
const (
	RetryConnectFailure RetryOn = 1 << iota // connect-failure
	RetryReset                              // reset
	Retry502                                // retriable_status_codes 502, or gateway-error
	Retry503
	Retry504
	// RetryRefused is refused-stream: the endpoint said that it has not looked
	// at the request (RFC 9113 section 8.7), so that any method may go again.
	RetryRefused
	// The codes of gRPC, before the first response message.
	RetryCancelled         // cancelled
	RetryDeadlineExceeded  // deadline-exceeded
	RetryInternal          // internal
	RetryResourceExhausted // resource-exhausted
	RetryUnavailable       // unavailable
)

// Retry is envoy.config.route.v3.RetryPolicy. Only idempotent methods
// (RFC 9110 section 9.2.2) are retried after a request may have been seen.
type Retry struct {
	Attempts    int // further attempts after the first; 0 turns retries off
	On          RetryOn
	BackoffBase time.Duration // retry_back_off.base_interval, jittered
	BackoffMax  time.Duration
	// BufferBytes bounds the request body kept for replay (metadata field
	// retryBufferBytes); a longer body makes the call not retriable.
	BufferBytes int
}

// A Protocol is what the endpoints of a cluster speak.
type Protocol uint8

// The protocols, as HttpProtocolOptions has them.
const (
	// ProtocolAuto is use_downstream_protocol_config: HTTP/2 for calls that
	// came over HTTP/2, HTTP/1.1 for the others.
	ProtocolAuto  Protocol = iota
	ProtocolHTTP1          // explicit_http_config.http_protocol_options, and where nothing is said
	ProtocolHTTP2          // explicit_http_config.http2_protocol_options, cleartext with prior knowledge
	ProtocolTCP            // metadata field protocol "tcp": bytes that nobody looks at
)

// A Cluster is envoy.config.cluster.v3.Cluster of type EDS.
type Cluster struct {
	Name           string
	Version        string // the control plane's, as the client has heard it
	EDSName        string // eds_cluster_config.service_name, or Name
	ConnectTimeout time.Duration
	Protocol       Protocol
	// Balancer is one of Balancers (metadata field balancer, or else lb_policy).
	Balancer  string
	Balancing Balancing
	Limits    Limits
	Breaker   Breaker
	Budget    Budget
	Check     HealthCheck
	Outlier   Outlier
	Hold      Hold
	Admission Admission
	// SharedRequests bounds the calls in flight of all clients together; each
	// keeps the part that the control plane gives it (Shares; metadata field
	// sharedRequests). 0: no such bound.
	SharedRequests uint32
	// IdleTimeout of pooled connections (HttpProtocolOptions.idle_timeout or
	// metadata field idleTimeout); 0 is the sidecar's default.
	IdleTimeout time.Duration
}

// Limits is envoy.config.cluster.v3.CircuitBreakers of the default priority.
// Zero means no limit.
type Limits struct {
	Connections uint32 // max_connections, per endpoint
	Pending     uint32 // max_pending_requests, per cluster
	Requests    uint32 // max_requests, per cluster
}

// Breaker configures the circuit breaker of each endpoint (metadata field
// breaker). It opens when either rule holds.
type Breaker struct {
	Disabled            bool
	ConsecutiveFailures uint32  // 0 turns this rule off
	ErrorRatio          float64 // of the rolling window; 0 turns this rule off
	MinRequests         uint32  // in the window before ErrorRatio counts
	Window              time.Duration
	OpenFor             time.Duration // before the first half-open trial
	HalfOpenRequests    uint32        // trials let through while half open
}

// Budget bounds the retries of a cluster: Ratio of its calls plus
// MinPerSecond (metadata field budget).
type Budget struct {
	Ratio        float64
	MinPerSecond float64
}

// Endpoints is envoy.config.endpoint.v3.ClusterLoadAssignment.
type Endpoints struct {
	Cluster   string
	Endpoints []Endpoint
	// Overprovisioning is policy.overprovisioning_factor, a hundredth of it: a
	// priority takes all calls while so many times its fit share is 1 or more.
	// 0 is DefaultOverprovisioning.
	Overprovisioning float64
}

// DefaultOverprovisioning is Envoy's.
const DefaultOverprovisioning = 1.4

// An Endpoint is one LbEndpoint with its locality.
type Endpoint struct {
	Addr     netip.AddrPort
	ID       string // metadata field id: the instance's name, or empty
	Weight   uint32 // at least 1
	Priority uint32
	Region   string
	Zone     string
	// LocalityWeight is LocalityLbEndpoints.load_balancing_weight, of all the
	// endpoints of the locality together; 0 is not said.
	LocalityWeight uint32
	Health         Health
	// Started is when the instance began to take calls, in ms since 1970
	// (metadata field startedAt); 0 is not known.
	Started int64
}

// Health is envoy.config.core.v3.HealthStatus, reduced to what a balancer
// needs to know.
type Health uint8

// Unknown and HEALTHY count as Healthy; DRAINING takes no new calls;
// UNHEALTHY and TIMEOUT are Unhealthy; DEGRADED is Healthy.
const (
	Healthy Health = iota
	Draining
	Unhealthy
)

// An Instance is what a sidecar tells meshd of itself, in the Node's metadata
// under MetadataKey; docs/reference/wire.md has the field names. It is sent
// again in a later DiscoveryRequest whenever it changes.
type Instance struct {
	ID          string // unique within the mesh; empty: a client that registers no instance
	Client      string // names such a client in node.id, unique within the mesh; not part of the metadata
	Service     string
	Namespace   string
	ServicePort uint16         // the port that callers name
	Addr        netip.AddrPort // where callers' sidecars connect: our inbound listener
	Weight      uint32
	Region      string
	Zone        string
	Ready       bool // false while the application does not answer, or while draining
	Draining    bool
	Admin       string // host:port of the sidecar's admin listener
	PID         int
	Version     string // of the sidecar
}
