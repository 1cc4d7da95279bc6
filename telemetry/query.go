package telemetry

import "time"

// A Reader is what can be asked of a Store. All of its methods may be called
// from any goroutine, answer of memory that is bounded (docs/design/010), and
// end with the newest second that reports have covered, one to two ago.
type Reader interface {
	// Series is a service, or an instance of it, step by step, oldest first;
	// nil when it is not known.
	Series(Service, Selection, Span) []Sample
	// Instances are those that did something in the span, or were to get calls,
	// by id.
	Instances(Service, Span) []InstanceStat
	// Scatter is one dot for each instance and 10 s in which it had calls.
	Scatter(Service, Span) []Dot
	// Edges are who called whom in the span, by caller and called.
	Edges(Span) []Edge
	// Events are what happened to a service in the span, oldest first.
	Events(Service, Span) []Event
	// Traces are those that are kept and asked for.
	Traces(TraceQuery) []TraceSummary
	// Trace is a kept trace by its id, 32 hex digits.
	Trace(id string) (Trace, bool)
}

var _ Reader = (*Store)(nil)

// A Span is a stretch of time: From up to, and not including, To. The zero To
// is now, the zero From is 5 min before To. Step is how long a Sample is, in
// whole seconds, aligned to multiples of itself, so that samples keep their
// place as time passes; zero is one that makes at most 300 of them. Instances,
// Scatter, Edges and Events know no step.
type Span struct {
	From, To time.Time
	Step     time.Duration
}

// A Selection says whose figures are asked for: all instances' together, or
// those of one, by its id.
type Selection struct {
	Instance string
}

// A Sample is one step of a service as its callers see it, or as its instances
// do where no caller reports; of an instance as its own sidecar sees it. The
// percentiles are those of all calls in the step, merged; of an instance, of
// the 10 s that the step touches. Rates are a second; durations are ms. What
// nobody measured is 0; Success is 1 where there were no calls.
type Sample struct {
	Time         time.Time `json:"time"` // when the step began
	RPS          float64   `json:"rps"`
	Success      float64   `json:"success"`
	P50Ms        float64   `json:"p50Ms"`
	P90Ms        float64   `json:"p90Ms"`
	P99Ms        float64   `json:"p99Ms"`
	InFlight     float64   `json:"inFlight"`     // mean of the step
	Instances    int       `json:"instances"`    // the most in the step, as OpenBreakers and Held
	Retries      float64   `json:"retries"`      // a second
	Denied       float64   `json:"denied"`       // retries that the budget refused, a second
	Shed         float64   `json:"shed"`         // calls refused before the application, a second
	Held         float64   `json:"held"`         // calls that wait for an endpoint
	OpenBreakers float64   `json:"openBreakers"` // over all callers: two that have it open count twice

	// MeanMs is the sum of its parts below.
	MeanMs       float64 `json:"meanMs"`
	HeldMs       float64 `json:"heldMs"`       // waited for an endpoint, or for leave to go
	ConnectMs    float64 `json:"connectMs"`    // waited for a connection
	RetriedMs    float64 `json:"retriedMs"`    // attempts that came to nothing, and between them
	NetworkMs    float64 `json:"networkMs"`    // what is left of it: between the sidecars, and in them
	QueuedMs     float64 `json:"queuedMs"`     // waited before the application
	DownstreamMs float64 `json:"downstreamMs"` // the application's own calls were under way
	OwnMs        float64 `json:"ownMs"`        // the application's own work

	// Trace is the id of a kept call of the step that took as long as its p99
	// or longer; empty where there is none. The spans of it may be at another
	// backend, or on their way.
	Trace string `json:"trace,omitempty"`
}

// An InstanceStat is an instance over a span. What Attempts and Failures count,
// its callers have counted; the rest its own sidecar has.
type InstanceStat struct {
	ID       string  `json:"id"`
	Address  string  `json:"address"` // ip:port, as callers name it; empty where none has
	RPS      float64 `json:"rps"`
	Share    float64 `json:"share"` // of its service's calls, by Attempts where callers report, else by RPS; 0 to 1
	Success  float64 `json:"success"`
	P50Ms    float64 `json:"p50Ms"`
	P90Ms    float64 `json:"p90Ms"`
	P99Ms    float64 `json:"p99Ms"`
	InFlight float64 `json:"inFlight"` // now
	Attempts float64 `json:"attempts"` // a second
	Failures float64 `json:"failures"` // of these, a second
	// Weight is the part of its calls to the service that a caller aims at, 0
	// to 1, at the end of the span: the mean over those that have called it of
	// late, however much each. It is nil where nobody has.
	Weight *float64 `json:"weight,omitempty"`
}

// A Dot is an instance's load and latency over 10 s.
type Dot struct {
	Time     time.Time `json:"time"` // when the 10 s began
	Instance string    `json:"instance"`
	RPS      float64   `json:"rps"`
	P99Ms    float64   `json:"p99Ms"`
}

// An Edge is the calls of one service to another, as the caller sees them. A
// caller is the reporter's service.namespace and service.name. Spans older
// than a minute are known by the minute.
type Edge struct {
	From    Service `json:"from"`
	To      Service `json:"to"`
	RPS     float64 `json:"rps"`
	Success float64 `json:"success"`
	P50Ms   float64 `json:"p50Ms"`
	P99Ms   float64 `json:"p99Ms"`
}

// An Event is something that happened to a service.
type Event struct {
	Time     time.Time `json:"time"` // Note sets it to now if zero
	Service  Service   `json:"service"`
	Kind     EventKind `json:"kind"`
	Instance string    `json:"instance,omitempty"`
	Text     string    `json:"text"` // one line for a person
}

// EventKind is what happened.
type EventKind string

// The kinds of events.
const (
	EventScaled        EventKind = "scaled"          // another number of instances is wanted
	EventJoined        EventKind = "instance-joined" // takes calls now
	EventLeft          EventKind = "instance-left"
	EventBreakerOpen   EventKind = "breaker-open"   // a caller's, or twice as many callers' as when it was last said
	EventBreakerClosed EventKind = "breaker-closed" // the last caller's has closed
	EventEjected       EventKind = "ejected"        // an outlier, by a caller
	EventRejected      EventKind = "rejected"       // a client refused its configuration
	EventDeployed      EventKind = "deployed"       // the first instance whose sidecar is of another version
)

// TraceKind is which traces are asked for.
type TraceKind string

// The kinds of traces: the newest of all, the newest with a failed span, and
// the slowest first.
const (
	TraceAny   TraceKind = "any"
	TraceError TraceKind = "error"
	TraceSlow  TraceKind = "slow"
)

// A TraceQuery asks for traces. The zero Service is any; a service is in a
// trace when it reported a span, or when a span is of a call to it.
type TraceQuery struct {
	Service Service
	Kind    TraceKind     // TraceAny by default
	Min     time.Duration // of ServiceMs, or of DurationMs where no service is asked for
	Limit   int           // 50 by default, 1000 at most
}

// A TraceSummary is a line of a list of traces.
type TraceSummary struct {
	ID         string    `json:"id"` // 32 hex digits
	Start      time.Time `json:"start"`
	DurationMs float64   `json:"durationMs"` // from its first span's start to its last one's end
	ServiceMs  float64   `json:"serviceMs"`  // the longest span that the query's service is in
	Name       string    `json:"name"`       // of the root, or of the earliest span
	Service    Service   `json:"service"`    // that reported it
	Services   int       `json:"services"`   // that reported spans
	Spans      int       `json:"spans"`
	Failed     bool      `json:"failed"`            // some span is an error
	Message    string    `json:"message,omitempty"` // of the deepest failed span
}

// A Trace is all that is kept of one trace; spans by their start.
type Trace struct {
	ID      string      `json:"id"`
	Dropped int         `json:"dropped"` // spans that did not fit
	Spans   []TraceSpan `json:"spans"`
}

// A TraceSpan is a span, as OpenTelemetry has it.
type TraceSpan struct {
	ID         string         `json:"id"`     // 16 hex digits
	Parent     string         `json:"parent"` // empty: none
	Name       string         `json:"name"`
	Kind       string         `json:"kind"` // internal, server, client, producer or consumer
	Service    string         `json:"service"`
	Namespace  string         `json:"namespace"`
	Instance   string         `json:"instance"`
	Start      time.Time      `json:"start"`
	DurationMs float64        `json:"durationMs"`
	Failed     bool           `json:"failed"`
	Message    string         `json:"message,omitempty"` // what its status, or its error.type, says
	Attributes map[string]any `json:"attributes"`        // strings, numbers, booleans, lists
	Events     []TraceEvent   `json:"events"`
	Resource   map[string]any `json:"resource,omitempty"` // attributes of whoever reports it, beside its names
}

// A TraceEvent is something that happened at one moment of a span.
type TraceEvent struct {
	Name       string         `json:"name"`
	Time       time.Time      `json:"time"`
	Attributes map[string]any `json:"attributes"`
}
