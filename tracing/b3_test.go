package tracing

import (
	"bytes"
	"strings"
	"testing"
)

const short64 = "0000000000000000" + "a2fb4a1d1a96d312"

func TestB3(t *testing.T) {
	ids := traceHex + "-" + spanHex
	for value, want := range map[string]struct {
		told    string // what the next hop is told if all is as it came; empty: it is not read
		decided string // by a sampler that samples all: "follows", "decides"
	}{
		ids + "-1":                           {ids + "-1", "follows"},
		ids + "-0":                           {ids + "-0", "follows"},
		ids + "-d":                           {ids + "-d", "follows"},
		ids:                                  {ids + "-0", "decides"},
		ids + "-1-05e3ac9a4f6e3b90":          {ids + "-1", "follows"},
		"a2fb4a1d1a96d312-" + spanHex:        {short64 + "-" + spanHex + "-0", "decides"},
		"a2fb4a1d1a96d312-" + spanHex + "-1": {short64 + "-" + spanHex + "-1", "follows"},

		"":                                   {},
		"x":                                  {},
		"00":                                 {},
		ids + "-":                            {},
		ids + "-2":                           {},
		ids + "-1-":                          {},
		ids + "-1-05e3ac9a4f6e3b9":           {},
		ids + "-1-05E3AC9A4F6E3B90":          {},
		ids + "x1":                           {},
		"0000000000000000-" + spanHex + "-1": {},
		"80F198EE56343BA864FE8B2A57D3EFF7-" + spanHex + "-1": {},
		traceHex + "-0000000000000000-1":                     {},
	} {
		sc, ok := ParseB3([]byte(value))
		if ok != (want.told != "") {
			t.Errorf("%q is read: %v", value, ok)
		}
		if !ok {
			if sc != (SpanContext{}) {
				t.Errorf("%q is not read, and leaves %v", value, sc)
			}
			continue
		}
		if got := string(sc.AppendB3(nil)); got != want.told || len(got) != B3SingleLen {
			t.Errorf("%q is told on as %q, want %q", value, got, want.told)
		}
		child := NewSampler(1).Start(sc, true, -1)
		if child.TraceID != sc.TraceID || child.SpanID == sc.SpanID {
			t.Errorf("%q: %v is not of that trace", value, child)
		}
		if got := child.Sampled() == sc.Sampled(); got != (want.decided == "follows") {
			t.Errorf("%q: %v, and it %s", value, child, want.decided)
		}
		if value == ids+"-d" && child.AppendB3(nil)[B3SingleLen-1] != 'd' {
			t.Errorf("%q: debug does not travel on: %s", value, child.AppendB3(nil))
		}
		if flags := child.AppendTraceparent(nil)[53:]; string(flags) != "00" && string(flags) != "01" {
			t.Errorf("%q: traceparent has flags %s", value, flags)
		}
	}
}

// TestB3StateAlone: a decision without a trace holds for the trace that begins here.
func TestB3StateAlone(t *testing.T) {
	for value, want := range map[string]bool{"0": false, "1": true, "d": true} {
		sc, ok := ParseB3([]byte(value))
		if !ok || sc.Valid() {
			t.Errorf("%s: %v, %v", value, sc, ok)
		}
		for _, ratio := range []float64{0, 1} {
			root := NewSampler(ratio).Start(sc, true, -1)
			if !root.Valid() || root.Sampled() != want {
				t.Errorf("%s at a ratio of %v: %v", value, ratio, root)
			}
		}
		if root := (&Sampler{bound: ratioBound(1)}).Start(sc, true, -1); !root.Sampled() {
			t.Errorf("%s binds a sampler that is not parent-based", value)
		}
	}
}

func TestB3Multi(t *testing.T) {
	for _, c := range []struct {
		trace, span, sampled, flags string
		single                      string // the same in one field; empty: it is not read
	}{
		{traceHex, spanHex, "1", "", traceHex + "-" + spanHex + "-1"},
		{traceHex, spanHex, "0", "", traceHex + "-" + spanHex + "-0"},
		{traceHex, spanHex, "true", "", traceHex + "-" + spanHex + "-1"},
		{traceHex, spanHex, "false", "0", traceHex + "-" + spanHex + "-0"},
		{traceHex, spanHex, "", "1", traceHex + "-" + spanHex + "-d"},
		{traceHex, spanHex, "0", "1", traceHex + "-" + spanHex + "-d"},
		{traceHex, spanHex, "", "", traceHex + "-" + spanHex},
		{"a2fb4a1d1a96d312", spanHex, "1", "", "a2fb4a1d1a96d312-" + spanHex + "-1"},
		{"", "", "0", "", "0"},
		{"", "", "", "1", "d"},
		{"", "", "", "", ""},
		{traceHex, "", "1", "", ""},
		{"", spanHex, "1", "", ""},
		{traceHex[:31], spanHex, "1", "", ""},
		{traceHex, spanHex + "0", "1", "", ""},
		{traceHex, spanHex, "d", "", ""},
		{traceHex, spanHex, "yes", "", ""},
	} {
		field := func(s string) []byte {
			if s == "" {
				return nil
			}
			return []byte(s)
		}
		got, ok := ParseB3Multi(field(c.trace), field(c.span), field(c.sampled), field(c.flags))
		want, wanted := ParseB3([]byte(c.single))
		if ok != wanted || got != want {
			t.Errorf("%+v: %v %v, want %v %v", c, got, ok, want, wanted)
		}
		if !ok || !got.Valid() {
			continue
		}
		value, debug := got.B3Decision()
		flags := ""
		if debug {
			flags = "1"
		}
		again, ok := ParseB3Multi(got.AppendB3TraceID(nil), got.AppendB3SpanID(nil), []byte(value), field(flags))
		if !ok || again.TraceID != got.TraceID || again.SpanID != got.SpanID || again.Flags&^flagUndecided != got.Flags&^flagUndecided {
			t.Errorf("%+v: told on as %v", c, again)
		}
	}
}

func TestB3NoAllocation(t *testing.T) {
	value := []byte(traceHex + "-" + spanHex + "-1")
	trace, span, sampled := value[:32], value[33:49], []byte("true")
	out := make([]byte, 0, B3SingleLen)
	sc, _ := ParseB3(value)
	for name, f := range map[string]func(){
		"ParseB3":      func() { ParseB3(value) },
		"ParseB3Multi": func() { ParseB3Multi(trace, span, sampled, []byte("1")) },
		"AppendB3":     func() { sc.AppendB3(out) },
		"B3Decision":   func() { sc.B3Decision() },
	} {
		if n := testing.AllocsPerRun(100, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func FuzzB3(f *testing.F) {
	f.Add([]byte(traceHex + "-" + spanHex + "-1-05e3ac9a4f6e3b90"))
	f.Add([]byte("a2fb4a1d1a96d312-" + spanHex))
	f.Add([]byte("d"))
	f.Fuzz(func(t *testing.T, value []byte) {
		sc, ok := ParseB3(value)
		if !ok {
			return
		}
		if !sc.Valid() {
			if len(value) != 1 {
				t.Fatalf("%q names no trace", value)
			}
			return
		}
		again, ok := ParseB3(sc.AppendB3(nil))
		if !ok || again.TraceID != sc.TraceID || again.SpanID != sc.SpanID || again.Sampled() != sc.Sampled() {
			t.Fatalf("%q: %v became %v", value, sc, again)
		}
		if sc.Flags&flagUndecided == 0 && !bytes.Contains(value, again.AppendB3SpanID(nil)) {
			t.Fatalf("%q: span %x", value, sc.SpanID)
		}
	})
}

func FuzzB3Multi(f *testing.F) {
	f.Add([]byte(traceHex), []byte(spanHex), []byte("1"), []byte("0"))
	f.Add([]byte(nil), []byte(nil), []byte("0"), []byte("1"))
	f.Fuzz(func(t *testing.T, trace, span, sampled, flags []byte) {
		sc, ok := ParseB3Multi(trace, span, sampled, flags)
		if !ok && sc != (SpanContext{}) {
			t.Fatalf("not read, and leaves %v", sc)
		}
		if root := NewSampler(0.5).Start(sc, ok, -1); !root.Valid() {
			t.Fatalf("%v begins %v", sc, root)
		}
	})
}

// What is said in a head is read again, one way and the other.
func TestPropagatorsAgree(t *testing.T) {
	for _, flags := range []byte{0, FlagSampled, FlagSampled | FlagDebug} {
		sc := SpanContext{TraceID: [16]byte{1, 15: 2}, SpanID: [8]byte{3, 7: 4}, Flags: flags}
		for _, p := range []Propagators{{B3: true}, {B3Multi: true}, {TraceContext: true, B3: true, B3Multi: true}} {
			var fields, lines Carried
			p.B3Fields(sc, func(name, value string) { fields.Take(name, []byte(value)) })
			for line := range strings.SplitSeq(strings.TrimSpace(string(p.AppendLines(nil, sc))), "\r\n") {
				name, value, _ := strings.Cut(line, ": ")
				lines.Take(strings.ToLower(name), []byte(value))
			}
			for _, c := range []*Carried{&fields, &lines} {
				if got, ok := p.ParseB3(c); !ok || got != sc {
					t.Errorf("%+v: %+v became %+v, %v", p, sc, got, ok)
				}
			}
		}
	}
}
