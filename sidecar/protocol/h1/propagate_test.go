package h1

import (
	"strings"
	"testing"
)

const (
	validParent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n"
	someState   = "tracestate: a=b\r\n"
)

// A sidecar that exports no spans has no part in traces: what the client says
// of them goes through as it came, and nothing is added.
func TestTracerOff(t *testing.T) {
	r := newRig(t, options{ratio: 1, config: func(c *Config) { c.Tracer.Off = true }}, headBackend(t, ""))
	c := r.dial()
	for _, said := range []string{"", validParent + someState, "traceparent: nonsense\r\n" + someState, someState, validParent + validParent} {
		c.send("GET / HTTP/1.1\r\nHost: checkout\r\n" + said + "\r\n")
		_, got := c.answer("GET")
		if !strings.Contains(got, said) || strings.Count(got, "trace") != strings.Count(said, "trace") {
			t.Errorf("%q became %q", said, got)
		}
	}
	r.stop()
	if len(r.spans) != 0 {
		t.Errorf("%d spans", len(r.spans))
	}
}

// A tracestate belongs to its traceparent: it goes on with one that can be
// read, and not with the trace that is begun where none can (W3C Trace Context,
// section 4).
func TestTraceStateNeedsParent(t *testing.T) {
	for _, ratio := range []float64{0, 1} {
		r := newRig(t, options{ratio: ratio}, headBackend(t, ""))
		c := r.dial()
		for said, kept := range map[string]bool{
			validParent + someState:                 true,
			someState + validParent:                 true,
			someState:                               false,
			"traceparent: nonsense\r\n" + someState: false,
			validParent + validParent + someState:   false,
			"TraceState: a=b\r\n":                   false,
		} {
			c.send("GET / HTTP/1.1\r\nHost: checkout\r\n" + said + "\r\n")
			_, got := c.answer("GET")
			if strings.Contains(strings.ToLower(got), "tracestate") != kept || strings.Count(got, "traceparent: ") != 1 {
				t.Errorf("ratio %v: %q became %q", ratio, said, got)
			}
		}
		r.stop()
	}
}
