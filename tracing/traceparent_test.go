package tracing

import (
	"context"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	traceHex = "0af7651916cd43dd8448eb211c80319c"
	spanHex  = "b7ad6b7169203331"
)

// traceparents are from W3C Trace Context Level 2 and its test suite; want is
// what is sent on, empty if refused.
var traceparents = []struct{ in, want string }{
	{"00-" + traceHex + "-" + spanHex + "-01", "00-" + traceHex + "-" + spanHex + "-01"},
	{"00-" + traceHex + "-" + spanHex + "-00", "00-" + traceHex + "-" + spanHex + "-00"},
	{"00-" + traceHex + "-" + spanHex + "-03", "00-" + traceHex + "-" + spanHex + "-03"},
	{"00-" + traceHex + "-" + spanHex + "-ff", "00-" + traceHex + "-" + spanHex + "-03"},
	{"00-" + traceHex + "-" + spanHex + "-08", "00-" + traceHex + "-" + spanHex + "-00"},
	{"cc-" + traceHex + "-" + spanHex + "-01", "00-" + traceHex + "-" + spanHex + "-01"},
	{"cc-" + traceHex + "-" + spanHex + "-01-", "00-" + traceHex + "-" + spanHex + "-01"},
	{"01-" + traceHex + "-" + spanHex + "-01-what-the-future-holds", "00-" + traceHex + "-" + spanHex + "-01"},
	{"01-" + traceHex + "-" + spanHex + "-01.what", ""},
	{"01-" + traceHex + "-" + spanHex + "-011", ""},
	{"00-" + traceHex + "-" + spanHex + "-01-", ""},
	{"00-" + traceHex + "-" + spanHex + "-01-more", ""},
	{"00-" + traceHex + "-" + spanHex + "-01 ", ""},
	{" 00-" + traceHex + "-" + spanHex + "-01", ""},
	{"ff-" + traceHex + "-" + spanHex + "-01", ""},
	{"fF-" + traceHex + "-" + spanHex + "-01", ""},
	{"0-" + traceHex + "-" + spanHex + "-001", ""},
	{".0-" + traceHex + "-" + spanHex + "-01", ""},
	{"00-" + strings.ToUpper(traceHex) + "-" + spanHex + "-01", ""},
	{"00-" + traceHex + "-" + strings.ToUpper(spanHex) + "-01", ""},
	{"00-" + traceHex + "-" + spanHex + "-0A", ""},
	{"00-" + traceHex + "-" + spanHex + "-.1", ""},
	{"00-" + strings.Repeat("0", 32) + "-" + spanHex + "-01", ""},
	{"00-" + traceHex + "-" + strings.Repeat("0", 16) + "-01", ""},
	{"00-." + traceHex[1:] + "-" + spanHex + "-01", ""},
	{"00-" + traceHex + "_" + spanHex + "-01", ""},
	{"00-" + traceHex + "-" + spanHex + "-", ""},
	{"00-" + traceHex + "-" + spanHex, ""},
	{"00" + traceHex + spanHex + "01", ""},
	{"", ""},
}

func TestParseTraceparent(t *testing.T) {
	for _, tc := range traceparents {
		sc, ok := ParseTraceparent([]byte(tc.in))
		if ok != (tc.want != "") {
			t.Errorf("%q: accepted: %v", tc.in, ok)
		}
		if ok && sc.String() != tc.want {
			t.Errorf("%q came back as %q, want %q", tc.in, sc, tc.want)
		}
		if !ok && sc != (SpanContext{}) {
			t.Errorf("%q: refused, yet something came back", tc.in)
		}
	}
}

func FuzzParseTraceparent(f *testing.F) {
	for _, tc := range traceparents {
		f.Add([]byte(tc.in))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		sc, ok := ParseTraceparent(b)
		if !ok {
			return
		}
		out := sc.AppendTraceparent(nil)
		if len(out) != TraceparentLen || string(out[3:52]) != string(b[3:52]) {
			t.Fatalf("%q came back as %q", b, out)
		}
		if again, ok := ParseTraceparent(out); !ok || again != sc {
			t.Fatalf("%q does not survive a round trip", b)
		}
		// OpenTelemetry's own propagator reads what we write.
		ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": string(out)})
		theirs := trace.SpanContextFromContext(ctx)
		if theirs.TraceID() != trace.TraceID(sc.TraceID) || theirs.SpanID() != trace.SpanID(sc.SpanID) || theirs.IsSampled() != sc.Sampled() {
			t.Fatalf("OpenTelemetry reads %q as %v", out, theirs)
		}
	})
}

func TestSamplerAgreesWithSDK(t *testing.T) {
	for _, ratio := range []float64{-1, 0, 1e-9, 0.01, 0.25, 0.5, 0.999999, 1, 2} {
		theirs := sdktrace.TraceIDRatioBased(ratio)
		ours := &Sampler{bound: ratioBound(ratio)} // traceidratio, not parent-based
		byRoute := NewSampler(0.3)
		for range 20_000 {
			var parent SpanContext
			binary.NativeEndian.PutUint64(parent.TraceID[:8], rand.Uint64())
			binary.NativeEndian.PutUint64(parent.TraceID[8:], rand.Uint64())
			parent.SpanID[0] = 1
			want := theirs.ShouldSample(sdktrace.SamplingParameters{
				ParentContext: context.Background(),
				TraceID:       parent.TraceID,
			}).Decision == sdktrace.RecordAndSample
			if got := ours.Start(parent, true, -1); got.Sampled() != want {
				t.Fatalf("ratio %v, trace %x: %v, SDK %v", ratio, parent.TraceID, got.Sampled(), want)
			}
			if ratio < 0 {
				continue
			}
			root := byRoute.Start(SpanContext{}, false, ratio)
			want = theirs.ShouldSample(sdktrace.SamplingParameters{
				ParentContext: context.Background(),
				TraceID:       root.TraceID,
			}).Decision == sdktrace.RecordAndSample
			if root.Sampled() != want {
				t.Fatalf("route ratio %v, trace %x: %v, SDK %v", ratio, root.TraceID, root.Sampled(), want)
			}
		}
	}
}

func TestSamplerFollowsParent(t *testing.T) {
	parent, _ := ParseTraceparent([]byte("00-" + traceHex + "-" + spanHex + "-03"))
	unsampled := parent
	unsampled.Flags = FlagRandom
	never, always := NewSampler(0), NewSampler(1)

	child := never.Start(parent, true, 0)
	if child.TraceID != parent.TraceID || child.SpanID == parent.SpanID || !child.Valid() || child.Flags != 0x03 {
		t.Errorf("child of a sampled parent: %v", child)
	}
	if child := always.Start(unsampled, true, 1); child.Flags != FlagRandom {
		t.Errorf("child of an unsampled parent: %v", child)
	}
	for _, root := range []SpanContext{
		always.Start(parent, false, -1),
		always.Start(SpanContext{Flags: 1}, true, -1), // not a valid parent
		never.Start(SpanContext{}, false, 1),
		always.Start(SpanContext{}, false, math.NaN()),
	} {
		if !root.Valid() || root.TraceID == parent.TraceID || root.Flags != FlagSampled {
			t.Errorf("root: %v", root)
		}
	}
	fixed := &Sampler{bound: 0, parent: true, fixed: true}
	if root := fixed.Start(SpanContext{}, false, 1); root.Sampled() {
		t.Error("always_off is overruled by a route's ratio")
	}
}

func TestNoAllocation(t *testing.T) {
	in := []byte("00-" + traceHex + "-" + spanHex + "-01")
	out := make([]byte, 0, TraceparentLen)
	s := NewSampler(0.01)
	parent, _ := ParseTraceparent(in)
	off := &Telemetry{}
	for name, f := range map[string]func(){
		"ParseTraceparent":  func() { ParseTraceparent(in) },
		"AppendTraceparent": func() { parent.AppendTraceparent(out) },
		"Start (root)":      func() { s.Start(SpanContext{}, false, 0.5) },
		"Start (child)":     func() { s.Start(parent, true, -1) },
		"Emit (nowhere)":    func() { off.Emit(Span{Context: parent}) },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkPropagation(b *testing.B) {
	in := []byte("00-" + traceHex + "-" + spanHex + "-00")
	out := make([]byte, 0, TraceparentLen)
	s := NewSampler(0.01)
	parent, _ := ParseTraceparent(in)
	b.Run("parse", func(b *testing.B) {
		for b.Loop() {
			ParseTraceparent(in)
		}
	})
	b.Run("append", func(b *testing.B) {
		for b.Loop() {
			parent.AppendTraceparent(out)
		}
	})
	b.Run("start-child", func(b *testing.B) {
		for b.Loop() {
			s.Start(parent, true, -1)
		}
	})
	b.Run("start-root", func(b *testing.B) {
		for b.Loop() {
			s.Start(SpanContext{}, false, 0.02)
		}
	})
}
