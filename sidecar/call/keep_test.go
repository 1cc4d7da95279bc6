package call

import (
	"strings"
	"testing"
	"time"

	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
)

// get is an owner whose call can be described.
type get struct{}

func (get) Resume(*Waiter) {}
func (get) Subject() Subject {
	return Subject{Method: "GET", Path: "/a?sig=x", Peer: "10.9.9.9", Version: "1.1"}
}

func (f *fixture) beginKept(t *testing.T, said Said) *Call {
	t.Helper()
	f.tracer.Records = NewRecords()
	c := &Call{}
	if step := c.Begin(f.tracer, f.route, &said, get{}, 1); step != Go {
		t.Fatal(step, c.Refusal())
	}
	return c
}

var parentContext = tracing.SpanContext{TraceID: [16]byte{1}, SpanID: [8]byte{2}}

// A call that nobody samples and that fails leaves the spans that it would have
// left, below what its caller's trace says and above what its attempts were told.
func TestFailureIsKept(t *testing.T) {
	f := setUp(t, policy, 0, "10.0.0.1:80", "10.0.0.2:80")
	c := f.beginKept(t, Said{Parent: parentContext, HasParent: true})
	c.Pick(1)
	first := c.Context
	c.Done(2, 503, stats.ErrNone, 1)
	if _, ok := c.Retry(2, stats.Retry503, true); !ok {
		t.Fatal("no retry")
	}
	c.Pick(4)
	second := c.Context
	c.Sending(5)
	c.Done(6, 503, stats.ErrNone, 1)
	if _, say := c.Head(6, 503); say {
		t.Error("a caller's sidecar says that it keeps the call")
	}
	c.End(7, 503, stats.ErrNone)
	if len(f.spans) != 3 {
		t.Fatalf("%d spans", len(f.spans))
	}
	a, b, call := f.spans[0], f.spans[1], f.spans[2]
	if a.Context.SpanID != first.SpanID || b.Context.SpanID != second.SpanID || first.SpanID == second.SpanID || first.Sampled() {
		t.Errorf("the attempts were told %v and %v, their spans are %v and %v", first, second, a.Context, b.Context)
	}
	if call.Parent != parentContext || a.Parent != call.Context || b.Parent != call.Context || call.Context.TraceID != parentContext.TraceID {
		t.Errorf("%v below %v, above %v and %v", call.Context, call.Parent, a.Parent, b.Parent)
	}
	if !call.Context.Sampled() || !call.Failed || len(call.Events) != 1 {
		t.Errorf("%+v", call)
	}
	for key, want := range map[string]string{
		"meshd.retried_ms": "3e-06", "meshd.connect_ms": "1e-06", "client.address": "10.9.9.9", "network.protocol.version": "1.1",
		"url.full": "http://checkout:80/a?sig=REDACTED",
	} {
		if got := attributeOf(call, key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
	series := f.reg.Snapshot().Client[0].Series[0]
	if e := series.Latency.Exemplars; len(e) != 1 || e[0].Trace != parentContext.TraceID || e[0].Span != call.Context.SpanID || e[0].Value != 6 {
		t.Errorf("exemplars %+v", e)
	}
	f.rest(t, 1)
}

// A call like all others leaves nothing.
func TestOrdinaryIsNotKept(t *testing.T) {
	f := setUp(t, policy, 0, "10.0.0.1:80")
	c := f.beginKept(t, Said{})
	c.Pick(1)
	c.Done(2, 200, stats.ErrNone, 1)
	c.Head(2, 200)
	c.End(3, 200, stats.ErrNone)
	if len(f.spans) != 0 || len(f.tracer.Records.All(func(*Record) bool { return true })) != 0 {
		t.Errorf("%d spans", len(f.spans))
	}
	if e := f.reg.Snapshot().Client[0].Series[0].Latency.Exemplars; len(e) != 0 {
		t.Errorf("exemplars %+v", e)
	}
}

// What is kept below is kept above: a caller's sidecar hears it in the answer,
// an application's own sidecar by the trace that both calls are of.
func TestKeptTravelsUp(t *testing.T) {
	f := setUp(t, policy, 0, "10.0.0.1:80")
	f.tracer.Joins = NewJoins()
	server := f.inbound()
	server.Service = f.reg.Server("default/checkout:80")
	server.Stats = server.Service.Route("")
	client := f.route

	f.route = server
	in := f.beginKept(t, Said{Parent: parentContext, HasParent: true})
	in.Pick(1)
	f.route = client
	out := f.beginKept(t, Said{Parent: in.Context, HasParent: true})
	out.Pick(2)
	said := sampled(out.Context)
	said.SpanID = [8]byte{9}
	out.Responded(said.AppendTraceparent(nil))
	out.Done(3, 200, stats.ErrNone, 1)
	out.Head(3, 200)
	out.End(4, 200, stats.ErrNone)
	in.Done(6, 200, stats.ErrNone, 5)
	say, ok := in.Head(6, 200)
	if !ok || say != sampled(in.Context) {
		t.Errorf("the answer says %v, %v", say, ok)
	}
	in.End(7, 200, stats.ErrNone)
	if len(f.spans) != 3 {
		t.Fatalf("%d spans", len(f.spans))
	}
	if s := f.spans[2]; s.Kind != tracing.KindServer || s.Context != say || s.Parent != parentContext {
		t.Errorf("%+v", s)
	}
	// From 1 to 4 the application had a call of its own under way.
	if got := attributeOf(f.spans[2], "meshd.downstream_ms"); got != "3e-06" {
		t.Errorf("downstream %s ms", got)
	}
	if f.tracer.Joins.Joined.Value() != 1 || f.tracer.Joins.Strangers.Value() != 0 {
		t.Errorf("%d joined, %d not", f.tracer.Joins.Joined.Value(), f.tracer.Joins.Strangers.Value())
	}
}

// Another trace's, or one that nobody has kept, is no reason.
func TestWhatIsNoReasonToKeep(t *testing.T) {
	for _, value := range []string{
		"", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
		string(tracing.SpanContext{TraceID: [16]byte{1}, SpanID: [8]byte{3}}.AppendTraceparent(nil)),
	} {
		f := setUp(t, policy, 0, "10.0.0.1:80")
		c := f.beginKept(t, Said{Parent: parentContext, HasParent: true})
		c.Pick(1)
		c.Responded([]byte(value))
		c.Done(2, 200, stats.ErrNone, 1)
		c.End(3, 200, stats.ErrNone)
		if len(f.spans) != 0 {
			t.Errorf("%q: %d spans", value, len(f.spans))
		}
	}
}

// However many calls fail, so many a second are kept.
func TestKeptIsBounded(t *testing.T) {
	f := setUp(t, policy, 0, "10.0.0.1:80")
	f.tracer.Records = NewRecords()
	for range 3 * recordsRate {
		c := &Call{}
		c.Begin(f.tracer, f.route, &Said{}, get{}, int64(time.Second))
		c.End(int64(time.Second), 500, stats.ErrNone)
	}
	if len(f.spans) != recordsRate {
		t.Errorf("%d spans", len(f.spans))
	}
}

// Calls that are only sampled leave a Record rarely, once there are many of them.
func TestSampledRecords(t *testing.T) {
	f := setUp(t, policy, 1, "10.0.0.1:80")
	f.tracer.Records = NewRecords()
	const ms = int64(time.Millisecond)
	for i := range int64(10_000 / 20) { // 50 a second
		c := &Call{}
		now := int64(time.Second) + i*20*ms
		c.Begin(f.tracer, f.route, &Said{}, get{}, now)
		c.Pick(now)
		c.Done(now+ms, 200, stats.ErrNone, ms)
		c.End(now+ms, 200, stats.ErrNone)
	}
	n := len(f.tracer.Records.All(func(*Record) bool { return true }))
	if want := recordsRate + 10*sampledRate; n < want-2 || n > want {
		t.Errorf("%d Records, want %d", n, want)
	}
	for i := range f.spans {
		if i%2 == 1 && attributeOf(f.spans[i], "meshd.kept") != "sampled" {
			t.Fatalf("span %d is not said to be kept", i)
		}
	}
}

// A call that went wrong has the grounds in its span; one that is merely sampled
// has not.
func TestGrounds(t *testing.T) {
	f := setUp(t, policy, 1, "10.0.0.1:80", "10.0.0.2:80")
	for _, status := range []int{200, 500} {
		c := f.beginKept(t, Said{})
		c.Pick(1)
		c.Done(2, status, stats.ErrNone, 1)
		c.End(3, status, stats.ErrNone)
	}
	well, badly := f.spans[1], f.spans[3]
	if got := attributeOf(well, "meshd.kept"); got != "sampled" || attributeOf(well, "meshd.candidates") != "" {
		t.Errorf("%s: %v", got, well.Attributes.All())
	}
	of := attributeOf(badly, "meshd.candidates")
	if attributeOf(badly, "meshd.kept") != "error" || !strings.Contains(of, "10.0.0.1:80: cost") || !strings.Contains(of, "10.0.0.2:80: cost ") {
		t.Errorf("%v", badly.Attributes.All())
	}
	if !badly.Kept || well.Kept {
		t.Error("what became of a call decides on what meshd gets")
	}
}

// A call that takes four times as long as nearly all of its route is kept, and
// its like before that are not, whatever the policy says of hedges.
func TestSlowIsKept(t *testing.T) {
	f := setUp(t, policy, 0, "10.0.0.1:80")
	f.route.Hedge.Disabled = true
	f.route.Init(nil, func() int64 { return 0 })
	const ms = int64(time.Millisecond)
	for i := range 200 {
		took := 10 * ms
		if i == 199 {
			took = 60 * ms
		}
		c := f.beginKept(t, Said{})
		c.Pick(1)
		c.Head(1+took, 200)
		c.Done(1+took, 200, stats.ErrNone, took)
		c.End(2+took, 200, stats.ErrNone)
	}
	if len(f.spans) != 2 || attributeOf(f.spans[1], "meshd.kept") != "slow" {
		t.Errorf("%d spans: %v", len(f.spans), f.spans)
	}
}
