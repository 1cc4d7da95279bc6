package health

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/meshd/meshd/sidecar/endpoint"
)

// A Rule is why an endpoint takes no calls.
type Rule uint8

// The rules. RuleCheck is active checks, the others are of outlier ejection.
const (
	RuleCheck Rule = iota
	RuleConsecutive
	RuleSuccessRate
	RuleFailures
	RuleLatency

	rules
)

var ruleNames = [rules]string{"check", "consecutive", "success-rate", "failure-percentage", "latency"}

// String is the rule's name, for metrics and logs.
func (r Rule) String() string {
	if r < rules {
		return ruleNames[r]
	}
	return fmt.Sprintf("rule-%d", r)
}

// An Event is an endpoint that takes no calls any more, or takes calls again.
type Event struct {
	Cluster  string
	Endpoint *endpoint.Endpoint
	Rule     Rule
	Out      bool          // or else back
	For      time.Duration // how long, where that is known: of an ejection
	// Cause is in words what was seen: the failure of the last check, or the
	// figures that the rule went by. It is empty where an endpoint is back.
	Cause string
}

// String is the event in words, without the cluster.
func (e Event) String() string {
	what := "is back"
	switch {
	case e.Out && e.Rule == RuleCheck:
		what = "is unhealthy"
	case e.Rule == RuleCheck:
		what = "is healthy"
	case e.Out:
		what = fmt.Sprintf("is ejected for %v", e.For)
	}
	if e.Cause != "" {
		what += ": " + e.Cause
	}
	return e.Endpoint.Address + " " + what
}

// Stats is what has been counted of a cluster. All but the last two are totals.
type Stats struct {
	ChecksPassed, ChecksFailed uint64
	// TurnedHealthy and TurnedUnhealthy count verdicts that changed; the first
	// one of an endpoint counts where it is unhealthy.
	TurnedHealthy, TurnedUnhealthy uint64
	Ejections                      [rules]uint64 // by Rule
	// Spared are ejections that MaxEjected did not allow.
	Spared uint64

	Unhealthy int64 // endpoints, now, by active checks
	Ejected   int64 // endpoints, now
}

type counters struct {
	passed, failed, turnedHealthy, turnedUnhealthy, spared atomic.Uint64
	ejections                                              [rules]atomic.Uint64
	unhealthy, ejected                                     atomic.Int64
}

func (c *counters) snapshot() Stats {
	s := Stats{
		ChecksPassed: c.passed.Load(), ChecksFailed: c.failed.Load(),
		TurnedHealthy: c.turnedHealthy.Load(), TurnedUnhealthy: c.turnedUnhealthy.Load(),
		Spared: c.spared.Load(), Unhealthy: c.unhealthy.Load(), Ejected: c.ejected.Load(),
	}
	for r := range s.Ejections {
		s.Ejections[r] = c.ejections[r].Load()
	}
	return s
}
