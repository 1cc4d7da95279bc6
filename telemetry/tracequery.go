package telemetry

import (
	"cmp"
	"encoding/hex"
	"math"
	"slices"
	"time"

	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	otlptrace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// MaxTraceLimit is the most traces that a query gives.
const MaxTraceLimit = 1000

// extent is what a trace looks like from outside.
type extent struct {
	trace      *trace
	start, end int64
	service    int64 // duration of the longest span that the query's service is in
	failed     bool  // some span that it is in is
}

// extent is t as p has a part in it; nil is anybody.
func (t *trace) extent(p *party) (e extent, in bool) {
	e = extent{trace: t, start: math.MaxInt64}
	for i := range t.spans {
		sp := &t.spans[i]
		e.start, e.end = min(e.start, sp.start), max(e.end, sp.end())
		if p == nil || sp.in(p) {
			in = true
			e.service = max(e.service, sp.duration)
			e.failed = e.failed || sp.failed
		}
	}
	if p == nil {
		e.service = e.end - e.start
	}
	return e, in
}

// Traces implements Reader.
func (s *Store) Traces(q TraceQuery) []TraceSummary {
	t := &s.traces
	t.mu.Lock()
	defer t.mu.Unlock()
	var p *party
	if q.Service != (Service{}) {
		p = &party{q.Service, t.called([]byte(q.Service.String()))}
	}
	var found []extent
	for _, tr := range t.byID {
		e, in := tr.extent(p)
		if in && e.service >= int64(q.Min) && (q.Kind != TraceError || e.failed) {
			found = append(found, e)
		}
	}
	slices.SortFunc(found, func(a, b extent) int {
		if q.Kind == TraceSlow && a.service != b.service {
			return cmp.Compare(b.service, a.service)
		}
		return cmp.Or(cmp.Compare(b.start, a.start), slices.Compare(a.trace.id[:], b.trace.id[:]))
	})
	limit := min(cmp.Or(max(q.Limit, 0), 50), MaxTraceLimit)
	out := []TraceSummary{}
	for _, e := range found[:min(limit, len(found))] {
		out = append(out, t.summary(e))
	}
	return out
}

func (t *traces) summary(e extent) TraceSummary {
	tr := e.trace
	sum := TraceSummary{
		ID: hex.EncodeToString(tr.id[:]), Start: time.Unix(0, e.start).UTC(),
		DurationMs: millis(e.end - e.start), ServiceMs: millis(e.service), Spans: len(tr.spans),
	}
	byID := tr.spansByID()
	services := map[Service]bool{}
	for i := range tr.spans {
		services[tr.spans[i].source().service] = true
	}
	sum.Services = len(services)
	// The root has no parent; failing that, the earliest whose parent is not here.
	rank := func(sp *span) int {
		switch {
		case sp.parent == [8]byte{}:
			return 0
		case byID[sp.parent] == nil:
			return 1
		}
		return 2
	}
	root, failed, deepest := &tr.spans[0], (*span)(nil), -1
	for i := range tr.spans {
		sp := &tr.spans[i]
		if c := cmp.Or(cmp.Compare(rank(sp), rank(root)), cmp.Compare(sp.start, root.start)); c < 0 {
			root = sp
		}
		if !sp.failed {
			continue
		}
		if depth := tr.depth(sp, byID); depth > deepest {
			failed, deepest = sp, depth
		}
	}
	sum.Name, sum.Service = t.full(root).Name, root.source().service
	if failed != nil {
		sum.Failed, sum.Message = true, t.full(failed).Message
	}
	return sum
}

func (t *trace) spansByID() map[[8]byte]*span {
	out := make(map[[8]byte]*span, len(t.spans))
	for i := range t.spans {
		out[t.spans[i].id] = &t.spans[i]
	}
	return out
}

// depth is how many spans are above sp. Of a circle, which is nonsense, it is
// no more than maxDepth.
func (t *trace) depth(sp *span, byID map[[8]byte]*span) (n int) {
	const maxDepth = 64
	for at := byID[sp.parent]; at != nil && n < maxDepth; at = byID[at.parent] {
		n++
	}
	return n
}

// Trace implements Reader.
func (s *Store) Trace(id string) (Trace, bool) {
	raw, err := hex.DecodeString(id)
	if err != nil || len(raw) != 16 {
		return Trace{}, false
	}
	t := &s.traces
	t.mu.Lock()
	defer t.mu.Unlock()
	tr := t.byID[[16]byte(raw)]
	if tr == nil {
		return Trace{}, false
	}
	out := Trace{ID: hex.EncodeToString(raw), Dropped: int(tr.dropped), Spans: make([]TraceSpan, 0, len(tr.spans))}
	byID := tr.spansByID()
	order := make([]*span, len(tr.spans))
	for i := range tr.spans {
		order[i] = &tr.spans[i]
	}
	slices.SortStableFunc(order, func(a, b *span) int { // of those that begin together, the outer one first
		if a.start != b.start {
			return cmp.Compare(a.start, b.start)
		}
		return cmp.Compare(tr.depth(a, byID), tr.depth(b, byID))
	})
	for _, sp := range order {
		full := t.full(sp)
		full.Resource = sp.source().attributes()
		out.Spans = append(out.Spans, full)
	}
	return out, true
}

var spanKinds = []string{"internal", "internal", "server", "client", "producer", "consumer", "internal"}

// full is all that was said of the span.
func (t *traces) full(s *span) TraceSpan {
	from := s.source()
	out := TraceSpan{
		ID: hex.EncodeToString(s.id[:]), Kind: spanKinds[s.kind],
		Service: from.service.Name, Namespace: from.service.Namespace, Instance: from.instance,
		Start: time.Unix(0, s.start).UTC(), DurationMs: millis(s.duration), Failed: s.failed,
		Attributes: map[string]any{}, Events: []TraceEvent{},
	}
	if s.parent != [8]byte{} {
		out.Parent = hex.EncodeToString(s.parent[:])
	}
	var sp otlptrace.Span
	if err := proto.Unmarshal(t.raw(s), &sp); err != nil {
		out.Name, out.Message = "(not readable)", err.Error()
		return out
	}
	out.Name = sp.GetName()
	out.Attributes = attributeMap(sp.GetAttributes())
	for _, e := range sp.GetEvents() {
		out.Events = append(out.Events, TraceEvent{
			Name: e.GetName(), Time: time.Unix(0, int64(min(e.GetTimeUnixNano(), math.MaxInt64))).UTC(), Attributes: attributeMap(e.GetAttributes()),
		})
	}
	if s.failed {
		why, _ := out.Attributes["error.type"].(string)
		out.Message = cmp.Or(sp.GetStatus().GetMessage(), why)
	}
	return out
}

// attributes are what is known of a source beside its names; nil: nothing.
func (s *source) attributes() map[string]any {
	var r resourcepb.Resource
	if proto.Unmarshal([]byte(s.raw), &r) != nil {
		return nil
	}
	out := attributeMap(r.GetAttributes())
	for _, name := range []string{"service.namespace", "service.name", "service.instance.id"} {
		delete(out, name)
	}
	return out
}

func millis(ns int64) float64 { return float64(ns) / 1e6 }

// anyValue is an AnyValue as Go has it: string, bool, int64, float64, []byte
// (as hex), []any or map[string]any.
func anyValue(v *commonpb.AnyValue) any {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	case *commonpb.AnyValue_BoolValue:
		return v.BoolValue
	case *commonpb.AnyValue_IntValue:
		return v.IntValue
	case *commonpb.AnyValue_DoubleValue:
		if math.IsNaN(v.DoubleValue) || math.IsInf(v.DoubleValue, 0) {
			return "not a finite number" // which JSON has no word for
		}
		return v.DoubleValue
	case *commonpb.AnyValue_BytesValue:
		return v.BytesValue // base64 in JSON
	case *commonpb.AnyValue_ArrayValue:
		out := make([]any, 0, len(v.ArrayValue.GetValues()))
		for _, e := range v.ArrayValue.GetValues() {
			out = append(out, anyValue(e))
		}
		return out
	case *commonpb.AnyValue_KvlistValue:
		return attributeMap(v.KvlistValue.GetValues())
	}
	return nil
}

func attributeMap(kvs []*commonpb.KeyValue) map[string]any {
	out := make(map[string]any, len(kvs))
	for _, kv := range kvs {
		out[kv.GetKey()] = anyValue(kv.GetValue())
	}
	return out
}
