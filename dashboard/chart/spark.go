package chart

import (
	"fmt"
	"math"
	"strings"
)

// Spark is a small line without axes as an <svg> element, 100 wide and 24 high
// in its own units, for the inside of a page: it is drawn in currentColor and
// hidden from screen readers, since the number stands beside it. The lowest
// value drawn is 0, or, if low is set, the smallest of the values. What is not
// finite leaves a gap; nothing at all gives an empty picture.
func Spark(values []float64, low bool) string {
	const width, height, pad = 100.0, 24.0, 2.0
	lo, hi := 0.0, math.Inf(-1)
	if low {
		lo = math.Inf(1)
	}
	for _, v := range values {
		if finite(v) {
			hi = max(hi, v)
			if low {
				lo = min(lo, v)
			}
		}
	}
	var path strings.Builder
	open := false
	for i, v := range values {
		if !finite(v) {
			open = false
			continue
		}
		share := 0.5
		if hi > lo {
			share = (v - lo) / (hi - lo)
		} else if v == 0 {
			share = 0
		}
		x := width * float64(i) / math.Max(1, float64(len(values)-1))
		y := height - pad - share*(height-2*pad)
		op := "L"
		if !open {
			op = "M"
			if i+1 == len(values) || !finite(values[i+1]) { // a lonely point is seen, too
				fmt.Fprintf(&path, "M%.1f,%.1fh1", x-1, y)
				continue
			}
		}
		open = true
		fmt.Fprintf(&path, "%s%.1f,%.1f", op, x, y)
	}
	return fmt.Sprintf(`<svg class="spark" viewBox="0 0 %g %g" preserveAspectRatio="none" aria-hidden="true"><path d="%s" fill="none" stroke="currentColor" stroke-width="1.5" vector-effect="non-scaling-stroke" /></svg>`,
		width, height, path.String())
}
