package tracing

import (
	"context"
	"sync"
	"time"
)

// A queue holds encoded spans, or log records, for one backend, which gets them
// in batches: after the delay, or when there are enough. Each backend has its
// own, so that one that is slow or gone costs the others nothing. Two buffers
// take turns: one fills while the other is on its way.
type queue struct {
	name   string // of the SDK's component, in the metrics about it
	limits batchSettings
	guard  *guard
	counts counts
	thin   *thinner // of spans; nil: all go
	// upload sends a batch; it returns when the backend has it, or ctx ends.
	upload func(ctx context.Context, items []byte) error
	// busy says whether items are in use although upload has returned; nil: never.
	busy func() bool

	mu     sync.Mutex
	fill   filling
	spare  filling
	closed bool

	enough chan struct{}
	stop   chan struct{}
	done   chan struct{}
	base   context.Context // done: uploads end at once
	abort  context.CancelFunc
}

// A filling is what waits in one of a queue's two buffers.
type filling struct {
	items []byte // what appendSpan or appendRecord makes, one after the other
	n     int
	ends  []int // where a batch of them ends
}

// A queue's buffer is at most so large, and kept from batch to batch up to a
// sixteenth of it.
const (
	maxQueueBytes  = 8 << 20
	keptQueueBytes = maxQueueBytes / 16
)

// start begins the queue's goroutine; close ends it.
func (q *queue) start() {
	q.enough, q.stop, q.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	q.base, q.abort = context.WithCancel(context.Background())
	go q.run()
}

// add hands over what is encoded, or drops and counts it. It never blocks.
func (q *queue) add(item []byte) {
	if q.counts.pending.Add(1) > int64(q.limits.queue) || !q.keep(item) {
		q.counts.pending.Add(-1)
		q.counts.dropped.Add(1)
	}
}

func (q *queue) keep(item []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	f := &q.fill
	if q.closed || len(f.items)+len(item) > maxQueueBytes {
		return false
	}
	f.items = append(f.items, item...)
	if f.n++; f.n%q.limits.perBatch == 0 {
		f.ends = append(f.ends, len(f.items))
		select {
		case q.enough <- struct{}{}:
		default:
		}
	}
	return true
}

func (q *queue) run() {
	defer close(q.done)
	timer := time.NewTimer(q.limits.delay)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
		case <-q.enough:
		case <-q.stop:
			q.flush()
			return
		}
		q.flush()
		timer.Reset(q.limits.delay)
	}
}

// flush sends all that there is.
func (q *queue) flush() {
	q.mu.Lock()
	f := q.fill
	q.fill, q.spare = q.spare, filling{}
	q.mu.Unlock()
	from := 0
	for _, end := range f.ends {
		q.send(f.items[from:end], q.limits.perBatch)
		from = end
	}
	if n := f.n % q.limits.perBatch; n > 0 {
		q.send(f.items[from:], n)
	}
	if cap(f.items) > keptQueueBytes || q.busy != nil && q.busy() {
		f.items = nil
	}
	q.mu.Lock()
	q.spare = filling{items: f.items[:0], ends: f.ends[:0]}
	q.mu.Unlock()
}

// send uploads a batch of n.
func (q *queue) send(items []byte, n int) {
	ctx, cancel := context.WithTimeout(q.base, q.limits.timeout)
	defer cancel()
	err := q.upload(ctx, items)
	q.counts.done(n, err)
	q.guard.note(err)
}

// close sends what waits, as far as ctx allows, and ends the goroutine.
func (q *queue) close(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	close(q.stop)
	defer q.abort()
	select {
	case <-q.done:
		return nil
	case <-ctx.Done():
		q.abort()
		<-q.done
		return context.Cause(ctx)
	}
}
