package tracing

import (
	"context"
	"sync"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A spanQueue holds encoded spans for one backend, which gets them in batches:
// after the delay, or when there are enough. Each backend has its own, so that
// one that is slow or gone costs the others nothing. Two buffers take turns: one
// fills while the other is on its way.
type spanQueue struct {
	name     string // of the SDK's component, in the metrics about it
	limits   batchSettings
	resource *resourcepb.Resource
	schema   string
	scope    *commonpb.InstrumentationScope
	guard    *guard
	counts   counts
	thin     *thinner // nil: all go
	// upload sends a batch; it returns when the backend has it, or ctx ends.
	upload func(ctx context.Context, batch []*tracepb.ResourceSpans) error

	mu     sync.Mutex
	buf    []byte // spans of a ScopeSpans, as appendSpan makes them
	n      int
	spare  []byte
	closed bool

	enough chan struct{}
	stop   chan struct{}
	done   chan struct{}
	base   context.Context // done: uploads end at once
	abort  context.CancelFunc
}

// A queue's buffer is at most so large, and kept from batch to batch up to a
// sixteenth of it.
const (
	maxQueueBytes  = 8 << 20
	keptQueueBytes = maxQueueBytes / 16
)

// start begins the queue's goroutine; close ends it.
func (q *spanQueue) start() {
	q.enough, q.stop, q.done = make(chan struct{}, 1), make(chan struct{}), make(chan struct{})
	q.base, q.abort = context.WithCancel(context.Background())
	go q.run()
}

// add hands a span over, encoded, or drops and counts it. It never blocks.
func (q *spanQueue) add(span []byte, s *Span) {
	if q.thin != nil && !s.Kept && !q.thin.pass(s.Context.TraceID, s.End.UnixNano()) {
		q.counts.thinned.Add(1)
		return
	}
	if q.counts.pending.Add(1) > int64(q.limits.queue) || !q.keep(span) {
		q.counts.pending.Add(-1)
		q.counts.dropped.Add(1)
	}
}

func (q *spanQueue) keep(span []byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || len(q.buf)+len(span) > maxQueueBytes {
		return false
	}
	q.buf = append(q.buf, span...)
	if q.n++; q.n == q.limits.perBatch {
		select {
		case q.enough <- struct{}{}:
		default:
		}
	}
	return true
}

func (q *spanQueue) run() {
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
func (q *spanQueue) flush() {
	q.mu.Lock()
	b, n := q.buf, q.n
	q.buf, q.n, q.spare = q.spare, 0, nil
	q.mu.Unlock()
	for rest := b; n > 0; {
		size := min(n, q.limits.perBatch)
		batch := spansIn(rest, size)
		q.send(rest[:batch], size)
		rest, n = rest[batch:], n-size
	}
	if cap(b) > keptQueueBytes {
		b = nil
	}
	q.mu.Lock()
	if q.buf == nil {
		q.buf = b[:0]
	} else {
		q.spare = b[:0]
	}
	q.mu.Unlock()
}

// spansIn is how many bytes the first n spans take.
func spansIn(b []byte, n int) (at int) {
	for range n {
		length := b[at+1:]
		at += 4 + (int(length[0])&0x7f | int(length[1])&0x7f<<7 | int(length[2])<<14)
	}
	return at
}

// send uploads a batch. The spans are what protobuf calls unknown fields, which
// it writes as they are: so they need not be made objects of.
func (q *spanQueue) send(spans []byte, n int) {
	ctx, cancel := context.WithTimeout(q.base, q.limits.timeout)
	defer cancel()
	of := &tracepb.ScopeSpans{Scope: q.scope}
	of.ProtoReflect().SetUnknown(protoreflect.RawFields(spans))
	err := q.upload(ctx, []*tracepb.ResourceSpans{{Resource: q.resource, ScopeSpans: []*tracepb.ScopeSpans{of}, SchemaUrl: q.schema}})
	q.counts.done(n, err)
	q.guard.note(err)
}

// close sends what waits, as far as ctx allows, and ends the goroutine.
func (q *spanQueue) close(ctx context.Context) error {
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
