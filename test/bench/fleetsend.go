package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
)

// OTLP's services.
const (
	metricsService = "opentelemetry.proto.collector.metrics.v1.MetricsService"
	traceService   = "opentelemetry.proto.collector.trace.v1.TraceService"
)

// sidecarTimeout is how long a sidecar waits for one export: tracing's
// meshdTimeout.
const sidecarTimeout = time.Second

// A fleet sends meshd what as many sidecars do, each under a name of its own
// and on a connection of its own.
type fleet struct {
	senders        []*sender
	metrics, spans exports
	stop           context.CancelFunc
	work           sync.WaitGroup
}

// Exports counts what was sent of one.
type exports struct {
	taken, lost, refused, bytes atomic.Int64 // exports; of refused data points
	slowest                     atomic.Int64 // ns of one that was taken
	cause                       atomic.Pointer[string]
}

// A sender is a sidecar to meshd.
type sender struct {
	conn   *grpc.ClientConn
	called map[string][]byte // what stands in place of a mold's marks
	queues [2]chan mold      // metrics, spans
}

// startFleet begins to send what the model makes; close ends it.
func startFleet(meshd string, n int, m *model) (*fleet, error) {
	ctx, stop := context.WithCancel(context.Background())
	f := &fleet{stop: stop}
	for i := range n {
		conn, err := grpc.NewClient(meshd, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithNoProxy(), grpc.WithDisableServiceConfig(),
			grpc.WithReadBufferSize(4<<10), grpc.WithWriteBufferSize(128<<10)) // as tracing has it
		if err != nil {
			f.close()
			return nil, fmt.Errorf("sender: %w", err)
		}
		name := fmt.Appendf(nil, "service-%02d", i%fleetServices)
		s := &sender{conn: conn, called: map[string][]byte{
			marked: name, marked + "-yy": fmt.Appendf(nil, "%s-%02d", name, i/fleetServices), markedTrace: fmt.Appendf(nil, "trac%04d", i),
		}}
		f.senders = append(f.senders, s)
		for k, to := range []*exports{&f.metrics, &f.spans} {
			s.queues[k] = make(chan mold, 1)
			f.work.Go(func() { s.run(ctx, s.queues[k], to, "/"+[]string{metricsService, traceService}[k]+"/Export") })
		}
	}
	f.work.Go(func() { f.spread(ctx, m.metrics, 0, &f.metrics, 900*time.Millisecond) })
	f.work.Go(func() { f.spread(ctx, m.spans, 1, &f.spans, 400*time.Millisecond) })
	return f, nil
}

func (f *fleet) close() {
	f.stop()
	f.work.Wait()
	for _, s := range f.senders {
		s.conn.Close()
	}
}

// spread gives each mold to all senders, one after the other during so long:
// sidecars did not all start at once.
func (f *fleet) spread(ctx context.Context, molds <-chan mold, queue int, to *exports, during time.Duration) {
	for {
		var m mold
		select {
		case m = <-molds:
		case <-ctx.Done():
			return
		}
		begin := time.Now()
		for i, s := range f.senders {
			if wait := time.Until(begin.Add(during * time.Duration(i) / time.Duration(len(f.senders)))); wait > 0 {
				select {
				case <-time.After(wait):
				case <-ctx.Done():
					return
				}
			}
			select {
			case s.queues[queue] <- m:
			default: // the one before is not away yet
				to.fail(errors.New("meshd is slower than a report a second"))
			}
		}
	}
}

// run sends what comes in the queue until ctx ends.
func (s *sender) run(ctx context.Context, queue <-chan mold, to *exports, method string) {
	for {
		select {
		case <-ctx.Done():
			return
		case m := <-queue:
			s.send(ctx, m, to, method)
		}
	}
}

func (s *sender) send(ctx context.Context, m mold, to *exports, method string) {
	limited, cancel := context.WithTimeout(ctx, sidecarTimeout)
	defer cancel()
	var answer []byte
	begin := time.Now()
	err := s.conn.Invoke(limited, method, m.of(s.called), &answer, grpc.ForceCodecV2(partsCodec{}))
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		to.fail(err)
		return
	}
	took := int64(time.Since(begin))
	for old := to.slowest.Load(); took > old && !to.slowest.CompareAndSwap(old, took); old = to.slowest.Load() {
	}
	to.taken.Add(1)
	to.bytes.Add(int64(m.size))
	if len(answer) > 0 { // partial_success is all that it can hold
		to.refused.Add(1)
		text := fmt.Sprintf("partial_success %q", answer)
		to.cause.CompareAndSwap(nil, &text)
	}
}

func (to *exports) fail(err error) {
	to.lost.Add(1)
	text := err.Error()
	to.cause.CompareAndSwap(nil, &text)
}

// reset begins to count anew.
func (to *exports) reset() {
	for _, n := range []*atomic.Int64{&to.taken, &to.lost, &to.refused, &to.bytes, &to.slowest} {
		n.Store(0)
	}
	to.cause.Store(nil)
}

// partsCodec sends messages as the parts that they are in.
type partsCodec struct{}

// Name implements encoding.CodecV2.
func (partsCodec) Name() string { return "proto" }

// Marshal implements encoding.CodecV2.
func (partsCodec) Marshal(v any) (mem.BufferSlice, error) { return v.(mem.BufferSlice), nil }

// Unmarshal implements encoding.CodecV2.
func (partsCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}
