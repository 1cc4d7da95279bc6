package supervise

import (
	"bytes"
	"strings"
	"testing"
)

type writes [][]byte

func (w *writes) Write(p []byte) (int, error) {
	*w = append(*w, bytes.Clone(p))
	return len(p), nil
}

func TestLines(t *testing.T) {
	var got writes
	l := &lines{w: &got, prefix: "a | "}
	for _, part := range []string{"one\ntw", "o\r\n\n", "thr", "ee"} {
		l.Write([]byte(part))
	}
	l.flush()
	want := "a | one\na | two\na | \na | three\n"
	if s := string(bytes.Join(got, nil)); s != want || len(got) != 4 {
		t.Errorf("%d writes of %q, want 4 of %q", len(got), s, want)
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("one\ntwo"), 3)
	f.Add([]byte("\n\n\r\n"), 1)
	f.Add([]byte(strings.Repeat("x", 3*maxLine)+"\ny"), 1000)
	f.Fuzz(func(t *testing.T, in []byte, cut int) {
		if cut <= 0 {
			cut = 1
		}
		var got writes
		l := &lines{w: &got}
		for p := in; len(p) > 0; {
			n := min(cut, len(p))
			if wrote, err := l.Write(p[:n]); wrote != n || err != nil {
				t.Fatalf("Write: %d, %v, want %d", wrote, err, n)
			}
			p = p[n:]
			if len(l.part) > maxLine {
				t.Fatalf("%d bytes kept, limit %d", len(l.part), maxLine)
			}
		}
		l.flush()
		for _, line := range got {
			if len(line) > maxLine+1 || bytes.IndexByte(line, '\n') != len(line)-1 {
				t.Fatalf("a write of %d bytes is not one bounded line", len(line))
			}
		}
		// Nothing is lost but line ends.
		flat := func(b []byte) string { return strings.NewReplacer("\r", "", "\n", "").Replace(string(b)) }
		if a, b := flat(in), flat(bytes.Join(got, nil)); a != b {
			t.Fatalf("in %q, out %q", a, b)
		}
	})
}
