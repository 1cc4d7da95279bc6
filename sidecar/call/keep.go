package call

import (
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
)

// keeping is why a call is remembered: as a Record, as spans, and as the
// exemplar of its latency. It is decided when the head of its answer is there,
// or at its end, of what is known by then; nothing is done for the others.
type keeping uint8

const (
	keptError   keeping = iota // it failed
	keptSlow                   // it took far longer than nearly all do
	keptSampled                // the head of the trace said so
	keptJoined                 // one that it caused was kept, or this one by who answered
	kinds
	notYet // nothing is decided; the zero Call is made so by start
	never  // it was worth it, and too many were
)

var keptNames = [kinds]string{"error", "slow", "sampled", "joined"}

// forcing reports whether the call is kept for what became of it.
func (k keeping) forcing() bool { return k < kinds && k != keptSampled }

func (k keeping) String() string { return keptNames[k] }

// worth reports whether the call is kept.
func (c *Call) worth(now int64, status int, e stats.ErrorType) bool {
	if c.keep != notYet {
		return c.keep < kinds
	}
	t := c.tracer
	if t.Records == nil {
		return false
	}
	k := notYet
	switch {
	case e == stats.ErrClientClosed && c.span == nil:
	case e != stats.ErrNone || failure(status):
		k = keptError
	case c.slow(now):
		k = keptSlow
	case c.span != nil:
		k = keptSampled
	case c.asked || c.joined != nil && c.Route.Server && c.joined.kept.Load():
		k = keptJoined
	}
	if k == notYet {
		return false
	}
	if ok, _ := t.Records.rate[k].Take(now); !ok {
		c.keep = never
		return false
	}
	c.keep = k
	if c.joined != nil && !c.Route.Server {
		c.joined.kept.Store(true)
	}
	return true
}

// slow is a call that took four times as long as nearly all others of its
// route. An answer may be a gigabyte, or a stream: how long its head took counts.
func (c *Call) slow(now int64) bool {
	const least = int64(5 * time.Millisecond)
	if at := c.log.head; at != 0 {
		now = at
	}
	took := now - c.Start
	if took <= least || c.Route.usually == nil || c.attempts == 0 && !c.Route.Server {
		return false
	}
	usual := c.Route.usually.Value()
	return usual > 0 && took > 4*usual
}

// Head is due when the head of the answer that the caller gets is there: a
// status that says how the call ended, or will. Where an inbound call is kept
// that the caller's trace does not sample, it returns what the answer says in
// TraceResponse, so that whoever made the call keeps it too.
func (c *Call) Head(now int64, status int) (say tracing.SpanContext, ok bool) {
	if c.log.head == 0 {
		c.log.head = now
		if c.Route.usually != nil {
			c.Route.usually.Record(now, now-c.Start)
		}
	}
	if !c.worth(now, status, stats.ErrNone) || !c.Route.Server || c.span != nil || c.tracer.Off {
		return say, false
	}
	return sampled(c.Context), true
}

// TraceResponse is the header in which an answer names the span that was made
// for its call, with the sampled flag where it was kept (W3C Trace Context
// Response, the draft of 2023).
const TraceResponse = "traceresponse"

// Responded takes the value of TraceResponse on an answer of the attempt's endpoint.
func (c *Call) Responded(value []byte) {
	if c.span != nil || c.Route.Server {
		return
	}
	if sc, ok := tracing.ParseTraceparent(value); ok && sc.Sampled() && sc.TraceID == c.Context.TraceID {
		c.asked = true
	}
}

// exemplar names the span that the call leaves. Where that is made late, of a
// call that goes out, it begins here: what Context said was its attempts'.
func (c *Call) exemplar(now int64) stats.Exemplar {
	switch {
	case c.span != nil:
		c.Context = c.span.call
	case !c.Route.Server:
		c.Context.SpanID = tracing.NewSpanID()
	}
	return stats.Exemplar{Trace: c.Context.TraceID, Span: c.Context.SpanID, Time: c.tracer.time(now)}
}

// remember makes a Record of a call that is worth it, and spans where it has none.
func (c *Call) remember(now int64, status int, e stats.ErrorType, parts *[stats.Parts]int64) {
	if c.keep == keptSampled {
		// Nothing happened in it: some are enough, and it has its spans.
		if ok, _ := c.tracer.Records.sampled.Take(now); !ok {
			return
		}
	}
	rec := c.record(now, status, e)
	c.tracer.Records.add(int(c.keep), rec)
	switch {
	case c.tracer.Off:
	case c.span != nil:
		c.span.grounds = grounds(&rec, c.keep)
	case c.owner != nil:
		c.late(now, status, e, parts, grounds(&rec, c.keep))
	}
}

// grounds are what a record has beside what the spans of all calls say: what
// there was to choose from, and what else was decided, for those that look into
// a call that went wrong.
func grounds(rec *Record, k keeping) (out []attribute.KeyValue) {
	if !k.forcing() {
		return nil
	}
	if rec.DeadlineMs != 0 {
		out = append(out, tracing.MeshDeadline.Float64(rec.DeadlineMs))
	}
	if rec.Session != "" {
		out = append(out, tracing.MeshSession.String(rec.Session))
	}
	if len(rec.Notes) > 0 {
		out = append(out, tracing.MeshNotes.StringSlice(rec.Notes))
	}
	if len(rec.Candidates) == 0 {
		return out
	}
	var of []string
	for _, e := range rec.Candidates {
		name := e.Instance
		if name == "" {
			name = e.Endpoint
		}
		text := fmt.Sprintf("%s: cost %.4g ms, %d in flight, breaker %s", name, e.Cost/1e6, e.InFlight, e.Breaker)
		if e.Health != "" && e.Health != "ok" {
			text += ", " + e.Health
		}
		of = append(of, text)
	}
	return append(out, tracing.MeshBudget.Float64(rec.Budget), tracing.MeshCandidates.StringSlice(of))
}

// late makes the spans of a call that was not sampled when it began. Its caller
// has been told the call's own context where it came in; where it goes out, the
// attempts have been, and the call is a new span above them.
func (c *Call) late(now int64, status int, e stats.ErrorType, parts *[stats.Parts]int64, grounds []attribute.KeyValue) {
	s := c.owner.Subject()
	r := newRecord(sampled(c.Context), c.parent)
	defer r.free()
	r.rpc, r.version, r.grounds = s.RPC, s.Version, grounds
	r.describe([]byte(s.Method), []byte(s.Path), []byte(s.Peer), nil)
	if !c.Route.Server {
		for n := range c.attempts {
			t := c.log.try(n)
			if t.again {
				r.events = append(r.events, retryEvent(c.tracer.time(t.began), t.reason))
			}
		}
	}
	r.end(c, now, status, e, parts)
}

func sampled(sc tracing.SpanContext) tracing.SpanContext {
	sc.Flags |= tracing.FlagSampled
	return sc
}
