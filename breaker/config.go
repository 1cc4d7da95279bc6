package breaker

import "time"

// A Config says when a Breaker opens and how it recovers. It opens when
// either rule holds; with both rules off it never does. The zero durations
// and HalfOpenRequests stand for the defaults named below.
type Config struct {
	// Disabled: every call is let through, nothing is counted.
	Disabled bool
	// ConsecutiveFailures within Window that open the breaker; 0: rule off.
	ConsecutiveFailures uint32
	// ErrorRatio of the outcomes in Window (0..1) at which a further failure
	// opens the breaker, if there are at least MinRequests of them, that
	// failure included; 0: rule off.
	ErrorRatio  float64
	MinRequests uint32
	// Window rolls in ten steps; 0: 10 s.
	Window time.Duration
	// OpenFor is how long nothing is let through before the first trial; 0: 5 s.
	OpenFor time.Duration
	// HalfOpenRequests is both the number of trials let through while half
	// open and the number of successes that close the breaker; 0: 1.
	HalfOpenRequests uint32
}

const (
	defaultWindow  = 10 * time.Second
	defaultOpenFor = 5 * time.Second
	buckets        = 10 // of Window
)

func (c Config) withDefaults() Config {
	if c.Window <= 0 {
		c.Window = defaultWindow
	}
	if c.OpenFor <= 0 {
		c.OpenFor = defaultOpenFor
	}
	if c.HalfOpenRequests == 0 {
		c.HalfOpenRequests = 1
	}
	return c
}

// bucket is the width of one step of the window, rounded up so that there are
// never more than ten.
func (c Config) bucket() time.Duration {
	return (c.Window + buckets - 1) / buckets
}

// A Rule is why a Breaker opened.
type Rule uint8

// The rules, by the fields of Config.
const (
	RuleNone Rule = iota
	RuleConsecutive
	RuleRatio
)

// String gives consecutive-failures or error-ratio; empty is none.
func (r Rule) String() string {
	switch r {
	case RuleConsecutive:
		return "consecutive-failures"
	case RuleRatio:
		return "error-ratio"
	default:
		return ""
	}
}

// tripped applies the two rules; it runs at each failure.
func (c Config) tripped(consecutive uint32, failures, successes uint64) Rule {
	if c.ConsecutiveFailures > 0 && consecutive >= c.ConsecutiveFailures {
		return RuleConsecutive
	}
	total := failures + successes
	if c.ErrorRatio > 0 && total >= uint64(c.MinRequests) && float64(failures) >= c.ErrorRatio*float64(total) {
		return RuleRatio
	}
	return RuleNone
}

// A State of a Breaker.
type State uint8

// The states. While HalfOpen, a few trials are let through.
const (
	Closed State = iota
	HalfOpen
	Open
)

// String gives closed, half-open or open.
func (s State) String() string {
	switch s {
	case Closed:
		return "closed"
	case HalfOpen:
		return "half-open"
	default:
		return "open"
	}
}
