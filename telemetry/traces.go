package telemetry

import (
	"bytes"
	"compress/flate"
	"context"
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"time"

	tracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What bounds a trace, beside Config.MaxTraces; what is more is dropped and
// counted.
const (
	maxSpans     = 2000     // of a trace
	maxSpanBytes = 64 << 10 // on the wire
	maxResource  = 4 << 10  // on the wire; a larger one is not kept
	traceShare   = 8        // a trace may have 1/traceShare of all, not compressed
)

// What a span and a trace weigh beside their bytes, about.
const (
	spanOverhead  = 72
	traceOverhead = 112
)

// traces keeps whole traces in the order in which they began to come. It has a
// lock of its own, so that neither metrics nor people who look at traces wait
// for each other.
type traces struct {
	mu     sync.Mutex
	max    int // bytes
	bytes  int
	byID   map[[16]byte]*trace
	oldest *trace // the first of all by trace.next
	newest *trace

	filling *block // nil before the first span
	sources map[string]*source
	seed    maphash.Seed // of span.called

	deflater deflater
	plain    []byte // of the block that is being filled, when it began
	opened   *block // that was expanded last
	expanded []byte

	taken, invalid, dropped, evicted uint64
	busy                             time.Duration
}

// A trace is what there is of one. Guarded by traces.mu.
type trace struct {
	id      [16]byte
	spans   []span
	bytes   int32 // of its spans
	dropped int32
	next    *trace // that began to come after it
}

// A span is where its bytes are, and what lists of traces ask for.
type span struct {
	id, parent      [8]byte
	start, duration int64 // ns
	block           *block
	at, length      uint32 // in block
	called          uint32 // hash of the service that meshd.service names, as NAMESPACE/NAME; 0: none
	from            uint16 // in block.sources
	kind            uint8
	failed          bool
}

func (s *span) source() *source { return s.block.sources[s.from] }

func newTraces(max int) traces {
	return traces{
		max: max, byID: map[[16]byte]*trace{}, sources: map[string]*source{}, seed: maphash.MakeSeed(),
		deflater: deflater{level: flate.BestSpeed},
	}
}

// count writes the figures of st.
func (t *traces) count(st *Stats) {
	t.mu.Lock()
	defer t.mu.Unlock()
	st.Traces, st.TraceBytes = len(t.byID), t.bytes
	st.Spans, st.InvalidSpans, st.DroppedSpans, st.Evicted = t.taken, t.invalid, t.dropped, t.evicted
	st.Busy += t.busy
}

// spanReceiver is the OTLP TraceService, for sidecars and for everybody else.
type spanReceiver struct {
	tracepb.UnimplementedTraceServiceServer
	traces *traces
}

// Export implements TraceServiceServer; see receiver.Export.
func (r *spanReceiver) Export(_ context.Context, req *tracepb.ExportTraceServiceRequest) (*tracepb.ExportTraceServiceResponse, error) {
	raw, err := marshal(req)
	if err != nil {
		return nil, err
	}
	return r.export(raw)
}

func (r *spanReceiver) export(raw []byte) (*tracepb.ExportTraceServiceResponse, error) {
	refused, why, ok := r.traces.ingest(raw)
	if !ok {
		return nil, status.Error(codes.InvalidArgument, errWire.Error())
	}
	resp := &tracepb.ExportTraceServiceResponse{}
	if refused > 0 {
		resp.PartialSuccess = &tracepb.ExportTracePartialSuccess{RejectedSpans: refused, ErrorMessage: why.Error()}
	}
	return resp, nil
}

// ingest takes an ExportTraceServiceRequest; see Store.ingest.
func (t *traces) ingest(raw []byte) (refused int64, why error, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	defer addSince(&t.busy, time.Now())
	f := fields{rest: raw}
	for f.next() {
		if f.tag != bytesTag(1) { // resource_spans
			continue
		}
		key, ok := resourceKey(f.bytes)
		if !ok {
			return refused, why, false
		}
		from := t.source(f.bytes, key)
		res := fields{rest: f.bytes}
		for res.next() {
			if res.tag != bytesTag(2) { // scope_spans
				continue
			}
			scope := fields{rest: res.bytes}
			for scope.next() {
				if scope.tag != bytesTag(2) {
					continue
				}
				if err := t.take(from, scope.bytes); err != nil {
					refused++
					if why == nil {
						why = err
					}
				}
			}
			if scope.bad {
				return refused, why, false
			}
		}
		if res.bad {
			return refused, why, false
		}
	}
	return refused, why, !f.bad
}

// resourceOf is the Resource of a ResourceSpans.
func resourceOf(raw []byte) []byte {
	for f := (fields{rest: raw}); f.next(); {
		if f.tag == bytesTag(1) && len(f.bytes) <= maxResource {
			return f.bytes
		}
	}
	return nil
}

// take adds a Span. Needs t.mu.
func (t *traces) take(from *source, raw []byte) error {
	id, sp, err := t.readSpan(raw)
	if err != nil {
		t.invalid++
		return err
	}
	tr := t.byID[id]
	drop := func(format string, args ...any) error {
		t.dropped++
		if tr != nil {
			tr.dropped++
		}
		return fmt.Errorf(format, args...)
	}
	if len(raw) > maxSpanBytes {
		return drop("a span of %d bytes: want at most %d", len(raw), maxSpanBytes)
	}
	size := len(raw) + spanOverhead
	before := traceOverhead
	if tr != nil {
		for i := range tr.spans {
			if s := &tr.spans[i]; s.id == sp.id && s.start == sp.start && s.kind == sp.kind {
				return nil // sent twice
			}
		}
		if len(tr.spans) >= maxSpans {
			return drop("trace %x: meshd keeps at most %d spans of a trace", id, maxSpans)
		}
		before = int(tr.bytes)
	}
	if before+size+from.bytes() > t.max/traceShare {
		return drop("trace %x: meshd keeps at most %d bytes of a trace", id, t.max/traceShare)
	}
	if tr == nil {
		tr = &trace{id: id, bytes: traceOverhead}
		t.bytes += traceOverhead
		if t.newest == nil {
			t.oldest = tr
		} else {
			t.newest.next = tr
		}
		t.newest = tr
		t.byID[id] = tr
	}
	t.keep(&sp, from, raw)
	if n := len(tr.spans); n == cap(tr.spans) { // not to twice the size: most are small
		tr.spans = append(make([]span, 0, n+1+n/4), tr.spans...)
	}
	tr.spans = append(tr.spans, sp)
	tr.bytes += int32(size)
	t.bytes += spanOverhead
	t.taken++
	for t.bytes > t.max && t.oldest != nil {
		t.evict()
	}
	return nil
}

// evict forgets the oldest trace, which there is. Needs t.mu.
func (t *traces) evict() {
	tr := t.oldest
	if t.oldest = tr.next; t.oldest == nil {
		t.newest = nil
	}
	delete(t.byID, tr.id)
	t.bytes -= traceOverhead + spanOverhead*len(tr.spans)
	for i := range tr.spans {
		t.leave(&tr.spans[i])
	}
	t.evicted++
}

// readSpan reads of a Span what lists ask for.
func (t *traces) readSpan(raw []byte) (trace [16]byte, sp span, err error) {
	var traceID, id, parent []byte
	var end uint64
	start := uint64(0)
	f := fields{rest: raw}
	for f.next() {
		switch f.tag {
		case bytesTag(1):
			traceID = f.bytes
		case bytesTag(2):
			id = f.bytes
		case bytesTag(4):
			parent = f.bytes
		case varintTag(6):
			sp.kind = uint8(min(f.value, 6))
		case fixedTag(7):
			start = f.value
		case fixedTag(8):
			end = f.value
		case bytesTag(9):
			key, value, ok := keyValue(f.bytes)
			if !ok {
				return trace, sp, errWire
			}
			if string(key) == "meshd.service" {
				if v := text(value); len(v) <= maxText {
					sp.called = t.called(v)
				}
			}
		case bytesTag(15):
			st := fields{rest: f.bytes}
			for st.next() {
				if st.tag == varintTag(3) {
					sp.failed = st.value == 2 // STATUS_CODE_ERROR
				}
			}
		}
	}
	switch {
	case f.bad:
		return trace, sp, errWire
	case len(traceID) != 16 || [16]byte(traceID) == [16]byte{}:
		return trace, sp, fmt.Errorf("trace_id %s: want 16 bytes, not all zero", clip(hex.EncodeToString(traceID), 64))
	case len(id) != 8 || [8]byte(id) == [8]byte{}:
		return trace, sp, fmt.Errorf("span_id %s: want 8 bytes, not all zero", clip(hex.EncodeToString(id), 64))
	case start == 0 || start > math.MaxInt64:
		return trace, sp, fmt.Errorf("span %x: start_time_unix_nano %d: want nanoseconds since 1970", id, start)
	}
	if len(parent) == 8 {
		sp.parent = [8]byte(parent)
	}
	sp.id, sp.start = [8]byte(id), int64(start)
	if end > start && end <= math.MaxInt64 {
		sp.duration = int64(end - start)
	}
	return [16]byte(traceID), sp, nil
}

// called is span.called for a service, NAMESPACE/NAME or NAMESPACE/NAME:PORT.
func (t *traces) called(service []byte) uint32 {
	name, _, _ := bytes.Cut(service, []byte(":"))
	if len(name) == 0 {
		return 0
	}
	return uint32(maphash.Bytes(t.seed, name)) | 1
}

// A party is a service that traces are asked for.
type party struct {
	id     Service
	called uint32 // span.called of calls to it
}

// in says whether the party reported the span, or is called in it.
func (s *span) in(p *party) bool { return s.called == p.called || s.source().service == p.id }

func (s *span) end() int64 { return s.start + s.duration }
