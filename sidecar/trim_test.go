package sidecar

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
	of := executable()
	if len(of) == 0 {
		t.Fatal("the test's own program is nowhere")
	}
	for range 3 {
		of.trim()
		if again := executable(); !slices.Equal(again, of) {
			t.Fatalf("%x, then %x", of, again)
		}
	}
}

// A small heap may grow by heapRoom, a large one by a quarter.
func TestGrowthFor(t *testing.T) {
	for live, want := range map[uint64]int{0: 200, 1 << 20: 200, 2 << 20: 150, 3 << 20: 100, 6 << 20: 50, 12 << 20: 25, 1 << 30: 25} {
		if got := growthFor(live); got != want {
			t.Errorf("%d bytes: %d %%, want %d", live, got, want)
		}
	}
}
