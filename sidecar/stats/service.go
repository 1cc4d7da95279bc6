package stats

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// maxRoutes bounds the routes that one service tells apart; further ones count
// as Other.
const maxRoutes = 64

// Other is the name under which services and routes beyond the bounds count.
const Other = "other"

// RetryReason says why a call was tried again.
type RetryReason uint8

// The reasons, with the words of Envoy's x-envoy-retry-on where it has one.
const (
	RetryConnectFailure RetryReason = iota
	RetryReset
	Retry502
	Retry503
	Retry504
	RetryTimeout
	RetryRefused // the endpoint had not looked at the request (RFC 9113 section 8.7)
	RetryCancelled
	RetryDeadlineExceeded
	RetryInternal
	RetryResourceExhausted
	RetryUnavailable
	// RetryIdleReset is a pooled connection that was closed while idle: the
	// call moved to a fresh one, which is not a retry, spends no budget and is
	// counted apart.
	RetryIdleReset

	retryReasons
)

var retryNames = [retryReasons]string{
	RetryConnectFailure: "connect-failure",
	RetryReset:          "reset",
	Retry502:            "502",
	Retry503:            "503",
	Retry504:            "504",
	RetryTimeout:        "timeout",

	RetryRefused:           "refused-stream",
	RetryCancelled:         "cancelled",
	RetryDeadlineExceeded:  "deadline-exceeded",
	RetryInternal:          "internal",
	RetryResourceExhausted: "resource-exhausted",
	RetryUnavailable:       "unavailable",

	RetryIdleReset: "idle-reset",
}

// String is the value of the attribute meshd.retry.reason.
func (r RetryReason) String() string {
	if r < retryReasons {
		return retryNames[r]
	}
	return "reason-" + strconv.Itoa(int(r))
}

// RetryStatus is the reason to try a call again that an HTTP status gives.
func RetryStatus(status int) (RetryReason, bool) {
	switch status {
	case 502:
		return Retry502, true
	case 503:
		return Retry503, true
	case 504:
		return Retry504, true
	}
	return 0, false
}

// BreakerState is the state of an endpoint's breaker; the numbers are those of
// gobreaker's State.
type BreakerState uint8

// The states of a breaker.
const (
	BreakerClosed BreakerState = iota
	BreakerHalfOpen
	BreakerOpen
)

var breakerNames = [...]string{"closed", "half-open", "open"}

func (s BreakerState) String() string {
	if int(s) < len(breakerNames) {
		return breakerNames[s]
	}
	return "state-" + strconv.Itoa(int(s))
}

// MarshalText writes the state's name.
func (s BreakerState) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// EndpointStat is what an endpoint tells at export time. Requests and Failures
// count attempts and never decrease while the endpoint lives.
type EndpointStat struct {
	Address  string       `json:"address"` // ip:port
	ID       string       `json:"id,omitempty"`
	Requests uint64       `json:"requests"`
	Failures uint64       `json:"failures"`
	InFlight int64        `json:"inFlight"`
	Breaker  BreakerState `json:"breaker"`
	// Standing is what keeps calls away beside the breaker: checks, or an
	// ejection; empty if nothing does.
	Standing string `json:"standing,omitempty"`
	// Weight is the part of new calls to the service that the endpoint is to get
	// now, 0 to 1, as the balancer aims at it whatever the policy: of configured
	// weights, slow start, health and what was measured, but for calls in flight.
	// All of a service's are 1 together, or 0 where no call would go anywhere.
	Weight float64 `json:"weight"`
	// BreakerRule is why a Breaker that is not closed has opened.
	BreakerRule string `json:"breakerRule,omitempty"`
	// Ejections are how often it was ejected, by rule, while its address is known.
	Ejections map[string]uint64 `json:"ejections,omitempty"`
}

// A Service holds the counters of calls to one service (Registry.Client) or
// received for one (Registry.Server).
type Service struct {
	// Active counts calls in flight.
	Active Gauge

	name                 string
	oneRoute             bool
	retries              [retryReasons]Counter
	denied               Counter
	hedges               Counter
	hedgesWon            Counter
	mirrors, mirrorsLost Counter
	endpoints            atomic.Pointer[func() []EndpointStat]
	figures              atomic.Pointer[func() []Figure]
	parts                [Parts]atomic.Int64 // ns
	tcp                  atomic.Pointer[TCP]

	mu     sync.Mutex // guards the rest; never held while recording
	routes map[string]*Route
	order  []*Route
	calls  uint64    // as of the last look
	called time.Time // the last look at which there were more, or some in flight
}

func newService(name string, oneRoute bool) *Service {
	return &Service{name: name, oneRoute: oneRoute, routes: map[string]*Route{}}
}

// Name is the name that the service was registered under.
func (s *Service) Name() string { return s.name }

// Route returns the counters of a route: the same for the same name. It is
// meant for the time when configuration is built, not for every call. The
// server side's metrics have no route, so there every name is the same one.
func (s *Service) Route(name string) *Route {
	if s.oneRoute {
		name = ""
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.routes[name]
	if r != nil {
		return r
	}
	if len(s.order) >= maxRoutes {
		name = Other
		if r = s.routes[name]; r != nil {
			return r
		}
	}
	r = &Route{name: name}
	s.routes[name] = r
	s.order = append(s.order, r)
	return r
}

// Retry counts a further attempt. It panics for a reason that is not in the
// table.
func (s *Service) Retry(reason RetryReason) { s.retries[reason].Inc() }

// RetryDenied counts a retry that the budget refused.
func (s *Service) RetryDenied() { s.denied.Inc() }

// SetEndpoints gives the function that lists the service's endpoints. It is
// called at export time, on the exporter's goroutine, and must not block; nil
// takes it away.
func (s *Service) SetEndpoints(list func() []EndpointStat) {
	if list == nil {
		s.endpoints.Store(nil)
		return
	}
	s.endpoints.Store(&list)
}

func (s *Service) snapshot(now time.Time) ServiceSnapshot {
	s.mu.Lock()
	routes := s.order[:len(s.order):len(s.order)]
	s.mu.Unlock()

	out := ServiceSnapshot{
		Name:          s.name,
		Active:        s.Active.Value(),
		RetriesDenied: s.denied.Value(),
		IdleResets:    s.retries[RetryIdleReset].Value(),
		Figures:       s.allFigures(),
		TCP:           s.tcp.Load().snapshot(),
	}
	for reason := range RetryIdleReset {
		if n := s.retries[reason].Value(); n > 0 {
			if out.Retries == nil {
				out.Retries = map[string]uint64{}
			}
			out.Retries[reason.String()] = n
		}
	}
	for _, r := range routes {
		out.Series = append(out.Series, r.snapshot()...)
	}
	if list := s.endpoints.Load(); list != nil {
		out.Endpoints = (*list)()
	}
	out.quiet = s.quiet(&out, now)
	for _, e := range out.Endpoints {
		if e.Breaker != BreakerClosed {
			out.BreakersOpen++
		}
	}
	return out
}

// quietAfter is how long nobody calls a service before its endpoints' weights
// are not told any more: what is meant for calls that nobody makes would hide
// what callers do.
const quietAfter = 30 * time.Second

// quiet reports whether nobody has called the service of late. Looks a few
// seconds apart are as good as many.
func (s *Service) quiet(of *ServiceSnapshot, now time.Time) bool {
	calls, active := uint64(0), of.Active
	for i := range of.Series {
		calls += of.Series[i].Count
	}
	if of.TCP != nil {
		calls, active = calls+of.TCP.Connections, active+of.TCP.Active
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if calls != s.calls || active > 0 {
		s.calls, s.called = calls, now
	}
	return now.Sub(s.called) > quietAfter
}
