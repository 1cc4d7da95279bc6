package health

import (
	"context"
	"time"

	"github.com/meshd/meshd/sidecar/endpoint"
)

// run is the goroutine of a cluster's outliers.
func (o *outliers) run(ctx context.Context) {
	defer close(o.done)
	timer := time.NewTimer(o.rest())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			o.deliver()
			return
		case <-timer.C:
			o.tick()
		case <-o.wake:
		}
		o.deliver()
		timer.Reset(o.rest())
	}
}

// stop ends the goroutine, waits for it, and lets everybody take calls.
func (o *outliers) stop() {
	o.cancel()
	<-o.done
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, m := range o.members {
		m.endpoint.OnFailure(nil)
	}
	o.rules.Consecutive = 0 // no trials
	for len(o.out) > 0 {
		o.back(o.out[0])
	}
	o.members = nil
}

// rest is the time until there is something to do.
func (o *outliers) rest() time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	at := o.sweepAt
	for _, m := range o.out {
		at = min(at, m.until)
	}
	return time.Duration(max(at-o.cfg.Now(), 0))
}

func (o *outliers) deliver() {
	o.mu.Lock()
	events := o.events
	o.events = nil
	o.mu.Unlock()
	for _, e := range events {
		o.cfg.Event(e)
	}
}

func (o *outliers) tick() {
	o.mu.Lock()
	now := o.cfg.Now()
	o.settle(now)
	due := now >= o.sweepAt
	o.mu.Unlock()
	if due {
		o.sweep(now)
	}
}

// sweep ends an interval: it compares what came of the calls of those who were
// not out, and forgives one of their ejections to those who were not out at all.
// The lock is not held for the comparison.
func (o *outliers) sweep(now int64) {
	o.mu.Lock()
	rules := o.rules
	o.sweepAt = now + int64(rules.Interval)
	members, samples := make([]*member, 0, len(o.members)), make([]sample, 0, len(o.members))
	for _, m := range o.members {
		tally := m.endpoint.Tally()
		if m.until == 0 {
			members, samples = append(members, m), append(samples, since(tally, m.before))
		}
		m.before = tally
	}
	o.mu.Unlock()

	found := compare(&rules, samples)

	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range found {
		if m := members[f.index]; o.members[m.endpoint.Addr] == m {
			o.eject(now, m, f.rule, f.cause)
		}
	}
	for _, m := range o.members {
		if !m.was && m.times > 0 {
			m.times--
		}
		m.was = m.until != 0
	}
}

func since(now, before endpoint.Tally) sample {
	successes, failures, mean := now.Since(before)
	return sample{successes, failures, mean}
}
