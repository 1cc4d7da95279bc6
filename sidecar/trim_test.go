package sidecar

import "testing"

// A small heap may grow by heapRoom, a large one by a quarter.
func TestGrowthFor(t *testing.T) {
	for live, want := range map[uint64]int{0: 200, 1 << 20: 200, 2 << 20: 150, 3 << 20: 100, 6 << 20: 50, 12 << 20: 25, 1 << 30: 25} {
		if got := growthFor(live); got != want {
			t.Errorf("%d bytes: %d %%, want %d", live, got, want)
		}
	}
}
