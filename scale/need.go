// Package scale says how many instances a service needs. A decision is a
// function of what was measured and nothing else: who measures, and who starts
// and ends instances, is elsewhere.
package scale

import (
	"fmt"
	"math"
	"time"
)

// A Second is what was measured of a service in one, as its callers see it: a
// rate, and of the parts of the mean call's time (docs/design/010) those that
// more instances make shorter. What the service waits for elsewhere, which more
// of its instances would only wait for together, is no part of it.
type Second struct {
	Rate   float64       // calls, failed ones among them
	Queued time.Duration // before the application
	Own    time.Duration // in the application, without the calls that it makes itself
}

// A Target is what is wanted of a service's instances.
type Target struct {
	Workers     float64 // calls that an instance works on at once
	Utilization float64 // how much of them is to be used: above 0, to 1
	Min, Max    int     // instances
}

// A Need is how many instances there should be.
type Need struct {
	Instances int
	Why       string // one line for a person
}

// recently is how many of the newest seconds the load is taken from, catchUp
// how soon calls that wait are to be worked off.
const (
	recently = 2
	catchUp  = time.Second
)

// slack is how much of an instance may be missing before there is one more, so
// that a load which keeps to the edge of a step does not start and end one all
// the time.
const slack = 0.1

// Instances applies the utilization law to the seconds, oldest first: as many
// workers are busy as calls come in a second times the seconds of work in each.
// What a call takes without waiting for a worker is the least that its mean was
// in any of the seconds; the more it takes now, the more calls are waiting
// (Little's law). Without any calls in the seconds it is Min.
func (t Target) Instances(seconds []Second) Need {
	work := time.Duration(math.MaxInt64)
	for _, s := range seconds {
		if s.Rate > 0 && s.Own > 0 {
			work = min(work, s.Own)
		}
	}
	if work == math.MaxInt64 {
		return Need{t.Min, "no calls"}
	}
	last := seconds[max(0, len(seconds)-recently):]
	var rate, waiting float64
	for _, s := range last {
		rate += s.Rate / float64(len(last))
		waiting += s.Rate * max(0, s.Queued+s.Own-work).Seconds() / float64(len(last))
	}
	busy := (rate + waiting/catchUp.Seconds()) * work.Seconds()
	n := min(max(int(math.Ceil(busy/t.Workers/t.Utilization-slack)), t.Min), t.Max)
	return Need{n, fmt.Sprintf("%.0f calls/s of %.3g ms work, and %.0f that wait, take %.2f workers; at %.0f %% of %g each that is %d",
		rate, work.Seconds()*1000, waiting, busy, 100*t.Utilization, t.Workers, n)}
}
