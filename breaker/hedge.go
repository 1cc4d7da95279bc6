package breaker

// A Hedge decides when a call that has no answer yet is made a second time,
// elsewhere, and the first answer counts. Only for calls that may be made
// twice.
//
// Hedges are paid for out of the Budget that pays for retries, so that both
// together cannot multiply a load, and are at most a share of the calls
// besides (and one in ten seconds, where calls are few). The delay is the quantile of the latencies which three quarters of
// that share lie above: for 2 % the live 98.5th percentile. A hedge at the 95th
// would be 5 % more calls, and a budget of 2 % would then refuse three of five
// calls at random, most of the slow ones among them.
//
// All methods may be called from any goroutine.
type Hedge struct {
	latency *Quantile
	share   *Budget
}

// HedgeShare is the share of calls that may be hedged, by default.
const HedgeShare = 0.02

// NewHedge makes a Hedge for at most share of the calls. now is the clock of
// NewBudget.
func NewHedge(share float64, now func() int64) *Hedge {
	return &Hedge{
		latency: NewQuantile(1 - 0.75*share),
		share:   NewBudget(share, 0.1, now),
	}
}

// Credit counts a call that might have been hedged and has succeeded. In an
// outage there is nothing to be had from hedges, and three tiers that hedge
// would be 6 % more of it.
func (h *Hedge) Credit(now int64) { h.share.DepositAt(now) }

// Delay says after how many nanoseconds a call should be hedged; 0: not at all,
// nothing is known yet.
func (h *Hedge) Delay() int64 { return h.latency.Value() }

// Allow pays for the hedge out of budget, when its time has come, or reports false.
func (h *Hedge) Allow(budget *Budget) bool { return h.share.Withdraw() && budget.Withdraw() }

// Done tells what a call's first attempt took, in nanoseconds; of one that was
// given up because its hedge answered, how long it had been waited for.
func (h *Hedge) Done(now, latency int64) { h.latency.Record(now, latency) }

// Stats are those of the share.
func (h *Hedge) Stats() BudgetStats { return h.share.Stats() }
