package resource

import "time"

// A HeaderMatch is one of RouteMatch.headers: a header that a call must have
// for a route to be its own. Exactly one of Exact, Prefix and Regex counts, or
// Present alone.
type HeaderMatch struct {
	Name    string // in lower case; ":method" is the method
	Exact   string
	Prefix  string
	Regex   *Regex
	Present bool // any value
	Invert  bool // invert_match: it must not
}

// A QueryMatch is one of RouteMatch.query_parameters.
type QueryMatch struct {
	Name    string
	Exact   string
	Regex   *Regex
	Present bool
}

// A Mirror is one of RouteAction.request_mirror_policies: a share of the calls
// goes to another cluster too, whose answers nobody sees.
type Mirror struct {
	Cluster string
	Share   float64 // runtime_fraction, 0 to 1
}

// A Fault is what a route does to calls on purpose
// (envoy.extensions.filters.http.fault.v3.HTTPFault, in the route's
// typed_per_filter_config under "envoy.filters.http.fault").
type Fault struct {
	Headers    []HeaderMatch // only to calls that match all
	Delay      time.Duration // delay.fixed_delay
	DelayShare float64       // 0 to 1
	Abort      int           // abort.http_status; 1000 and more is a gRPC code, as 1000 + code
	AbortShare float64
}

// A RateLimit bounds a route's calls
// (envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit, in the
// route's typed_per_filter_config under "envoy.filters.http.local_ratelimit").
// Each client has the whole of it, unless Shared.
type RateLimit struct {
	PerSecond float64 // tokens_per_fill ÷ fill_interval; 0: no limit
	Burst     float64 // max_tokens
	// Shared says that the limit is that of all clients together: each keeps
	// the part that the control plane gives it (Shares; metadata field
	// rateLimit.shared).
	Shared bool
}

// A Session keeps the calls of one client at one instance, by a cookie that
// names the instance (metadata field session).
type Session struct {
	Cookie string        // its name; empty: no sessions
	Path   string        // of the cookie; empty: /
	TTL    time.Duration // 0: as long as the client's session
	Key    string        // signs it; the same for all callers of the service
}

// A Hedge says when a call is made a second time although the first may still
// be answered (metadata field hedge). Only calls that may be made twice are.
type Hedge struct {
	Disabled bool
	Share    float64       // of the calls, at most
	Delay    time.Duration // 0: the live quantile that Share leaves above it
}

// Shares are this client's parts of limits that are meant for all clients
// together: of a cluster's SharedRequests (calls at once), of a route's
// RateLimit (calls a second), by the name of the cluster or route. A limit
// without an entry is not divided yet.
// (envoy.service.runtime.v3.Runtime; docs/reference/wire.md has the layout.)
type Shares struct {
	Requests map[string]float64
	Rates    map[string]float64
}
