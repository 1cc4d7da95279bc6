package breaker

import "math"

// cutoff says which calls come into a Gate's queue: those above a rank, which
// is made of priority and cohort. The rank is the one below which a share of
// the recent calls lie, and the share is moved until a little more comes in
// than can be served (Uber's Cinnamon; a PID controller there, an integral one
// here, since its input, calls that came in and were not served, is exact).
//
// A queue that serves by priority would do the same, late: the cutoff says no
// before a call has waited, and leaves the queue short.
//
// Not safe for concurrent use: the Gate's lock is held.
type cutoff struct {
	share    float64 // of the calls that is shed
	below    int     // ranks below this one are
	seen     [ranks]float64
	offered  float64 // since the last tick
	passed   float64
	admitted float64
}

const (
	cohorts = 32
	ranks   = priorities * cohorts

	surplus = 1.05 // calls let in for one that can be served; and what chance may add
	gain    = 0.4
	memory  = 0.7 // of the ranks' counts from tick to tick
)

func rank(w *Waiter) int { return w.Priority.level()*cohorts + int(w.Cohort%cohorts) }

// pass counts a call and says whether it comes in.
func (c *cutoff) pass(w *Waiter) bool {
	r := rank(w)
	c.seen[r]++
	c.offered++
	if r < c.below {
		return false
	}
	c.passed++
	return true
}

// cuts says whether calls of a priority, by its level, are shed.
func (c *cutoff) cuts(level int) bool { return c.below > level*cohorts }

// tick moves the share. emptied: everyone who was let in has been served at
// some time since the last tick. room is the share of the limit that is not
// used. quiet: no calls were here to be counted. top is the level of the highest
// priority whose queue is standing, -1 if none is; those above it are not cut.
func (c *cutoff) tick(emptied bool, room float64, quiet bool, top int) {
	if c.share > 0 || !emptied {
		if c.offered > 0 {
			wanted := surplus*c.admitted + math.Sqrt(c.admitted)
			c.share += gain * (c.passed - wanted) / c.offered
		}
		if quiet {
			c.share = 0
		} else if emptied {
			c.share = c.share*(0.95-room/2) - 0.01
		}
		c.share = min(max(c.share, 0), 0.95)
	}
	var total float64
	for _, n := range c.seen {
		total += n
	}
	c.below = 0
	most := min((top+1)*cohorts, ranks-1)
	for left := c.share * total; c.below < most; c.below++ {
		if left -= c.seen[c.below]; left < 0 || c.share == 0 {
			break
		}
	}
	for i := range c.seen {
		c.seen[i] *= memory
	}
	c.offered, c.passed, c.admitted = 0, 0, 0
}
