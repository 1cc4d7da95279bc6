package telemetry

import (
	"bytes"
	"container/list"
	"context"
	"encoding/hex"
	"fmt"
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
	traceShare   = 16       // a trace may have 1/traceShare of all
)

// What a span and a trace weigh beside their bytes, about.
const (
	spanOverhead  = 160
	traceOverhead = 320
)

// traces keeps whole traces in the order in which they began to come. It has a
// lock of its own, so that neither metrics nor people who look at traces wait
// for each other.
type traces struct {
	mu    sync.Mutex
	max   int // bytes
	bytes int
	byID  map[[16]byte]*trace
	order *list.List // of *trace, the oldest first

	taken, invalid, dropped, evicted uint64
	busy                             time.Duration
}

// A trace is what there is of one. Guarded by traces.mu.
type trace struct {
	id      [16]byte
	spans   []span
	bytes   int
	dropped int
	place   *list.Element
}

// A span is its bytes, and what lists of traces ask for.
type span struct {
	id, parent      [8]byte
	start, duration int64 // ns
	source          *source
	raw             []byte // a Span
	called          int32  // where in raw meshd.service is; 0: nowhere
	calledLen       int32
	kind            uint8
	failed          bool
}

// A source is the resource of spans.
type source struct {
	service  Service
	instance string
	raw      []byte // a Resource
}

func newTraces(max int) traces {
	return traces{max: max, byID: map[[16]byte]*trace{}, order: list.New()}
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
		from := &source{service: caller(key), instance: key.instance, raw: resourceOf(f.bytes)}
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

// resourceOf copies the Resource of a ResourceSpans.
func resourceOf(raw []byte) []byte {
	for f := (fields{rest: raw}); f.next(); {
		if f.tag == bytesTag(1) && len(f.bytes) <= maxResource {
			return bytes.Clone(f.bytes)
		}
	}
	return nil
}

// take adds a Span. Needs t.mu.
func (t *traces) take(from *source, raw []byte) error {
	id, sp, err := readSpan(raw)
	if err != nil {
		t.invalid++
		return err
	}
	tr := t.byID[id]
	size := len(raw) + spanOverhead
	if tr == nil || len(tr.spans) == 0 || tr.spans[len(tr.spans)-1].source != from {
		size += len(from.service.Namespace) + len(from.service.Name) + len(from.instance) + len(from.raw)
	}
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
	if tr != nil {
		for i := range tr.spans {
			if s := &tr.spans[i]; s.id == sp.id && s.start == sp.start && s.kind == sp.kind {
				return nil // sent twice
			}
		}
		if len(tr.spans) >= maxSpans {
			return drop("trace %x: meshd keeps at most %d spans of a trace", id, maxSpans)
		}
		if tr.bytes+size > t.max/traceShare {
			return drop("trace %x: meshd keeps at most %d bytes of a trace", id, t.max/traceShare)
		}
	} else {
		if size+traceOverhead > t.max/traceShare {
			return drop("trace %x: meshd keeps at most %d bytes of a trace", id, t.max/traceShare)
		}
		tr = &trace{id: id, bytes: traceOverhead}
		t.bytes += traceOverhead
		tr.place = t.order.PushBack(tr)
		t.byID[id] = tr
	}
	sp.source, sp.raw = from, bytes.Clone(raw)
	tr.spans = append(tr.spans, sp)
	tr.bytes += size
	t.bytes += size
	t.taken++
	for t.bytes > t.max {
		oldest := t.order.Front().Value.(*trace)
		t.order.Remove(oldest.place)
		delete(t.byID, oldest.id)
		t.bytes -= oldest.bytes
		t.evicted++
	}
	return nil
}

// readSpan reads of a Span what lists ask for.
func readSpan(raw []byte) (trace [16]byte, sp span, err error) {
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
				if v := text(value); len(v) > 0 && len(v) <= maxText {
					// f.rest is what follows the attribute, value and v are at its end.
					end := len(raw) - len(f.rest)
					if at := end - len(v); bytes.Equal(raw[at:end], v) {
						sp.called, sp.calledLen = int32(at), int32(len(v))
					}
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

// A party is a service that traces are asked for.
type party struct {
	id   Service
	name []byte // NAMESPACE/NAME
}

// in says whether the party reported the span, or is called in it.
func (s *span) in(p *party) bool {
	if s.source.service == p.id {
		return true
	}
	if s.called == 0 {
		return false
	}
	rest, ok := bytes.CutPrefix(s.raw[s.called:s.called+s.calledLen], p.name)
	return ok && (len(rest) == 0 || rest[0] == ':')
}

func (s *span) end() int64 { return s.start + s.duration }
