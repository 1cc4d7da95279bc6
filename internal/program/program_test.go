package program

import (
	"slices"
	"testing"
)

func TestReadOnlyMapping(t *testing.T) {
	for line, want := range map[string]bool{
		"00400000-00a3f000 r-xp 00000000 fe:00 1234                 /opt/sidecar": true,
		"00a3f000-00f00000 r--p 0063f000 fe:00 1234                 /opt/sidecar": true,
		"00f00000-00f80000 rw-p 00b00000 fe:00 1234                 /opt/sidecar": false,
		"00400000-00a3f000 r-xp 00000000 fe:00 99                   /lib/libc.so": false,
		"c000000000-c000400000 rw-p 00000000 00:00 0":                             false,
		"not a mapping": false,
	} {
		from, to, ok := readOnlyMapping(line, "/opt/sidecar")
		if ok != want || ok && from >= to {
			t.Errorf("%q: %v %x-%x, want %v", line, ok, from, to, want)
		}
	}
}

// What is trimmed is there again when it is needed.
func TestTrim(t *testing.T) {
	of := Find()
	if len(of) == 0 {
		t.Fatal("the test's own program is nowhere")
	}
	for range 3 {
		of.Trim()
		if again := Find(); !slices.Equal(again, of) {
			t.Fatalf("%x, then %x", of, again)
		}
	}
}
