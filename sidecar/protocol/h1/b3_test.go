package h1

import (
	"net/http"
	"testing"

	"github.com/meshd/meshd/tracing"
)

// With B3, a call goes on with the caller's trace in all the fields that are
// asked for, each attempt as a span of its own, and without the caller's.
func TestB3(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for name, said := range map[string]string{
		"single": "B3: " + trace + "-" + span + "-1\r\n",
		"multi":  "x-b3-traceid: " + trace + "\r\nX-B3-SpanId: " + span + "\r\nX-B3-ParentSpanId: 00f067aa0ba902b7\r\nX-B3-Sampled: 1\r\n",
	} {
		var told []http.Header
		addr := backend(t, func(w http.ResponseWriter, r *http.Request) {
			if told = append(told, r.Header); len(told) == 1 {
				w.WriteHeader(503)
			}
		})
		r := newRig(t, options{config: func(c *Config) {
			c.Tracer.Propagate = &tracing.Propagators{B3: true, B3Multi: true}
		}}, addr)
		c := r.dial()
		c.send("GET / HTTP/1.1\r\nHost: checkout\r\ntraceparent: mine\r\n" + said + "\r\n")
		if res, _ := c.answer("GET"); res.StatusCode != 200 {
			t.Fatalf("%d", res.StatusCode)
		}
		r.stop()
		for i, h := range told {
			s := <-r.spans
			if h.Get("B3") != string(s.Context.AppendB3(nil)) || h.Get("X-B3-Traceid") != trace || h.Get("X-B3-Spanid") != string(s.Context.AppendB3SpanID(nil)) ||
				h.Get("X-B3-Sampled") != "1" || len(h["X-B3-Traceid"]) != 1 || len(h["B3"]) != 1 || h["X-B3-Parentspanid"] != nil || h.Get("Traceparent") != "mine" {
				t.Errorf("%s: attempt %d, span %v, was told %v", name, i, s.Context, h)
			}
		}
		whole := <-r.spans
		if len(told) != 2 || string(whole.Parent.AppendB3TraceID(nil)) != trace || string(whole.Parent.AppendB3SpanID(nil)) != span {
			t.Errorf("%s: %d attempts below %v", name, len(told), whole.Parent)
		}
	}
}
