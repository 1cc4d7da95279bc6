package breaker

import "time"

// An outcome of an attempt or a call.
type outcome struct {
	ok bool
	// final: whoever answered has tried again already, or says that trying
	// again is of no use: the tiers above do not.
	final bool
}

// A caller makes calls with attempts, as a sidecar does for its application.
type caller struct {
	*sim
	attempts int
	timeout  int64 // of an attempt, and of the call where deadlines travel
	budget   *Budget
	travels  bool // attempt count and deadline go with the call
	send     func(deadline int64, attempt int, done func(outcome))
}

// call makes a call that came as a further attempt of somebody else's call if
// earlier is not 0, and is of no use after deadline (0: not known).
func (c *caller) call(deadline int64, earlier int, done func(outcome)) {
	if !c.travels || deadline == 0 {
		deadline = c.now + c.timeout
	}
	c.try(deadline, earlier, 0, done)
}

func (c *caller) try(deadline int64, earlier, attempt int, done func(outcome)) {
	over := false
	settle := func(o outcome) {
		if over {
			return
		}
		over = true
		if o.ok {
			if c.budget != nil {
				c.budget.Deposit() // a success pays: an outage does not
			}
			done(o)
			return
		}
		again := attempt+1 < c.attempts
		if c.travels {
			again = again && earlier == 0 && !o.final && c.now < deadline
		}
		if again && c.budget != nil {
			again = c.budget.Withdraw()
		}
		if !again {
			done(outcome{final: c.travels})
			return
		}
		backoff := int64(c.rng.Float64() * float64(25*time.Millisecond) * float64(int(1)<<attempt))
		c.after(backoff, func() {
			next := deadline
			if !c.travels {
				next = c.now + c.timeout
			}
			c.try(next, earlier, attempt+1, done)
		})
	}
	c.after(deadline-c.now, func() { settle(outcome{}) })
	sent := 0
	if c.travels {
		sent = earlier + attempt
	}
	c.send(deadline, sent, settle)
}
