package breaker

import (
	"sync/atomic"
	"time"
)

// A Budget bounds retries, and hedges with them, so that they cannot multiply
// an outage: within any ten seconds, retries are at most ratio times the calls
// plus ten seconds' worth of minPerSecond. Calls credit it and the credit lapses
// after ten seconds, as in Finagle's and linkerd's RetryBudget; the floor may be
// spent at once, so that a client that makes few calls can still retry one.
//
// It is two lock-free rolling windows of 250 ms a slot. The bound holds for
// every stretch of ten seconds, not only for those that start with a slot:
// retries are counted over at least ten seconds, calls over at most ten. The
// price is that a steady load gets 19.5 % out of a ratio of 20 %.
type Budget struct {
	ratio   float64
	reserve float64
	now     func() int64

	calls   rolling
	retries rolling
	spent   atomic.Uint64
	denied  atomic.Uint64
}

const (
	budgetSlot  = 250 * time.Millisecond
	budgetSlots = 40 // ten seconds
)

// NewBudget makes a Budget of ratio (retries per call) and minPerSecond. now
// is a monotonic clock in nanoseconds, not negative; it is called once in each
// Deposit and Withdraw.
func NewBudget(ratio, minPerSecond float64, now func() int64) *Budget {
	return &Budget{
		ratio:   ratio,
		reserve: minPerSecond * (budgetSlots * budgetSlot).Seconds(),
		now:     now,
		calls:   make(rolling, budgetSlots),
		retries: make(rolling, budgetSlots+1),
	}
}

// Deposit credits one call. It is called once a call, not once an attempt, and
// best when the call has succeeded: then nothing is credited in an outage, and
// it costs no more further load than what ten seconds have saved up.
func (b *Budget) Deposit() { b.DepositAt(b.now()) }

// DepositAt is Deposit for a caller that has just read the Budget's clock.
func (b *Budget) DepositAt(now int64) { b.calls.add(budgetTick(now)) }

// Withdraw pays for one retry, or reports false: the budget is spent. Under
// contention it may refuse what would just have fitted; it never overdraws.
func (b *Budget) Withdraw() bool {
	tick := budgetTick(b.now())
	b.retries.add(tick)
	if b.balance(tick) < 0 {
		b.retries.undo(tick)
		b.denied.Add(1)
		return false
	}
	b.spent.Add(1)
	return true
}

// balance is what is left of the budget, in retries; negative where calls
// have lapsed before the retries that they paid for.
func (b *Budget) balance(tick uint32) float64 {
	calls := b.calls.sum(tick, budgetSlots)
	retries := b.retries.sum(tick, budgetSlots+1)
	return b.ratio*float64(calls) + b.reserve - float64(retries)
}

func budgetTick(now int64) uint32 { return uint32(now / int64(budgetSlot)) }

// BudgetStats are totals since the Budget was made, and the present balance.
type BudgetStats struct {
	Retries uint64  // withdrawals granted
	Denied  uint64  // withdrawals refused
	Balance float64 // retries that could be made now
}

// Stats reads the Budget; it is not for the hot path.
func (b *Budget) Stats() BudgetStats {
	return BudgetStats{
		Retries: b.spent.Load(),
		Denied:  b.denied.Load(),
		Balance: max(0, b.balance(budgetTick(b.now()))),
	}
}
