package call

import (
	"testing"
	"time"

	"github.com/meshd/meshd/breaker"
)

// What an attempt is told: how often the call was tried, by whomever, and the
// least of the times that are left.
func TestTellsNumbers(t *testing.T) {
	const ms = int64(time.Millisecond)
	for name, tc := range map[string]struct {
		earlier, attempts     int
		until, timeout, every int64 // ms from the call's start
		now                   int64 // ms
		priority              breaker.Priority
		own                   bool
		want                  Tell
	}{
		"a first attempt says nothing": {priority: breaker.Critical},
		"a second":                     {attempts: 2, priority: breaker.Critical, want: Tell{Attempt: 2}},
		"a first of a third":           {earlier: 3, attempts: 1, priority: breaker.Critical, want: Tell{Attempt: 3}},
		"a second of a third":          {earlier: 3, attempts: 2, priority: breaker.Critical, want: Tell{Attempt: 4}},
		"the caller's deadline":        {until: 300, timeout: 1000, now: 100, priority: breaker.Critical, want: Tell{Timeout: 200}},
		"the route's":                  {until: 3000, timeout: 1000, now: 100, priority: breaker.Critical, want: Tell{Timeout: 900}},
		"the attempt's":                {until: 3000, timeout: 1000, every: 250, now: 100, priority: breaker.Critical, want: Tell{Timeout: 250}},
		"the call's, in its end":       {timeout: 1000, every: 250, now: 900, priority: breaker.Critical, want: Tell{Timeout: 100}},
		"too late is a millisecond":    {until: 300, now: 400, priority: breaker.Critical, want: Tell{Timeout: 1}},
		"a priority of another":        {priority: breaker.Sheddable, want: Tell{Priority: "sheddable"}},
		"one that the request says":    {priority: breaker.Sheddable, own: true},
	} {
		c := Call{
			Route: &Route{}, Start: 0, earlier: tc.earlier, attempts: tc.attempts,
			priority: tc.priority, ownPriority: tc.own, until: tc.until * ms,
		}
		c.Route.Timeout, c.Route.AttemptTimeout = time.Duration(tc.timeout*ms), time.Duration(tc.every*ms)
		if got := c.Tell(tc.now * ms); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}
