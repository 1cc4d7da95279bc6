package call

import (
	"testing"
	"time"

	"github.com/meshd/meshd/sidecar/stats"
	"github.com/meshd/meshd/tracing"
)

// tapped puts a tap in that keeps what it is told.
func (f *fixture) tapped(headers ...string) *[]Entry {
	out := &[]Entry{}
	f.tracer.Tap.Store(&Tap{Headers: headers, End: func(e *Entry) { *out = append(*out, *e) }})
	return out
}

func TestTapSeesCalls(t *testing.T) {
	f := setUp(t, policy, 0, "10.0.0.1:80")
	f.begin(t).End(1, 200, stats.ErrNone) // while nobody looks
	if f.tracer.Looks() {
		t.Error("somebody looks at headers")
	}
	got := f.tapped("x-user", "x-none")
	if !f.tracer.Looks() {
		t.Error("nobody looks at headers")
	}
	c := f.beginKept(t, Said{Request: request{headers: map[string]string{"x-user": "ann", "x-other": "no"}}})
	c.Pick(1)
	c.Done(2, 503, stats.ErrNone, 1)
	c.End(1+int64(time.Second), 503, stats.ErrNone)
	if len(*got) != 1 {
		t.Fatalf("%d entries", len(*got))
	}
	e := (*got)[0]
	if e.Service != "default/checkout:80" || e.Route != "r" || e.Inbound || e.Took != time.Second || !e.Failed || e.Status != 503 ||
		e.Method != "GET" || e.Path != "/a" || e.Peer != "10.9.9.9" || e.Attempts != 1 || e.Endpoint != "10.0.0.1:80" ||
		e.Instance != "10.0.0.1:80" || e.Kept != "error" || !e.Time.Equal(f.tracer.Epoch.Add(1)) {
		t.Errorf("%+v", e)
	}
	if len(e.Headers) != 1 || e.Headers[0] != (Header{"x-user", "ann"}) {
		t.Errorf("headers %v", e.Headers)
	}
	f.tracer.Tap.Store(nil)
	f.begin(t).End(2, 200, stats.ErrNone)
	if len(*got) != 1 {
		t.Errorf("%d entries after the tap", len(*got))
	}
}

// A client that goes away is no failure of the service.
func TestTapSeesWhoFailed(t *testing.T) {
	f := setUp(t, policy, 0, "10.0.0.1:80")
	got := f.tapped()
	f.begin(t).End(2, 499, stats.ErrClientClosed)
	f.begin(t).End(2, 404, stats.ErrNone)
	f.begin(t).End(2, 503, stats.ErrDestinationUnavailable)
	for i, want := range []bool{false, false, true} {
		if e := (*got)[i]; e.Failed != want || e.Endpoint != "" || e.Kept != "" {
			t.Errorf("%+v, want failed %v", e, want)
		}
	}
}

func TestTapSeesConnections(t *testing.T) {
	f := setUp(t, policy, 0, "10.0.0.1:80")
	got := f.tapped()
	c := f.beginConnection(t)
	c.Pick(1)
	c.Connected(2)
	c.EndConnection(3, stats.ErrNone, 10, 20)
	if e := (*got)[0]; !e.TCP || e.Sent != 10 || e.Received != 20 || e.Failed || e.Endpoint != "10.0.0.1:80" {
		t.Errorf("%+v", e)
	}
}

// A log gets what its filter lets through, and the span that says most of it.
func TestLog(t *testing.T) {
	for filter, want := range map[LogFilter]int{LogAll: 3, LogFailed: 1, LogKept: 2} {
		f := setUp(t, policy, 1, "10.0.0.1:80") // whatever begins a trace is sampled
		var got []Entry
		f.tracer.LogOnly, f.tracer.Log = filter, func(e *Entry) { got = append(got, *e) }
		f.begin(t).End(2, 200, stats.ErrNone)
		f.tracer.Sampler = tracing.NewSampler(0)
		c := f.beginKept(t, Said{})
		c.Pick(1)
		c.Done(2, 503, stats.ErrNone, 1)
		c.End(3, 503, stats.ErrNone)
		f.tracer.Records = nil
		f.begin(t).End(2, 200, stats.ErrNone)
		if len(got) != want {
			t.Errorf("filter %d: %d entries, want %d: %+v", filter, len(got), want, got)
		}
		if filter == LogAll && (got[0].Context != f.spans[0].Context || !got[1].Failed || got[1].Attempts != 1) {
			t.Errorf("%+v, want the call of %v first", got, f.spans[0].Context)
		}
	}
}
