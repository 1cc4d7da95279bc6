package main

import "testing"

// Little may grow to the wanted size; more gets room for a sixth, always: a
// collector that runs all the time would cost more than memory does.
func TestLimit(t *testing.T) {
	const mb = 1 << 20
	for _, tc := range []struct{ live, beside, want uint64 }{
		{0, 5, 208}, {90, 30, 208}, {150, 30, 208}, {180, 30, 240}, {1200, 100, 1500},
	} {
		if got := limitFor(tc.live*mb, tc.beside*mb); got != int64(tc.want*mb) {
			t.Errorf("%d MiB live, %d beside: %d MiB, want %d", tc.live, tc.beside, got/mb, tc.want)
		}
	}
}
