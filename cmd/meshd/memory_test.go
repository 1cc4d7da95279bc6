package main

import "testing"

// A heap grows by what is left up to the wanted size, and never by less than a
// tenth: a collector that runs all the time would cost more than memory does.
func TestGrowth(t *testing.T) {
	for live, want := range map[uint64]int{
		0: 100, 1 << 20: 100, 104 << 20: 100, 160 << 20: 30, 180 << 20: 15, 208 << 20: 10, 1 << 30: 10,
	} {
		if got := growthFor(live); got != want {
			t.Errorf("%d MiB live: %d %%, want %d", live>>20, got, want)
		}
	}
}
